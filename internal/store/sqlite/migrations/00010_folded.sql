-- +goose Up

-- Strikes of names that nobody has, past the newest, in short: by the first eight bytes
-- of the strike key.
CREATE TABLE folded_strikes (
    id        INTEGER NOT NULL PRIMARY KEY,
    failures  BIGINT  NOT NULL,
    locked_at BIGINT  NOT NULL
);

-- +goose Down
SELECT 1;
