package server_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	wrong  = "REQUEST_FAILED.Login.InvalidCredentials"
	locked = "REQUEST_FAILED.Login.AccountLocked"
)

// events returns the number of audit events of a kind.
func (s *service) events(kind authority.EventKind) int {
	s.t.Helper()
	all, err := s.authority.AuditEvents(context.Background(), authority.AuditQuery{Limit: 100_000})
	s.must(err)
	n := 0
	for _, event := range all {
		if event.Kind == kind {
			n++
		}
	}
	return n
}

func TestFiveFailuresInARowLockAnyName(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	answers := map[string][]string{}
	for _, name := range []string{user, "nobody-of-that-name"} {
		for attempt := range 5 {
			r := s.login(bearer, name, "a wrong one")
			expect(t, name+"'s failure", r, wrong)
			answers[name] = append(answers[name], r.body)
			if attempt < 4 {
				continue
			}
			for _, guess := range []string{"a wrong one", password} {
				r := s.login(bearer, name, guess)
				expect(t, name+"'s login once locked", r, locked)
				answers[name] = append(answers[name], r.body)
			}
		}
	}
	for i, known := range answers[user] {
		if unknown := answers["nobody-of-that-name"][i]; known != unknown {
			t.Errorf("response %d shows which user exists: %s and %s", i, known, unknown)
		}
	}
	s.clock.advance(30 * 24 * time.Hour)
	expect(t, "a login a month later", s.login(s.bearer(), user, password), locked)
	s.must(s.post(admin.PathUserUnlock, admin.Name{Name: user}, nil))
	expect(t, "a login once unlocked", s.login(s.bearer(), user, password), "ok")
}

func TestASuccessResetsTheCount(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for range 3 {
		for range 4 {
			expect(t, "a failure", s.login(bearer, user, "a wrong one"), wrong)
		}
		expect(t, "the right password after four failures", s.login(bearer, user, password), "ok")
	}
}

func TestALockLeavesLiveSessionsAlone(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.must(s.post(admin.PathUserLock, admin.Name{Name: user}, nil))
	expect(t, "a login after an operator locked", s.login(tokens[1], user, password), locked)
	expect(t, "a check of the session from before", s.verify(tokens), "ok")
	expect(t, "a reset while locked", s.reset(tokens, password), locked)
}

func TestALockEndsAutomaticallyIfThePolicyIsSet(t *testing.T) {
	t.Parallel()
	s := start(t, setup{policy: authority.Policy{UnlockAfter: 15 * time.Minute}})
	bearer := s.bearer()
	for range 5 {
		expect(t, "a failure", s.login(bearer, user, "a wrong one"), wrong)
	}
	s.clock.advance(15*time.Minute - time.Second)
	expect(t, "a login just before", s.login(bearer, user, password), locked)
	s.clock.advance(time.Second)
	expect(t, "a login when the lock lifts", s.login(bearer, user, password), "ok")
}

func TestADisabledUserIsRefusedLikeAWrongPassword(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.must(s.post(admin.PathUserDisable, admin.Name{Name: user}, nil))
	expect(t, "a check after the user was disabled", s.verify(tokens), expired)
	for range 6 {
		expect(t, "the right password of a disabled user", s.login(tokens[1], user, password), wrong)
	}
	s.must(s.post(admin.PathUserEnable, admin.Name{Name: user}, nil))
	expect(t, "a check after the user was enabled", s.verify(tokens), expired)
	expect(t, "a login after the user was enabled", s.login(tokens[1], user, password), "ok")
}

// together runs n concurrent calls and counts the codes of their responses.
func together(n int, call func(i int) reply) map[string]int {
	var mu sync.Mutex
	var group sync.WaitGroup
	counts := map[string]int{}
	begin := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-begin
			code := call(i).code()
			mu.Lock()
			defer mu.Unlock()
			counts[code]++
		})
	}
	close(begin)
	group.Wait()
	return counts
}

func TestOfConcurrentWrongLoginsFiveAreEvaluated(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for _, name := range []string{user, "nobody-of-that-name"} {
		before := s.events(authority.EventLogInFailed)
		counts := together(60, func(int) reply { return s.login(bearer, name, "a wrong one") })
		if counts[wrong] != 5 || counts[locked] != 55 {
			t.Errorf("60 wrong logins of %s at once returned %v, want 5 wrong and 55 locked", name, counts)
		}
		if got := s.events(authority.EventLogInFailed) - before; got != 5 {
			t.Errorf("the audit trail has %d evaluated passwords of %s, want 5", got, name)
		}
	}
}

func TestConcurrentCorrectLoginsAllSucceed(t *testing.T) {
	t.Parallel()
	s := start(t, setup{queue: 200})
	bearer := s.bearer()
	if counts := together(60, func(int) reply { return s.login(bearer, user, password) }); counts["ok"] != 60 {
		t.Errorf("60 right logins at once returned %v", counts)
	}
	if got := s.events(authority.EventLogIn); got != 60 {
		t.Errorf("the audit trail has %d logins, want 60", got)
	}
}

func TestOfConcurrentLogoutsOneSucceeds(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	counts := together(50, func(int) reply { return s.do(sound, "POST", wire.PathLogOut, "", tokens...) })
	if counts["ok"] != 1 || counts[expired] != 49 {
		t.Errorf("50 logouts of one session at once returned %v, want one ok and 49 expired", counts)
	}
}
