package server_test

import (
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
)

const mismatch = "REQUEST_FAILED.Password.Mismatch"

func TestResetMakesANewPasswordAtOnceAndEndsOtherSessions(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	s.addUser("ford", password)
	own, other, ford := s.session(user, password), s.session(user, password), s.session("ford", password)
	r := s.reset(own, password)
	next := r.field("newPassword")
	s.secrets = append(s.secrets, next)
	if r.status != 200 || !regexp.MustCompile(`^[A-Za-z0-9]{20}$`).MatchString(next) {
		t.Fatalf("the reset returned %d %s", r.status, r.body)
	}
	expect(t, "the old password", s.login(own[1], user, password), wrong)
	expect(t, "the new password", s.login(own[1], user, next), "ok")
	expect(t, "the session that reset", s.verify(own), "ok")
	expect(t, "another session of the user", s.verify(other), expired)
	expect(t, "a session of another user", s.verify(ford), "ok")
	again := s.reset(own, password)
	expect(t, "the same reset again", again, "ok")
	if again.field("newPassword") != next {
		t.Error("the same reset again returned another password")
	}
}

func TestResetKeepsOtherSessionsIfThePolicyIsSet(t *testing.T) {
	t.Parallel()
	s := start(t, setup{policy: authority.Policy{KeepSessionsOnReset: true}})
	own, other := s.session(user, password), s.session(user, password)
	r := s.reset(own, password)
	s.secrets = append(s.secrets, r.field("newPassword"))
	expect(t, "the reset", r, "ok")
	expect(t, "another session of the user", s.verify(other), "ok")
}

func TestAWrongOldPasswordIsAStrike(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	for i := range 3 {
		expect(t, "a reset with a wrong old password", s.reset(tokens, fmt.Sprint("wrong ", i)), mismatch)
	}
	for range 2 {
		expect(t, "a failed login", s.login(tokens[1], user, "a wrong one"), wrong)
	}
	expect(t, "a reset after five strikes", s.reset(tokens, password), locked)
	expect(t, "a login after five strikes", s.login(tokens[1], user, password), locked)
	expect(t, "the session", s.verify(tokens), "ok")
}

func TestConcurrentResetsOfOneSessionAreOneReset(t *testing.T) {
	t.Parallel()
	s := start(t, setup{queue: 100})
	tokens := s.session(user, password)
	var mu sync.Mutex
	told := map[string]int{}
	counts := together(8, func(int) reply {
		r := s.reset(tokens, password)
		mu.Lock()
		defer mu.Unlock()
		told[r.field("newPassword")]++
		return r
	})
	if counts["ok"] != 8 || len(told) != 1 || s.events(authority.EventReset) != 1 ||
		s.events(authority.EventResetRepeated) != 7 {
		t.Errorf("8 resets at once returned %v, with %d passwords, %d resets and %d repeats, want one reset and 7 repeats",
			counts, len(told), s.events(authority.EventReset), s.events(authority.EventResetRepeated))
	}
	for next := range told {
		s.secrets = append(s.secrets, next)
		expect(t, "the password that was returned", s.login(tokens[1], user, next), "ok")
	}
}

func TestOfConcurrentResetsOfManySessionsOneSucceeds(t *testing.T) {
	t.Parallel()
	s := start(t, setup{queue: 100, policy: authority.Policy{KeepSessionsOnReset: true}})
	var sessions [6][]string
	for i := range sessions {
		sessions[i] = s.session(user, password)
	}
	var mu sync.Mutex
	next := ""
	counts := together(len(sessions), func(i int) reply {
		r := s.reset(sessions[i], password)
		mu.Lock()
		defer mu.Unlock()
		next += r.field("newPassword") // two would be no password
		return r
	})
	if counts["ok"] != 1 || counts["ok"]+counts[mismatch]+counts[locked] != len(sessions) {
		t.Errorf("%d resets at once returned %v, want one ok", len(sessions), counts)
	}
	s.secrets = append(s.secrets, next)
	s.must(s.post(admin.PathUserUnlock, admin.Name{Name: user}, nil))
	expect(t, "the password that was returned", s.login(sessions[0][1], user, next), "ok")
}
