-- +goose Up

-- What ties an event to those before it. Those from before have none.
ALTER TABLE audit ADD COLUMN chain BLOB NOT NULL DEFAULT x'';

-- +goose Down
SELECT 1;
