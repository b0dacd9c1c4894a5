package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/redisstore"
	"github.com/latchkey/latchkey/internal/sqlstore"
	"github.com/latchkey/latchkey/internal/storetest"
)

// mute is a record that ends sessions, and whose answer about that is lost, as when a
// connection breaks; the same as if the process were killed then.
type mute struct{ *sqlstore.Postgres }

var errLost = errors.New("the answer was lost")

func (m mute) EndOnRecord(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error) {
	_, err := m.Postgres.EndOnRecord(ctx, key, end)
	return authority.Session{}, errors.Join(err, errLost)
}

func (m mute) EndUserOnRecord(ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) ([]authority.SessionKey, error) {
	_, err := m.Postgres.EndUserOnRecord(ctx, user, version, keep, end)
	return nil, errors.Join(err, errLost)
}

// TestAnEndWhoseAnswerIsLost has a session end on the record by a replica that cannot
// tell anybody afterwards. Some replicas ask the record, and say that it is over; so
// those that have copies must not go on answering them.
func TestAnEndWhoseAnswerIsLost(t *testing.T) {
	database, redis := enginetest.Postgres(t), enginetest.Redis(t)
	other := open(t, database, redis)
	half, err := redisstore.Open(t.Context(), redisstore.Options{URL: redis, Record: mute{other.db}, Key: []byte("the key of all replicas"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = half.Close() })
	for name, end := range map[string]func(authority.Session, authority.End) error{
		"of one": func(session authority.Session, by authority.End) error {
			_, err := half.EndSession(t.Context(), session.Key, by)
			return err
		},
		"of a user": func(session authority.Session, by authority.End) error {
			_, err := half.EndUserSessions(t.Context(), session.User, session.PasswordVersion+1, authority.SessionKey{}, by)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := other.db.Now()
			session := authority.Session{User: name, Client: "client", PasswordVersion: 1, CreatedAt: now, LastUsedAt: now}
			_, _ = rand.Read(session.Key[:])
			if err := other.store.CreateSession(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			use := func() error {
				_, err := other.store.UseSession(t.Context(), session.Key, other.db.Now(), storetest.Idle)
				return err
			}
			for range 5 { // so that there is a copy in Redis and one in memory
				if err := use(); err != nil {
					t.Fatal(err)
				}
			}
			if err := end(session, authority.End{At: other.db.Now(), Reason: authority.ReasonLogout, By: name}); !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			const leases = 300 * time.Millisecond // more than one
			for over := time.After(leases); ; {
				err := use()
				select {
				case <-over:
					if !errors.Is(err, authority.ErrNotFound) {
						t.Fatalf("it is over, says the record; a replica that has a copy says %v", err)
					}
					return
				default:
				}
			}
		})
	}
}
