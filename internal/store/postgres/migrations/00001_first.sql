-- +goose Up

-- Times are microseconds since 1970 in UTC, 0 for none. Nothing is NULL or
-- boolean, so that every engine gives the same types. Nothing here is particular
-- to PostgreSQL: CockroachDB and YugabyteDB take it, too.
--
-- Replicas of the version before run on while a migration is made, and after it:
-- a later migration may add, and must not rename, remove or narrow. New columns
-- have defaults.

CREATE TABLE users (
    name                TEXT   NOT NULL PRIMARY KEY,
    name_key            BYTEA  NOT NULL UNIQUE, -- ordered bytewise, whatever the collation
    strike_key          BYTEA  NOT NULL,
    password_hash       TEXT   NOT NULL,
    password_version    BIGINT NOT NULL,
    password_changed_at BIGINT NOT NULL,
    disabled            BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    ending              BIGINT NOT NULL,
    ending_keep         BYTEA  NOT NULL,
    ending_reason       TEXT   NOT NULL,
    repeat_key          BYTEA  NOT NULL,
    repeat_sealed       TEXT   NOT NULL,
    repeat_until        BIGINT NOT NULL,
    allow               TEXT   NOT NULL
);
CREATE INDEX users_ending ON users (name_key) WHERE ending = 1;
CREATE INDEX users_strike_key ON users (strike_key);
CREATE INDEX users_repeat_until ON users (repeat_until) WHERE repeat_until > 0;

CREATE TABLE strikes (
    strike_key BYTEA  NOT NULL PRIMARY KEY,
    failures   BIGINT NOT NULL,
    locked_at  BIGINT NOT NULL,
    manual     BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX strikes_updated_at ON strikes (updated_at);

CREATE TABLE reservations (
    id         BYTEA  NOT NULL PRIMARY KEY,
    strike_key BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX reservations_strike_key ON reservations (strike_key);

CREATE TABLE clients (
    id              BYTEA  NOT NULL PRIMARY KEY,
    api_key         TEXT   NOT NULL UNIQUE,
    secret_hash     BYTEA  NOT NULL,
    label           TEXT   NOT NULL,
    revoked         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    token_serial    BIGINT NOT NULL,
    token_issued_at BIGINT NOT NULL
);

-- last_used is written ahead of the last use, and negative once the session was
-- found expired: see postgres/sessions.go.
CREATE TABLE sessions (
    session_key      BYTEA  NOT NULL PRIMARY KEY,
    user_name        TEXT   NOT NULL,
    password_version BIGINT NOT NULL,
    api_key          TEXT   NOT NULL,
    address          TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    last_used        BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    ended_at         BIGINT NOT NULL,
    ended_reason     TEXT   NOT NULL,
    ended_by         TEXT   NOT NULL
);
CREATE INDEX sessions_created_at ON sessions (created_at DESC, session_key DESC);
CREATE INDEX sessions_user_live ON sessions (user_name) WHERE ended_at = 0;
CREATE INDEX sessions_last_used ON sessions (last_used) WHERE ended_at = 0;
CREATE INDEX sessions_expires_at ON sessions (expires_at) WHERE ended_at = 0 AND expires_at > 0;
CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at > 0;

CREATE TABLE audit (
    seq        BIGINT NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    user_name  TEXT   NOT NULL,
    session_id TEXT   NOT NULL,
    api_key    TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    chain      BYTEA  NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user_name, seq);

-- Where the audit trail ends. Who appends locks this row.
CREATE TABLE audit_head (
    id    BIGINT NOT NULL PRIMARY KEY,
    seq   BIGINT NOT NULL,
    chain BYTEA  NOT NULL
);
INSERT INTO audit_head (id, seq, chain) VALUES (1, 0, '');

-- Numbers that grow with every change of what replicas keep a copy of.
CREATE TABLE revisions (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO revisions (name, value) VALUES ('clients', 0);

-- What one replica does at a time.
CREATE TABLE turns (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What has to be the same for all replicas.
CREATE TABLE agreements (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

-- +goose Down
SELECT 1;
