package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// openPostgres connects a replica, which ends with the test.
func openPostgres(t *testing.T, options postgres.Options) *postgres.DB {
	t.Helper()
	options.IdleTimeout, options.Log = storetest.Idle, slog.New(slog.DiscardHandler)
	db, err := postgres.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestStoreInPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) authority.Stores {
		return openPostgres(t, postgres.Options{URL: enginetest.Postgres(t)}).Stores()
	})
}

func TestStoreInPostgresWithCachedSessions(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) authority.Stores {
		return openCached(t, postgres.Options{URL: enginetest.Postgres(t)}).Stores()
	}, "sessions", "clients")
}

func TestStoreBehindPgBouncer(t *testing.T) {
	t.Parallel()
	pooler, err := url.Parse(enginetest.StartPgBouncer(t, enginetest.Postgres(t))) // for every database of the server
	must(t, err)
	storetest.Run(t, func(t *testing.T) authority.Stores {
		database, err := url.Parse(enginetest.Postgres(t))
		must(t, err)
		database.Host = pooler.Host
		return openPostgres(t, postgres.Options{URL: database.String()}).Stores()
	})
}

// TestStoreOverThreeReplicas uses three replicas in turn.
func TestStoreOverThreeReplicas(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, postgres.Options) *postgres.DB{
		"database": openPostgres, "cached": openCached,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) authority.Stores {
				options := postgres.Options{URL: enginetest.Postgres(t)}
				all := &inTurn{replicas: []*postgres.DB{open(t, options), open(t, options), open(t, options)}}
				s := all.next().Stores()
				s.Users, s.Audit, s.Sessions, s.Strikes = all.next(), all.next(), all, all
				return s
			}, "sessions", "strikes")
		})
	}
}

// inTurn uses one replica after the other. When it returns that a session is over, the
// other replicas have received the notification.
type inTurn struct {
	replicas []*postgres.DB
	n        atomic.Int64
}

func (i *inTurn) next() *postgres.DB {
	return i.replicas[int(i.n.Add(1))%len(i.replicas)]
}

func (i *inTurn) catchUp(ctx context.Context) {
	for _, replica := range i.replicas {
		postgres.CaughtUp(ctx, replica)
	}
}

func (i *inTurn) CreateSession(ctx context.Context, session authority.Session) error {
	return i.next().CreateSession(ctx, session)
}

func (i *inTurn) UseSession(
	ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error,
) {
	session, err := i.next().UseSession(ctx, key, now, idle)
	if errors.Is(err, authority.ErrNotFound) {
		i.catchUp(ctx)
	}
	return session, err
}

func (i *inTurn) EndSession(
	ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error,
) {
	defer i.catchUp(ctx)
	return i.next().EndSession(ctx, key, end)
}

func (i *inTurn) EndUserSessions(
	ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error,
) {
	defer i.catchUp(ctx)
	return i.next().EndUserSessions(ctx, user, version, keep, end)
}

func (i *inTurn) UpdateStrikes(
	ctx context.Context, key authority.StrikeKey, change func(*authority.Strikes) error,
) error {
	return i.next().UpdateStrikes(ctx, key, change)
}

func (i *inTurn) Strikes(ctx context.Context, key authority.StrikeKey) (authority.Strikes, error) {
	return i.next().Strikes(ctx, key)
}

func (i *inTurn) FoldStrikes(ctx context.Context, bounds authority.FoldBounds) error {
	return i.next().FoldStrikes(ctx, bounds)
}

// TestReplicasThatStartTogetherMigrateOnce has many replicas find an empty
// database at the same time.
func TestReplicasThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.CreateUser(t.Context(), authority.User{Name: rand.Text()}); err != nil {
				t.Error(err)
			}
			_ = db.Close(context.Background())
		})
	}
	group.Wait()
}

// TestANewerSchema holds what a rollout needs: replicas that are running go on
// while a newer version has migrated, and no older one starts after that.
func TestANewerSchema(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	running := openPostgres(t, postgres.Options{URL: address})
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range []string{
		`ALTER TABLE users ADD COLUMN later TEXT NOT NULL DEFAULT ''`,
		`ALTER TABLE sessions ADD COLUMN later BIGINT NOT NULL DEFAULT 0`,
		`CREATE TABLE later (id BIGINT PRIMARY KEY)`,
		`INSERT INTO schema_version (version_id, is_applied) VALUES (1000, true)`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := running.CreateUser(t.Context(), authority.User{Name: "u"}); err != nil {
		t.Error(err)
	}
	if err := running.CreateSession(t.Context(), storetest.NewSession(1, "u", start)); err != nil {
		t.Error(err)
	}
	if _, err := running.UseSession(t.Context(), storetest.Key(1), start, storetest.Idle); err != nil {
		t.Error(err)
	}
	_, err = postgres.Open(t.Context(), postgres.Options{URL: address})
	if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), "schema 1000") {
		t.Errorf("an older version opened it: %v", err)
	}
}

// TestADatabaseOfADevelopmentVersionIsRefused opens a database with a schema from before
// the first release.
func TestADatabaseOfADevelopmentVersionIsRefused(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	execute(t, address, `CREATE TABLE schema_version
			(id SERIAL PRIMARY KEY, version_id BIGINT, is_applied BOOLEAN, tstamp TIMESTAMP DEFAULT now());
		INSERT INTO schema_version (version_id, is_applied) VALUES (0, true), (6, true); CREATE TABLE users (name TEXT)`)
	_, opened := postgres.Open(t.Context(), postgres.Options{URL: address})
	inspected := postgres.Inspect(t.Context(), address, nil)
	for _, err := range []error{opened, inspected} {
		var schema *store.SchemaError
		if !errors.Is(err, store.ErrOlderSchema) || !errors.As(err, &schema) || schema.Found != 6 || schema.Hint() == "" {
			t.Errorf("it was refused with: %v", err)
		}
	}
	const tables = `SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'`
	if got := textOf(t, address, tables); got != "schema_version users" {
		t.Errorf("afterwards it has the tables %s", got)
	}
}

