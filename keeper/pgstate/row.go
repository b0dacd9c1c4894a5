package pgstate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

const tableName = "latchkey_keeper_state"

// Table is the statement that creates the table, for databases in which programs may not do
// so. If the table exists, New needs no right to create it.
const Table = `CREATE TABLE IF NOT EXISTS latchkey_keeper_state (
	name text PRIMARY KEY,
	epoch bigint NOT NULL,
	holder text NOT NULL,
	held_until timestamptz NOT NULL,
	sealed bytea,
	last_use timestamptz
)`

// Times are read from the database's clock in the statement that compares them: now()
// would be the time of the transaction, which may have waited for a lock.
const (
	loadSQL  = `SELECT sealed, last_use FROM latchkey_keeper_state WHERE name = $1`
	touchSQL = `INSERT INTO latchkey_keeper_state AS s (name, epoch, holder, held_until, last_use)
		VALUES ($1, 0, '', clock_timestamp(), $2)
		ON CONFLICT (name) DO UPDATE SET last_use = excluded.last_use
		WHERE s.last_use IS NULL OR s.last_use < excluded.last_use
			OR s.last_use > clock_timestamp() + interval '1 minute' AND excluded.last_use BETWEEN
				clock_timestamp() - interval '1 minute' AND clock_timestamp() + interval '1 minute'`
	takeSQL = `UPDATE latchkey_keeper_state
		SET epoch = CASE WHEN holder = $2 THEN epoch ELSE epoch + 1 END, holder = $2,
			held_until = clock_timestamp() + $3 * interval '1 millisecond'
		WHERE name = $1 AND (holder = '' OR holder = $2 OR held_until <= clock_timestamp())
		RETURNING epoch`
	// A lease that ends later than it lasts is from a clock that was put back.
	shortenSQL = `UPDATE latchkey_keeper_state
		SET held_until = clock_timestamp() + $2 * interval '1 millisecond'
		WHERE name = $1 AND held_until > clock_timestamp() + $2 * interval '1 millisecond'`
	beginSQL = `INSERT INTO latchkey_keeper_state (name, epoch, holder, held_until)
		VALUES ($1, 1, $2, clock_timestamp() + $3 * interval '1 millisecond')
		ON CONFLICT (name) DO NOTHING RETURNING epoch`
	saveSQL = `UPDATE latchkey_keeper_state
		SET sealed = $4, epoch = $3, held_until = clock_timestamp() + $5 * interval '1 millisecond'
		WHERE name = $1 AND holder = $2 AND epoch <= $3`
	extendSQL = `UPDATE latchkey_keeper_state
		SET held_until = clock_timestamp() + $3 * interval '1 millisecond'
		WHERE name = $1 AND holder = $2`
	releaseSQL = `UPDATE latchkey_keeper_state SET holder = '' WHERE name = $1 AND holder = $2`
)

// unprepared makes pgx send each statement with its arguments, so that nothing of it remains
// in a connection that the next statement may not get.
const unprepared = pgx.QueryExecModeExec

// makeTable creates the table if it is missing. It looks first, because that needs no right
// to create one. If two programs create it at the same time, one may fail although the table
// exists then.
func makeTable(ctx context.Context, pool *pgxpool.Pool) error {
	var err error
	for range 3 {
		if _, err = pool.Exec(ctx, `SELECT 1 FROM latchkey_keeper_state WHERE false`, unprepared); !is(err, "42P01") {
			return err
		}
		if _, err = pool.Exec(ctx, Table, unprepared); err == nil {
			return nil
		}
	}
	return err
}

// is reports whether err is an error of the database with one of these codes.
func is(err error, codes ...string) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && slices.Contains(codes, failure.Code)
}

// row is a sharedstate.Store.
type row struct {
	pool *pgxpool.Pool
	name string
}

func (r row) Load(ctx context.Context) (found sharedstate.Row, err error) {
	var used *time.Time
	err = r.pool.QueryRow(ctx, loadSQL, unprepared, r.name).Scan(&found.Sealed, &used)
	if errors.Is(err, pgx.ErrNoRows) {
		return sharedstate.Row{}, nil
	}
	if used != nil {
		found.LastUse = *used
	}
	return found, err
}

func (r row) Touch(ctx context.Context, at time.Time) error {
	_, err := r.pool.Exec(ctx, touchSQL, unprepared, r.name, at)
	return err
}

// Take implements sharedstate.Store. It does not write while another holder has the lease,
// unless that ends too late.
func (r row) Take(ctx context.Context, holder string, ttl time.Duration) (epoch int64, err error) {
	for _, sql := range []string{takeSQL, beginSQL} {
		err = r.pool.QueryRow(ctx, sql, unprepared, r.name, holder, ttl.Milliseconds()).Scan(&epoch)
		if !errors.Is(err, pgx.ErrNoRows) {
			break
		}
		err = nil
	}
	if err == nil && epoch == 0 {
		_, err = r.pool.Exec(ctx, shortenSQL, unprepared, r.name, ttl.Milliseconds())
	}
	if is(err, "40001", "40P01") { // another program was faster, in a database that is serializable by default
		return 0, nil
	}
	return epoch, err
}

func (r row) Save(ctx context.Context, claim sharedstate.Claim, sealed []byte, ttl time.Duration) (bool, error) {
	tag, err := r.pool.Exec(ctx, saveSQL, unprepared, r.name, claim.Holder, claim.Epoch, sealed, ttl.Milliseconds())
	return tag.RowsAffected() == 1, err
}

func (r row) Extend(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	if ttl == 0 {
		tag, err := r.pool.Exec(ctx, releaseSQL, unprepared, r.name, holder)
		return tag.RowsAffected() == 1, err
	}
	tag, err := r.pool.Exec(ctx, extendSQL, unprepared, r.name, holder, ttl.Milliseconds())
	return tag.RowsAffected() == 1, err
}
