-- +goose Up

-- What a user may send on to an upstream, one rule to a line; '' is everything.
ALTER TABLE users ADD COLUMN allow TEXT NOT NULL DEFAULT '';

-- +goose Down
SELECT 1;
