package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Identity returns a text that is unique to this database: a copy has another one.
func (db *DB) Identity(ctx context.Context) (string, error) {
	proposal := make([]byte, 16)
	_, _ = rand.Read(proposal) // it cannot fail; it ends the program instead
	if _, err := db.agree(ctx, "identity", proposal); err != nil {
		return "", db.cannot("get the identity of", err)
	}
	identity, err := identityOf(ctx, db.pool)
	if err != nil {
		return "", db.cannot("get the identity of", err)
	}
	return identity, nil
}

// IdentityAt returns the Identity of the database at a URL, or "" if no latchkey has used it.
// It changes nothing there.
func IdentityAt(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return "", errors.New(plainly(err))
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", errors.New(plainly(err))
	}
	defer func() { _ = conn.Close(ctx) }() // it was only read
	identity, err := identityOf(ctx, conn)
	var refused *pgconn.PgError
	const undefinedTable = "42P01"
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &refused) && refused.Code == undefinedTable {
		return "", nil
	}
	if err != nil {
		return "", errors.New(plainly(err))
	}
	return identity, nil
}

// identityOf combines the number that the first process stored, which copies share, with those
// of the cluster, the database and the table, of which a copy has at least one other.
func identityOf(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row
}) (string, error) {
	var number []byte
	var database, table uint32
	err := db.QueryRow(ctx, `SELECT value,
		(SELECT oid FROM pg_database WHERE datname = current_database()), 'shared_settings'::regclass::oid
		FROM shared_settings WHERE name = 'identity'`).Scan(&number, &database, &table)
	if err != nil {
		return "", err
	}
	var cluster pgtype.Int8 // not every PostgreSQL service permits reading it
	_ = db.QueryRow(ctx, `SELECT system_identifier FROM pg_control_system()`).Scan(&cluster)
	return fmt.Sprintf("%s-%d-%d-%d", hex.EncodeToString(number), cluster.Int64, database, table), nil
}

// RedactURL returns the parts of a database's URL that are not secret: which database it is.
func RedactURL(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || strings.Contains(parsed.Path, "@") { // then a part of the password was parsed as the host
		return "postgres://…"
	}
	name := url.URL{Scheme: "postgres", Host: parsed.Host, Path: parsed.Path}
	kept := url.Values{}
	for _, key := range []string{"host", "hostaddr", "port", "dbname", "search_path"} {
		if given := parsed.Query(); given.Has(key) {
			kept.Set(key, given.Get(key))
		}
	}
	name.RawQuery = kept.Encode()
	return name.String()
}
