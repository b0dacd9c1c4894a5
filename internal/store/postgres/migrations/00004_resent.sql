-- +goose Up

-- Which session made the last reset, and the hash of the password that it replaced.
ALTER TABLE users ADD COLUMN repeat_session BYTEA NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN repeat_replaced TEXT NOT NULL DEFAULT '';

-- The last wrong passwords of sessions, as keyed hashes of 16 bytes: the same one
-- again is no further strike.
ALTER TABLE strikes ADD COLUMN guesses BYTEA NOT NULL DEFAULT '';

-- +goose Down
SELECT 1;
