-- +goose Up

-- Times are microseconds since 1970 in UTC, 0 for none. Nothing is NULL or boolean, so that
-- every engine returns the same types.

CREATE TABLE users (
    name                TEXT   NOT NULL PRIMARY KEY,
    name_key            BLOB   NOT NULL UNIQUE, -- the name as bytes, which every engine orders in the same way
    strike_key          BLOB   NOT NULL,
    password_hash       TEXT   NOT NULL,
    password_version    BIGINT NOT NULL,
    password_changed_at BIGINT NOT NULL,
    disabled            BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    pending_end_version BIGINT NOT NULL, -- sessions older than this password version are still to be ended; 0: none
    pending_end_keep    BLOB   NOT NULL,
    pending_end_reason  TEXT   NOT NULL,
    reset_key           BLOB   NOT NULL, -- the last reset, which may be repeated
    reset_session       BLOB   NOT NULL,
    reset_replaced      TEXT   NOT NULL,
    reset_sealed        TEXT   NOT NULL,
    reset_until         BIGINT NOT NULL,
    allow               TEXT   NOT NULL -- what the user may send on to an upstream, one rule a line; '': everything
);
CREATE INDEX users_pending_end ON users (name_key) WHERE pending_end_version > 0;
CREATE INDEX users_strike_key ON users (strike_key);
CREATE INDEX users_reset_until ON users (reset_until) WHERE reset_until > 0;

-- A number that grows with each user who is added. It is in the upper half of the password
-- versions of that user.
CREATE TABLE user_generations (
    id    INTEGER NOT NULL PRIMARY KEY,
    value BIGINT  NOT NULL
);
INSERT INTO user_generations (id, value) VALUES (1, 0);

CREATE TABLE strikes (
    strike_key   BLOB   NOT NULL PRIMARY KEY,
    failures     BIGINT NOT NULL,
    locked_at    BIGINT NOT NULL,
    manual       BIGINT NOT NULL,
    reservations BLOB   NOT NULL, -- attempts under way: of each an ID and when it expires
    guesses      BLOB   NOT NULL, -- the last wrong passwords of sessions, as keyed hashes
    updated_at   BIGINT NOT NULL
);
CREATE INDEX strikes_updated_at ON strikes (updated_at);
CREATE INDEX strikes_reserved ON strikes (strike_key) WHERE reservations <> x'';

-- The compact form of strikes of names that no user has, by the first eight bytes of the
-- strike key.
CREATE TABLE folded_strikes (
    id        INTEGER NOT NULL PRIMARY KEY,
    failures  BIGINT  NOT NULL,
    locked_at BIGINT  NOT NULL
);

CREATE TABLE clients (
    id              BLOB   NOT NULL PRIMARY KEY,
    api_key         TEXT   NOT NULL UNIQUE,
    secret_hash     BLOB   NOT NULL,
    label           TEXT   NOT NULL,
    revoked         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    token_serial    BIGINT NOT NULL,
    token_issued_at BIGINT NOT NULL
);

-- last_used is written ahead of the last use: see package sessionindex.
CREATE TABLE sessions (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    session_key      BLOB   NOT NULL UNIQUE,
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
CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at > 0;

CREATE TABLE audit (
    seq         INTEGER NOT NULL PRIMARY KEY,
    at          BIGINT  NOT NULL,
    kind        TEXT    NOT NULL,
    user_name   TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    api_key     TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    method      TEXT    NOT NULL DEFAULT '',
    host        TEXT    NOT NULL DEFAULT '',
    path        TEXT    NOT NULL DEFAULT '',
    status      BIGINT  NOT NULL DEFAULT 0,
    duration_us BIGINT  NOT NULL DEFAULT 0,
    upstream_id TEXT    NOT NULL DEFAULT '',
    event_count BIGINT  NOT NULL DEFAULT 0,
    chain       BLOB    NOT NULL -- ties the event to those before it
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user_name, seq);

-- The end of the audit trail. A writer that appends locks this row, if rows are locked.
CREATE TABLE audit_head (
    id    INTEGER NOT NULL PRIMARY KEY,
    seq   BIGINT  NOT NULL,
    chain BLOB    NOT NULL
);
INSERT INTO audit_head (id, seq, chain) VALUES (1, 0, x'');
