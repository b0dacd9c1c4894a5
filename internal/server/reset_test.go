package server_test

import (
	"regexp"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const mismatch = "REQUEST_FAILED.Password.Mismatch"

func TestResetMakesANewPasswordAtOnceAndEndsOtherSessions(t *testing.T) {
	s := start(t, setup{})
	s.addUser("ford", password)
	own, other, ford := s.session(user, password), s.session(user, password), s.session("ford", password)
	r := s.reset(own, password)
	next := r.field("newPassword")
	s.secrets = append(s.secrets, next)
	if r.status != 200 || !regexp.MustCompile(`^[A-Za-z0-9]{20}$`).MatchString(next) {
		t.Fatalf("the reset answered %d %s", r.status, r.body)
	}
	expect(t, "the old password", s.login(own[1], user, password), wrong)
	expect(t, "the new password", s.login(own[1], user, next), "ok")
	expect(t, "the session that reset", s.verify(own), "ok")
	expect(t, "another session of the user", s.verify(other), expired)
	expect(t, "a session of somebody else", s.verify(ford), "ok")
	expect(t, "the same reset again", s.reset(own, password), mismatch)
}

func TestResetLeavesOtherSessionsWhereThePolicySaysSo(t *testing.T) {
	s := start(t, setup{policy: authority.Policy{KeepSessionsOnReset: true}})
	own, other := s.session(user, password), s.session(user, password)
	r := s.reset(own, password)
	s.secrets = append(s.secrets, r.field("newPassword"))
	expect(t, "the reset", r, "ok")
	expect(t, "another session of the user", s.verify(other), "ok")
}

func TestAWrongOldPasswordIsAStrike(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	for range 3 {
		expect(t, "a reset with a wrong old password", s.reset(tokens, "a wrong one"), mismatch)
	}
	for range 2 {
		expect(t, "a failed login", s.login(tokens[1], user, "a wrong one"), wrong)
	}
	expect(t, "a reset after five strikes", s.reset(tokens, password), locked)
	expect(t, "a login after five strikes", s.login(tokens[1], user, password), locked)
	expect(t, "the session", s.verify(tokens), "ok")
}

func TestOfManyResetsAtOnceOneSucceeds(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	var next reply
	counts := together(8, func(int) reply {
		r := s.reset(tokens, password)
		if r.status == 200 {
			next = r // only one may come here; the race detector sees a second
		}
		return r
	})
	if counts["ok"] != 1 || counts["ok"]+counts[mismatch]+counts[locked] != 8 {
		t.Errorf("8 resets at once answered %v, want one ok", counts)
	}
	s.secrets = append(s.secrets, next.field("newPassword"))
	s.must(s.post(wire.PathAdminUserUnlock, wire.AdminName{Name: user}, nil))
	expect(t, "the password that was answered", s.login(tokens[1], user, next.field("newPassword")), "ok")
}
