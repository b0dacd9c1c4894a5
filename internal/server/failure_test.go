package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

// away is a store that can be made to fail like an unreachable database.
type away struct {
	authority.UserStore
	authority.StrikeStore
	authority.ClientStore
	authority.SessionStore
	authority.SessionLog
	authority.AuditStore
	down atomic.Bool
}

var errAway = errors.New("the connection was refused by db.internal.example")

func (a *away) of(db *sqlite.DB) authority.Stores {
	a.UserStore, a.StrikeStore, a.ClientStore, a.SessionStore, a.SessionLog, a.AuditStore = db, db, db, db, db, db
	return authority.Stores{Users: a, Strikes: a, Clients: a, Sessions: a, SessionLog: a, Audit: a}
}

func (a *away) err() error {
	if a.down.Load() {
		return errAway
	}
	return nil
}

func (a *away) User(ctx context.Context, name string) (authority.User, error) {
	if err := a.err(); err != nil {
		return authority.User{}, err
	}
	return a.UserStore.User(ctx, name)
}

func (a *away) UpdateStrikes(ctx context.Context, key authority.StrikeKey,
	change func(*authority.Strikes) error) error {
	if err := a.err(); err != nil {
		return err
	}
	return a.StrikeStore.UpdateStrikes(ctx, key, change)
}

func (a *away) Client(ctx context.Context, id authority.ClientID) (authority.Client, error) {
	if err := a.err(); err != nil {
		return authority.Client{}, err
	}
	return a.ClientStore.Client(ctx, id)
}

func (a *away) UseSession(ctx context.Context, key authority.SessionKey, now time.Time,
	idle time.Duration) (authority.Session, error) {
	if err := a.err(); err != nil {
		return authority.Session{}, err
	}
	return a.SessionStore.UseSession(ctx, key, now, idle)
}

func (a *away) AppendAudit(ctx context.Context, events ...authority.Event) error {
	if err := a.err(); err != nil {
		return err
	}
	return a.AuditStore.AppendAudit(ctx, events...)
}

// onlyTheClients is away except for the clients, so that requests reach the sessions.
type onlyTheClients struct{ *away }

func (o onlyTheClients) Client(ctx context.Context, id authority.ClientID) (authority.Client, error) {
	return o.ClientStore.Client(ctx, id)
}

func TestAnUnavailableStoreNeitherAllowsNorExpires(t *testing.T) {
	t.Parallel()
	for name, spare := range map[string]bool{"with the clients away": false, "with the sessions away": true} {
		t.Run(name, func(t *testing.T) {
			stores := &away{}
			s := start(t, setup{stores: func(db *sqlite.DB) authority.Stores {
				of := stores.of(db)
				if spare {
					of.Clients = onlyTheClients{stores}
				}
				return of
			}})
			tokens := s.session(user, password)
			requests := map[string]func() reply{
				"login":   func() reply { return s.login(tokens[1], user, password) },
				"logout":  func() reply { return s.do(sound, "POST", wire.PathLogOut, "", tokens...) },
				"reset":   func() reply { return s.reset(tokens, password) },
				"session": func() reply { return s.do(sound, "GET", wire.PathSession, "", tokens...) },
				"verify":  func() reply { return s.verify(tokens) },
			}
			if !spare {
				requests["token"] = s.token
				requests["revoke"] = func() reply {
					return s.do(sound, "POST", wire.PathRevoke, "token=x", "Authorization", basic(apiKey, apiSecret), "Content-Type",
						wire.MediaTypeForm)
				}
			}
			stores.down.Store(true)
			for operation, request := range requests {
				r := request()
				if r.status != 503 || r.code() != wire.FaultUnavailable || r.header.Get("Retry-After") != "1" {
					t.Errorf("%s returned %d %s with Retry-After %q, want the fault 900503", operation, r.status, r.body,
						r.header.Get("Retry-After"))
				}
				if strings.Contains(r.body, "example") {
					t.Errorf("%s exposes internals: %s", operation, r.body)
				}
			}
			if !strings.Contains(s.log.String(), errAway.Error()) {
				t.Error("the log does not say why")
			}
			stores.down.Store(false)
			expect(t, "a check when the store is back", s.verify(tokens), "ok")
			for range 4 { // none of the above was a strike
				expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
			}
			expect(t, "a login when the store is back", s.login(tokens[1], user, password), "ok")
		})
	}
}

func TestAnUnavailableAuditTrailIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	stores := &away{}
	s := start(t, setup{stores: func(db *sqlite.DB) authority.Stores {
		of := db.Stores()
		stores.of(db)
		of.Audit = stores
		return of
	}})
	stores.down.Store(true)
	s.session(user, password)
	stores.down.Store(false)
	if body := s.do(sound, "GET", wire.PathMetrics, "").body; !strings.Contains(body,
		"\nlatchkey_audit_failures_total 1\n") {
		t.Error("the metrics do not tell of the event that was not stored")
	}
	if !strings.Contains(s.log.String(), "kind=login") {
		t.Error("the log does not hold the event that was not stored")
	}
}

// broken panics when a session is read.
type broken struct{ authority.SessionStore }

func (broken) UseSession(context.Context, authority.SessionKey, time.Time, time.Duration) (authority.Session, error) {
	panic("a defect")
}

func TestAPanicReturns500AndIsLogged(t *testing.T) {
	t.Parallel()
	s := start(t, setup{stores: func(db *sqlite.DB) authority.Stores {
		stores := db.Stores()
		stores.Sessions = broken{stores.Sessions}
		return stores
	}})
	tokens := s.session(user, password)
	for _, path := range []string{wire.PathVerify, wire.PathSession} {
		r := s.do(sound, "GET", path, "", append(tokens, wire.HeaderRequestID, "the-bad-one")...)
		if r.status != 500 || r.code() != unexpected || r.header.Get(wire.HeaderRequestID) != "the-bad-one" {
			t.Errorf("%s returned %d %v %s, want 500 under the request's ID", path, r.status, r.header, r.body)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "a defect") || !strings.Contains(log, "request=the-bad-one") ||
		!strings.Contains(log, "failure_test.go") {
		t.Errorf("the log does not tell of the panic, its request and its place:\n%s", log)
	}
	expect(t, "a login afterwards", s.login(tokens[1], user, password), "ok")
}

// With a slow hash, one slot and a queue of one, most of thirty concurrent logins are
// refused.
func TestExcessLoginsAreRefusedAtOnceAndChecksContinue(t *testing.T) {
	s := start(t, setup{alone: true, slots: 1, queue: 1,
		hash: authority.HashParams{MemoryKiB: 32 << 10, Passes: 2, Lanes: 1}})
	tokens := s.session(user, password)
	checks := make(chan map[string]int)
	go func() {
		checks <- together(200, func(int) reply { return s.verify(tokens) })
	}()
	counts := together(30, func(i int) reply {
		r := s.login(tokens[1], fmt.Sprintf("guest-%d", i), "a wrong one")
		if r.status == 503 && r.header.Get("Retry-After") != "1" {
			t.Errorf("an overloaded answer has Retry-After %q", r.header.Get("Retry-After"))
		}
		return r
	})
	if counts[wire.FaultUnavailable] == 0 || counts[wrong] < 1 || counts[wire.FaultUnavailable]+counts[wrong] != 30 {
		t.Errorf("30 logins at once returned %v, want at least one evaluated and the rest 900503", counts)
	}
	if got := <-checks; got["ok"] != 200 {
		t.Errorf("200 checks in the meantime returned %v", got)
	}
	if got := s.events(authority.EventLogInFailed); got != counts[wrong] {
		t.Errorf("%d failures were recorded, but %d were returned", got, counts[wrong])
	}
	body := s.do(sound, "GET", wire.PathMetrics, "").body
	if want := fmt.Sprintf("\nlatchkey_requests_total{code=\"900503\",operation=\"login\"} %d\n",
		counts[wire.FaultUnavailable]); !strings.Contains(body, want) {
		t.Errorf("the metrics lack %q", want)
	}
}
