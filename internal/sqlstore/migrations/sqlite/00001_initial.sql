-- Times are microseconds since 0001-01-01T00:00:00Z, so that the zero time is 0.
-- To read one: datetime(t / 1000000 - 62135596800, 'unixepoch').
-- Nothing is NULL: what is not set is zero or empty.

-- +goose Up

-- "lkey": marks the file as a database of latchkey.
PRAGMA application_id = 0x6c6b6579;

CREATE TABLE users (
    name                TEXT    NOT NULL PRIMARY KEY,
    strike_key          BLOB    NOT NULL, -- SHA-256 of name
    password_hash       TEXT    NOT NULL,
    password_version    INTEGER NOT NULL,
    password_changed_at INTEGER NOT NULL,
    disabled            INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    ending_pending      INTEGER NOT NULL,
    ending_keep         BLOB    NOT NULL,
    ending_reason       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX users_strike_key ON users (strike_key);
CREATE INDEX users_ending ON users (name) WHERE ending_pending = 1;

CREATE TABLE strikes (
    strike_key BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of a user name
    failures   INTEGER NOT NULL,
    locked_at  INTEGER NOT NULL,
    manual     INTEGER NOT NULL,
    known      INTEGER NOT NULL, -- 1 while a user has that name
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX strikes_unknown ON strikes (changed_at) WHERE known = 0;

CREATE TABLE reservations (
    strike_key BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (strike_key, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    id              BLOB    NOT NULL PRIMARY KEY,
    api_key         TEXT    NOT NULL,
    secret_hash     BLOB    NOT NULL,
    label           TEXT    NOT NULL,
    revoked         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    token_serial    INTEGER NOT NULL,
    token_issued_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The sessions that live. Those that ended move to ended_sessions, so that this
-- table, which is read whole after every start, holds nothing else.
CREATE TABLE sessions (
    session_key      BLOB    NOT NULL PRIMARY KEY,
    user_name        TEXT    NOT NULL,
    password_version INTEGER NOT NULL,
    client           TEXT    NOT NULL,
    address          TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    last_used_at     INTEGER NOT NULL, -- written ahead: never earlier than the last use
    expires_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_created ON sessions (created_at, session_key);
CREATE INDEX sessions_user ON sessions (user_name, created_at, session_key);

CREATE TABLE ended_sessions (
    session_key      BLOB    NOT NULL PRIMARY KEY,
    user_name        TEXT    NOT NULL,
    password_version INTEGER NOT NULL,
    client           TEXT    NOT NULL,
    address          TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    last_used_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ended_at         INTEGER NOT NULL,
    end_reason       TEXT    NOT NULL,
    ended_by         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_sessions_created ON ended_sessions (created_at, session_key);
CREATE INDEX ended_sessions_user ON ended_sessions (user_name, created_at, session_key);
CREATE INDEX ended_sessions_ended ON ended_sessions (ended_at);

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    user_name  TEXT    NOT NULL,
    session_id TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    detail     TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user_name, seq);