// TestClocksOfReplicasMayDiffer has replicas whose own clocks are minutes apart, and
// one whose clock is set while it runs.
func TestClocksOfReplicasMayDiffer(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	var set atomic.Int64
	clocks := []func() time.Time{
		time.Now,
		func() time.Time { return time.Now().Add(5 * time.Minute) },
		func() time.Time { return time.Now().Add(-7 * time.Second) },
		func() time.Time { return time.Now().Round(0).Add(time.Duration(set.Load())) },
	}
	var replicas []*postgres.DB
	for _, clock := range clocks {
		replicas = append(replicas, openPostgres(t, postgres.Options{URL: address, Now: clock}))
	}
	for i, db := range replicas {
		if apart := db.Now().Sub(replicas[0].Now()).Abs(); apart > 50*time.Millisecond {
			t.Errorf("replica %d is %v off", i, apart)
		}
	}
	set.Store(int64(time.Hour))
	if err := postgres.SyncClock(t.Context(), replicas[3]); err != nil {
		t.Fatal(err)
	}
	if apart := replicas[3].Now().Sub(replicas[0].Now()).Abs(); apart > 50*time.Millisecond {
		t.Errorf("a replica whose clock was set is %v off", apart)
	}
}

// TestClientsAreTheSameEverywhere changes a client on one replica: what the change
// ends is ended on the others when it returns.
func TestClientsAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	one, other := openPostgres(t, postgres.Options{URL: address}), openPostgres(t, postgres.Options{URL: address})
	client := authority.Client{ID: authority.ClientID{1}, Key: "k", CreatedAt: start}
	if err := one.CreateClient(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if got, err := other.Client(t.Context(), client.ID); err != nil || got.TokenSerial != int64(i) {
			t.Fatalf("after %d changes elsewhere the client is %+v, error %v", i, got, err)
		}
		_, err := one.UpdateClient(t.Context(), client.ID, func(c *authority.Client) error { c.TokenSerial++; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTurns has one replica at a time do what needs to be done once.
func TestOneReplicaHoldsTheLeaderLock(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	one, other := openPostgres(t, postgres.Options{URL: address}), openPostgres(t, postgres.Options{URL: address})
	turn := func(db *postgres.DB, hold time.Duration, want bool) {
		t.Helper()
		if mine, err := db.HoldLeaderLock(t.Context(), "sweep", hold); err != nil || mine != want {
			t.Errorf("whether it is its turn: %v (%v), want %v", mine, err, want)
		}
	}
	turn(one, time.Hour, true)
	turn(other, time.Hour, false)
	turn(one, 0, true) // given back
	turn(other, time.Hour, true)
	turn(one, time.Hour, false)
}

// TestAnotherServerKeyIsRefused holds that replicas have one key.
func TestAnotherServerKeyIsRefused(t *testing.T) {
	t.Parallel()
	address := enginetest.Postgres(t)
	one, other := openPostgres(t, postgres.Options{URL: address}), openPostgres(t, postgres.Options{URL: address})
	err := errors.Join(one.AgreeOnKey(t.Context(), []byte("k1")), other.AgreeOnKey(t.Context(), []byte("k1")))
	if err != nil {
		t.Error(err)
	}
	if err := other.AgreeOnKey(t.Context(), []byte("k2")); !errors.Is(err, postgres.ErrOtherKey) {
		t.Errorf("another key: %v", err)
	}
}

// TestTheDatabaseDiesAndComesBack kills the server while sessions are used. What
// was acknowledged is there afterwards, and nothing is reported as expired in between.
func TestTheDatabaseDiesAndComesBack(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	db := openPostgres(t, postgres.Options{URL: server.URL()})
	ctx := t.Context()
	for i := range 40 {
		if err := db.CreateSession(ctx, storetest.NewSession(i, "u", start)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, err := db.EndSession(ctx, storetest.Key(i), authority.End{At: start, Reason: authority.ReasonLogout})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		server.Kill()
		for i := range 40 {
			_, err := db.UseSession(ctx, storetest.Key(i), start, storetest.Idle)
			if err == nil || errors.Is(err, authority.ErrNotFound) {
				t.Fatalf("without its database a session check returned %v", err)
			}
		}
		if err := db.Ready(ctx); err == nil {
			t.Error("it is ready without its database")
		}
		server.Start()
		for i := range 40 {
			_, err := db.UseSession(ctx, storetest.Key(i), start, storetest.Idle)
			if i%2 == 1 && err != nil || i%2 == 0 && !errors.Is(err, authority.ErrNotFound) {
				t.Errorf("when the database is back, session %d returned %v", i, err)
			}
		}
	}
}

// TestPostgresThatCannotBeUsed requires errors of one line, without a password.
func TestPostgresThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	good := enginetest.Postgres(t)
	for _, address := range []string{
		"postgres://u:hunter2@127.0.0.1:1/latchkey",
		"postgres://u:hunter2@127.0.0.1:notaport/latchkey",
		strings.Replace(good, "/test", "/no_such_database_hunter2", 1) + "&sslmode=nonsense",
	} {
		db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
		if err == nil {
			_ = db.Close(t.Context())
			t.Errorf("%s was opened", address)
			continue
		}
		text := err.Error()
		if strings.Contains(text, "hunter2@") || strings.Contains(text, ":hunter2") || strings.Contains(text, "\n") {
			t.Errorf("it was refused with: %v", err)
		}
	}
}
