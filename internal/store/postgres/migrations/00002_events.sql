-- +goose Up

-- What a request to the upstream was, which was prose in detail before, and how
-- many occurrences an event stands for (0: one).
ALTER TABLE audit ADD COLUMN method TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN status BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN duration_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN upstream_id TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN event_count BIGINT NOT NULL DEFAULT 0;

-- +goose Down
SELECT 1;
