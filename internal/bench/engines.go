package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/wire"
)

// How a service on PostgreSQL checks sessions.
const (
	cached   = "cached"   // from its memory, as long as the database notifies it
	uncached = "uncached" // in the database, as behind a pooler
)

// engines are the servers that replicas share. One that is not installed is empty.
type engines struct {
	postgres string // of the database in which others are made
	pooler   string // the address of a PgBouncer before it, in transaction mode
	stops    []func()
}

// startEngines starts what is installed, and says what is not.
func startEngines() (*engines, error) {
	e := &engines{}
	postgres, stop, err := enginetest.RunPostgres("shared_buffers=1GB", "max_wal_size=4GB", "max_connections=500")
	switch {
	case err == nil:
		e.postgres = postgres.URL()
		e.stops = append(e.stops, stop)
	case !errors.Is(err, enginetest.ErrMissing):
		return nil, err
	default:
		fmt.Println("PostgreSQL is not installed, so that nothing on it is measured")
		return e, nil
	}
	e.pooler, stop, err = enginetest.RunPgBouncer(e.postgres)
	switch {
	case err == nil:
		e.stops = append(e.stops, stop)
	case !errors.Is(err, enginetest.ErrMissing):
		e.stop()
		return nil, err
	default:
		fmt.Println("PgBouncer is not installed, so that nothing behind it is measured")
	}
	return e, nil
}

func (e *engines) stop() {
	for _, stop := range e.stops {
		stop()
	}
}

// pooled is the URL of a database behind the pooler.
func (e *engines) pooled(database string) (string, error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", err
	}
	u.Host = e.pooler
	return u.String() + "&default_query_exec_mode=exec", nil // as latchkey does: statements are not kept there
}

// covering is how far ahead the last use of seeded sessions is written, so that no
// check has to write one while a part is measured, as none has to of a session that
// was used less than a minute ago.
const covering = 15 * time.Minute

// with makes a PostgreSQL database with n live sessions.
func (e *engines) with(ctx context.Context, n int) (address string, err error) {
	fmt.Fprintf(os.Stderr, "making a PostgreSQL database with %d sessions\n", n)
	admin, err := pgx.Connect(ctx, e.postgres)
	if err != nil {
		return "", err
	}
	config := admin.Config()
	name := fmt.Sprintf("sessions%d", n)
	_, err = admin.Exec(ctx, "CREATE DATABASE "+name)
	if err = errors.Join(err, admin.Close(ctx)); err != nil {
		return "", err
	}
	address = fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", config.User, config.Host, config.Port, name)
	db, err := postgres.Open(ctx, postgres.Options{URL: address, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	rules, err := newAuthority(db.Stores(), db.Now)
	if err != nil {
		return "", err
	}
	if err := addCaller(ctx, rules); err != nil {
		return "", err
	}
	user, err := db.Stores().Users.User(ctx, userName)
	if err != nil {
		return "", err
	}
	created := db.Now().UnixMicro()
	used, i := created+covering.Microseconds(), 0
	_, err = db.Pool().CopyFrom(ctx, pgx.Identifier{"sessions"},
		[]string{"session_key", "user_name", "password_version", "api_key", "address", "created_at", "last_used",
			"expires_at", "ended_at", "ended_reason", "ended_by"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if i == n {
				return nil, nil
			}
			key := token(uint64(i)).Key() //nolint:gosec // counts up
			i++
			return []any{key[:], userName, user.PasswordVersion, credentials.Key, "", created, used, 0, 0, "", ""}, nil
		}))
	if err == nil {
		_, err = db.Pool().Exec(ctx, "VACUUM ANALYZE sessions")
	}
	return address, err
}

// unused has the first n sessions of those that are asked for have been used last two
// minutes ago.
func unused(ctx context.Context, address string, sessions, n uint64) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	keys := make([][]byte, n)
	for i := range keys {
		key := token(spreadOut(uint64(i), sessions)).Key()
		keys[i] = key[:]
	}
	_, err = conn.Exec(ctx, "UPDATE sessions SET last_used = $1 WHERE session_key = ANY($2)",
		time.Now().Add(-2*time.Minute).UnixMicro(), keys)
	return errors.Join(err, conn.Close(ctx))
}

// serveSelect looks one row up for each request, as well as pgx can: by the primary
// key, with prepared statements unless the address says otherwise, over as many
// connections as latchkey has.
func serveSelect(ctx context.Context, address string) error {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return err
	}
	config.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return serveHandler(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := authority.ParseSessionToken(r.Header.Get(wire.HeaderSessionToken))
		key := token.Key()
		var user, client string
		var version, created, used, expires int64
		err := pool.QueryRow(r.Context(), `SELECT user_name, password_version, api_key, created_at, last_used, expires_at
			FROM sessions WHERE session_key = $1 AND ended_at = 0`, key[:]).
			Scan(&user, &version, &client, &created, &used, &expires)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "ok")
	}))
}
