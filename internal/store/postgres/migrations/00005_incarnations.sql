-- +goose Up

-- A number that grows with each user who is added. It is in the upper half of the
-- password versions of that user.
CREATE TABLE incarnations (
    id    BIGINT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO incarnations (id, value) VALUES (1, 0);

-- Sessions older than this password version are still to be ended; 0: than that of the
-- user.
ALTER TABLE users ADD COLUMN ending_version BIGINT NOT NULL DEFAULT 0;

-- +goose Down
SELECT 1;
