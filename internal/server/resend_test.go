package server_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
)

// strikes are the failed logins in a row of the user.
func (s *service) strikes() int {
	s.t.Helper()
	account, err := s.authority.Account(s.t.Context(), user)
	s.must(err)
	return account.Strikes.Failures
}

func TestTheSameWrongOldPasswordIsOneStrike(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path})
	first, second := s.session(user, password), s.session(user, password)
	resets := func(tokens []string, old string, times, strikes int) {
		t.Helper()
		for range times {
			expect(t, "a reset with a wrong old password", s.reset(tokens, old), mismatch)
		}
		if got := s.strikes(); got != strikes {
			t.Errorf("after %d resets with %q there are %d strikes, want %d", times, old, got, strikes)
		}
	}
	resets(first, "wrong 1", 10, 1)
	resets(second, "wrong 1", 3, 2) // each session has its own
	resets(first, "wrong 2", 3, 3)
	resets(first, "wrong 1", 3, 3) // in any order
	s.clock.advance(15 * time.Minute)
	resets(second, "wrong 1", 3, 3)
	s.must(s.stop())
	s = start(t, setup{path: path, keepState: true})
	s.clock.advance(16 * time.Minute)
	first[1], second[1] = s.bearer(), s.bearer()
	for _, key := range []string{"key-1", "key-2"} { // whatever the key
		expect(t, "a reset with a key", s.resetAs(key, first, "wrong 2"), mismatch)
	}
	resets(second, "wrong 3", 2, 4)
	resets(first, "wrong 3", 1, 5)
	expect(t, "the right one, once locked", s.reset(first, password), locked)
	if failed, all := s.events(authority.EventResetFailed), 10+3+3+3+3+2+2+1+1; failed != all {
		t.Errorf("%d failures are on the trail, want %d", failed, all)
	}
	if n := s.events(authority.EventLocked); n != 1 {
		t.Errorf("%d locks are on the trail, want one", n)
	}
}

func TestFiveWrongOldPasswordsLockEvenIfMixedWithRepeats(t *testing.T) {
	t.Parallel()
	s := start(t, setup{queue: 1000})
	tokens := s.session(user, password)
	counts := together(64, func(i int) reply { return s.reset(tokens, fmt.Sprint("wrong ", i%2)) })
	if counts[mismatch] != 64 || s.strikes() != 2 {
		t.Errorf("64 at once, of two wrong passwords, returned %v with %d strikes, want 2", counts, s.strikes())
	}
	counts = together(64, func(i int) reply { return s.reset(tokens, fmt.Sprint("wrong ", i)) })
	if s.strikes() != 5 || counts[locked] == 0 || counts[mismatch]+counts[locked] != 64 {
		t.Errorf("64 wrong passwords at once returned %v with %d strikes, want a lock", counts, s.strikes())
	}
}

func TestALoginIsAStrikeEachTime(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for range 5 {
		expect(t, "the same wrong password", s.login(bearer, user, "a wrong one"), wrong)
	}
	expect(t, "the right one", s.login(bearer, user, password), locked)
}

func TestARepeatedResetReturnsTheSamePasswordForTwoMinutes(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "latchkey.db")
		policy := authority.Policy{KeepSessionsOnReset: keep}
		s := start(t, setup{path: path, policy: policy})
		tokens := s.session(user, password)
		made := s.made(s.reset(tokens, password))
		repeats := func(what string, r reply) {
			t.Helper()
			if again := s.made(r); again != made {
				t.Errorf("%s returned another password", what)
			}
		}
		s.clock.advance(2*time.Minute - time.Millisecond)
		repeats("the repeat", s.reset(tokens, password))
		repeats("the repeat with a key", s.resetAs("key", tokens, password))
		s.must(s.stop())
		s = start(t, setup{path: path, policy: policy, keepState: true})
		s.clock.advance(2*time.Minute - time.Millisecond)
		tokens[1] = s.bearer()
		repeats("the repeat after a restart", s.reset(tokens, password))
		if n := s.strikes(); n != 0 {
			t.Errorf("the repeats cost %d strikes", n)
		}
		if n := s.events(authority.EventResetRepeated); n != 3 {
			t.Errorf("%d repeats are on the trail, want 3", n)
		}
		s.clock.advance(time.Millisecond)
		expect(t, "two minutes later", s.reset(tokens, password), mismatch)
		expect(t, "and with a key that was not the reset's", s.resetAs("key", tokens, password), mismatch)
		if n := s.strikes(); n != 1 {
			t.Errorf("a late repeat, twice, cost %d strikes, want 1", n)
		}
		expect(t, "the password", s.login(tokens[1], user, made), "ok")
	}
}

func TestOnlyTheLastResetCanBeRepeated(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	first := s.made(s.reset(tokens, password))
	second := s.made(s.reset(tokens, first))
	if again := s.made(s.reset(tokens, first)); again != second {
		t.Error("the repeat of the second reset returned another password")
	}
	expect(t, "a repeat of the first reset", s.reset(tokens, password), mismatch)
	s.must(s.post(admin.PathUserPassword, admin.Password{Name: user, Password: "set by an operator"}, nil))
	expect(t, "a repeat after an operator's change, which ends the session", s.reset(tokens, first), expired)
	tokens = s.session(user, "set by an operator")
	made := s.made(s.reset(tokens, "set by an operator"))
	s.must(s.post(admin.PathUserDisable, admin.Name{Name: user}, nil))
	s.must(s.post(admin.PathUserEnable, admin.Name{Name: user}, nil))
	tokens = s.session(user, made)
	expect(t, "a repeat over another session", s.reset(tokens, "set by an operator"), mismatch)
}

func TestAReplacedOldPasswordIsReported(t *testing.T) {
	t.Parallel()
	const replaced = "replaced"
	s := start(t, setup{policy: authority.Policy{KeepSessionsOnReset: true}})
	own, other := s.session(user, password), s.session(user, password)
	made := s.made(s.reset(own, password))
	for range 2 {
		r := s.reset(other, password)
		expect(t, "the other session, with the old password", r, mismatch)
		if !strings.Contains(r.body, replaced) || strings.Contains(r.body, made) {
			t.Errorf("it got: %s", r.body)
		}
	}
	if n := s.strikes(); n != 1 {
		t.Errorf("it cost %d strikes, want 1", n)
	}
	r := s.reset(other, "another one")
	expect(t, "the other session, with a wrong password", r, mismatch)
	if strings.Contains(r.body, replaced) {
		t.Errorf("a guess got: %s", r.body)
	}
	s.clock.advance(2 * time.Minute)
	if r := s.reset(other, password); strings.Contains(r.body, replaced) {
		t.Errorf("two minutes later it got: %s", r.body)
	}

	s.must(s.post(admin.PathUserPassword, admin.Password{Name: user, Password: "set by an operator"}, nil))
	tokens := s.session(user, "set by an operator")
	r = s.reset(tokens, made)
	expect(t, "the password that an operator replaced", r, mismatch)
	if !strings.Contains(r.body, replaced) {
		t.Errorf("it got: %s", r.body)
	}
	if n := s.events(authority.EventResetRepeated); n != 0 {
		t.Errorf("%d repeats are on the trail, want none", n)
	}
}
