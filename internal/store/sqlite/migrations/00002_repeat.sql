-- +goose Up

-- The answer to a user's last reset, for whoever knows the password from before.
ALTER TABLE users ADD COLUMN repeat_key BLOB NOT NULL DEFAULT x'';
ALTER TABLE users ADD COLUMN repeat_sealed TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN repeat_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX users_repeat_until ON users (repeat_until) WHERE repeat_until > 0;

-- +goose Down
SELECT 1;
