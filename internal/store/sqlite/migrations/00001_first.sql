-- +goose Up

-- Times are microseconds since 1970 in UTC, 0 for none. Nothing is NULL, so that
-- every engine gives the same types.

CREATE TABLE users (
    name                TEXT    NOT NULL PRIMARY KEY,
    strike_key          BLOB    NOT NULL,
    password_hash       TEXT    NOT NULL,
    password_version    BIGINT  NOT NULL,
    password_changed_at BIGINT  NOT NULL,
    disabled            INTEGER NOT NULL,
    created_at          BIGINT  NOT NULL,
    ending              INTEGER NOT NULL,
    ending_keep         BLOB    NOT NULL,
    ending_reason       TEXT    NOT NULL
);
CREATE INDEX users_ending ON users (name) WHERE ending = 1;
CREATE INDEX users_strike_key ON users (strike_key);

CREATE TABLE strikes (
    strike_key BLOB    NOT NULL PRIMARY KEY,
    failures   INTEGER NOT NULL,
    locked_at  BIGINT  NOT NULL,
    manual     INTEGER NOT NULL,
    updated_at BIGINT  NOT NULL
);
CREATE INDEX strikes_updated_at ON strikes (updated_at);

CREATE TABLE reservations (
    id         BLOB   NOT NULL PRIMARY KEY,
    strike_key BLOB   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX reservations_strike_key ON reservations (strike_key);

CREATE TABLE clients (
    id              BLOB    NOT NULL PRIMARY KEY,
    api_key         TEXT    NOT NULL UNIQUE,
    secret_hash     BLOB    NOT NULL,
    label           TEXT    NOT NULL,
    revoked         INTEGER NOT NULL,
    created_at      BIGINT  NOT NULL,
    token_serial    BIGINT  NOT NULL,
    token_issued_at BIGINT  NOT NULL
);

-- last_used is written ahead of the last use: see package sessionindex.
CREATE TABLE sessions (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    session_key      BLOB    NOT NULL UNIQUE,
    user_name        TEXT    NOT NULL,
    password_version BIGINT  NOT NULL,
    api_key          TEXT    NOT NULL,
    address          TEXT    NOT NULL,
    created_at       BIGINT  NOT NULL,
    last_used        BIGINT  NOT NULL,
    expires_at       BIGINT  NOT NULL,
    ended_at         BIGINT  NOT NULL,
    ended_reason     TEXT    NOT NULL,
    ended_by         TEXT    NOT NULL
);
CREATE INDEX sessions_created_at ON sessions (created_at DESC, session_key DESC);
CREATE INDEX sessions_user_live ON sessions (user_name) WHERE ended_at = 0;
CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at > 0;

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    user_name  TEXT   NOT NULL,
    session_id TEXT   NOT NULL,
    api_key    TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    detail     TEXT   NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user_name, seq);

-- +goose Down
SELECT 1;
