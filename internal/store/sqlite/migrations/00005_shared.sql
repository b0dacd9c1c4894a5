-- +goose Up

-- Names as bytes, which every engine orders in the same way.
ALTER TABLE users ADD COLUMN name_key BLOB NOT NULL DEFAULT x'';
UPDATE users SET name_key = CAST(name AS BLOB);
CREATE UNIQUE INDEX users_name_key ON users (name_key);

-- Where the audit trail ends. Who appends locks this row, where rows are locked.
CREATE TABLE audit_head (
    id    INTEGER NOT NULL PRIMARY KEY,
    seq   BIGINT  NOT NULL,
    chain BLOB    NOT NULL
);
INSERT INTO audit_head (id, seq, chain)
SELECT 1, COALESCE(MAX(seq), 0), COALESCE((SELECT chain FROM audit ORDER BY seq DESC LIMIT 1), x'') FROM audit;

-- +goose Down
SELECT 1;
