package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/wire"
)

func (s *service) get(path string, answer any, query ...string) error {
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	return s.admin.Get(context.Background(), path, values, answer)
}

// refused fails the test unless err is a refusal with the code.
func refused(t *testing.T, what string, err error, code string) {
	t.Helper()
	var refusal *admin.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Message == "" {
		t.Errorf("%s: %v, want the refusal %s", what, err, code)
	}
}

func TestAnOperatorKeepsUsers(t *testing.T) {
	s := start(t, setup{})
	var made admin.Password
	s.must(s.post(admin.PathUserAdd, admin.Password{Name: "arthur dent/é"}, &made))
	s.secrets = append(s.secrets, made.Password)
	if len(made.Password) != 20 || made.Name != "arthur dent/é" {
		t.Errorf("the new user is %+v, want a generated password", made)
	}
	tokens := s.session("arthur dent/é", made.Password)
	var given admin.Password
	s.must(s.post(admin.PathUserPassword, admin.Password{Name: "arthur dent/é", Password: "given-to-me"}, &given))
	s.secrets = append(s.secrets, "given-to-me")
	if given.Password != "" {
		t.Error("a password that the operator knows was returned")
	}
	expect(t, "a session after the operator set a password", s.verify(tokens), expired)
	tokens = s.session("arthur dent/é", "given-to-me")
	for range 2 {
		expect(t, "a failure", s.login(tokens[1], "arthur dent/é", "a wrong one"), wrong)
	}
	var one admin.User
	s.must(s.get(admin.PathUser, &one, "name", "arthur dent/é"))
	if one.Failures != 2 || !one.LockedAt.IsZero() || one.Disabled || !one.PasswordChangedAt.Equal(s.clock.Now()) {
		t.Errorf("the user is %+v, want two failures", one)
	}
	s.must(s.post(admin.PathUserLock, admin.Name{Name: "arthur dent/é"}, nil))
	s.must(s.get(admin.PathUser, &one, "name", "arthur dent/é"))
	if !one.LockedByOperator || !one.LockedAt.Equal(s.clock.Now()) {
		t.Errorf("the locked user is %+v", one)
	}
	s.must(s.post(admin.PathUserRemove, admin.Name{Name: "arthur dent/é"}, nil))
	expect(t, "a session of a removed user", s.verify(tokens), expired)

	refused(t, "a removed user", s.get(admin.PathUser, &one, "name", "arthur dent/é"), admin.CodeNotFound)
	for _, path := range []string{admin.PathUserLock, admin.PathUserUnlock, admin.PathUserDisable, admin.PathUserEnable,
		admin.PathUserRemove, admin.PathUserEnd} {
		refused(t, path+" of an unknown user", s.post(path, admin.Name{Name: "nobody"}, nil), admin.CodeNotFound)
	}
	refused(t, "a password for an unknown user", s.post(admin.PathUserPassword, admin.Password{Name: "nobody"}, &made),
		admin.CodeNotFound)
	refused(t, "a name that is taken", s.post(admin.PathUserAdd, admin.Password{Name: user}, &made), admin.CodeExists)
	refused(t, "an empty name", s.post(admin.PathUserAdd, admin.Password{}, &made), admin.CodeInvalid)
	refused(t, "an illegal name", s.post(admin.PathUserAdd, admin.Password{Name: "o'brien"}, &made), admin.CodeInvalid)
	refused(t, "another body", s.post(admin.PathUserLock, map[string]string{"nome": user}, nil), admin.CodeInvalid)
	refused(t, "no object", s.post(admin.PathUserLock, []string{user}, nil), admin.CodeInvalid)
	refused(t, "an unknown operation", s.post(wire.PathAdmin+"user/praise", admin.Name{Name: user}, nil),
		admin.CodeNotFound)
}

func TestAnOperatorListsUsersByPage(t *testing.T) {
	s := start(t, setup{})
	for i := range 4 {
		s.addUser(fmt.Sprintf("user-%d", i), password)
	}
	var names []string
	for after, pages := "", 0; ; pages++ {
		var page admin.Users
		s.must(s.get(admin.PathUsers, &page, "after", after, "limit", "2"))
		for _, one := range page.Users {
			names = append(names, one.Name)
		}
		if after = page.Next; after == "" || pages > 5 {
			break
		}
	}
	if got := strings.Join(names, " "); got != "user-0 user-1 user-2 user-3 "+user {
		t.Errorf("the pages list %q", got)
	}
	var page admin.Users
	for _, limit := range []string{"0", "-1", "x"} {
		refused(t, "the limit "+limit, s.get(admin.PathUsers, &page, "limit", limit), admin.CodeInvalid)
	}
}

func TestAnOperatorKeepsClients(t *testing.T) {
	s := start(t, setup{})
	var made, rotated admin.Credentials
	s.must(s.post(admin.PathClientAdd, admin.Label{Label: "the depot"}, &made))
	token := func(c admin.Credentials) reply {
		s.secrets = append(s.secrets, c.Secret)
		return s.do(sound, "POST", wire.PathToken, "grant_type=client_credentials", "Authorization", basic(c.Key, c.Secret),
			"Content-Type", wire.MediaTypeForm)
	}
	first := token(made)
	expect(t, "a token for the new client", first, "ok")
	tokens := s.session(user, password)
	tokens[1] = "Bearer " + first.field("access_token")
	expect(t, "a check with it", s.verify(tokens), "ok")
	s.must(s.post(admin.PathClientRotate, admin.Key{Key: made.Key}, &rotated))
	expect(t, "a check with the token from before", s.verify(tokens), wire.FaultInvalidBearer)
	expect(t, "a token for the secret from before", token(made), "invalid_client")
	expect(t, "a token for the new secret", token(rotated), "ok")
	s.must(s.post(admin.PathClientRevoke, admin.Key{Key: made.Key}, nil))
	expect(t, "a token for a client that was revoked", token(rotated), "invalid_client")
	refused(t, "rotating a client that was revoked", s.post(admin.PathClientRotate, admin.Key{Key: made.Key}, &rotated),
		admin.CodeNotFound)
	var list admin.APIClients
	s.must(s.get(admin.PathClients, &list))
	if len(list.Clients) != 2 {
		t.Fatalf("there are %d clients, want 2", len(list.Clients))
	}
	for _, client := range list.Clients {
		if revoked := client.Key == made.Key; client.Revoked != revoked || revoked && client.Label != "the depot" {
			t.Errorf("the list has %+v", client)
		}
	}
}

func TestAnOperatorEndsSessions(t *testing.T) {
	s := start(t, setup{})
	s.addUser("ford", password)
	first := s.session(user, password)
	s.clock.advance(time.Second)
	second := s.session(user, password)
	s.clock.advance(time.Second)
	ford := s.session("ford", password)
	var order []string
	for before := ""; ; {
		var page admin.Sessions
		s.must(s.get(admin.PathSessions, &page, "limit", "1", "before", before))
		for _, session := range page.Sessions {
			order = append(order, session.User+" "+session.ID)
		}
		if before = page.Next; before == "" || len(order) > 5 {
			break
		}
	}
	if len(order) != 3 || !strings.HasPrefix(order[0], "ford ") {
		t.Fatalf("the pages list %v, want three sessions, ford's first", order)
	}
	var list admin.Sessions
	s.must(s.get(admin.PathSessions, &list, "user", user))
	if len(list.Sessions) != 2 || list.Sessions[0].Client != apiKey || list.Sessions[0].Address != "127.0.0.1" ||
		!list.Sessions[0].IdleAfter.Equal(list.Sessions[0].LastUsedAt.Add(20*time.Minute)) {
		t.Errorf("the user's sessions are %+v", list.Sessions)
	}
	s.must(s.post(admin.PathSessionEnd, admin.ID{ID: list.Sessions[0].ID}, nil))
	expect(t, "the session that the operator ended", s.verify(second), expired)
	expect(t, "the user's other session", s.verify(first), "ok")
	refused(t, "ending it again", s.post(admin.PathSessionEnd, admin.ID{ID: list.Sessions[0].ID}, nil), admin.CodeNotFound)
	refused(t, "ending no session", s.post(admin.PathSessionEnd, admin.ID{}, nil), admin.CodeNotFound)
	expect(t, "a session that was not ended", s.verify(ford), "ok")

	var count admin.Count
	s.must(s.post(admin.PathUserEnd, admin.Name{Name: user}, &count))
	if count.Count != 1 {
		t.Errorf("ending all sessions ended %d, want 1", count.Count)
	}
	expect(t, "a session after all were ended", s.verify(first), expired)
	s.must(s.get(admin.PathSessions, &list, "user", user, "ended", "true"))
	if len(list.Sessions) != 2 || list.Sessions[0].EndReason != "operator" || list.Sessions[0].EndedAt.IsZero() {
		t.Errorf("the ended sessions are %+v", list.Sessions)
	}
	refused(t, "a page behind nothing", s.get(admin.PathSessions, &list, "before", "0123456789abcdef"), admin.CodeInvalid)
	refused(t, "ended neither true nor false", s.get(admin.PathSessions, &list, "ended", "perhaps"), admin.CodeInvalid)
}

func TestAnOperatorReadsTheAuditTrail(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.clock.advance(time.Hour - time.Minute)
	since := s.clock.Now()
	expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
	expect(t, "a failure of an unknown user", s.login(tokens[1], "password-in-the-wrong-field", "x"), wrong)
	s.secrets = append(s.secrets, "password-in-the-wrong-field")
	kinds := func(query ...string) string {
		var list admin.Events
		s.must(s.get(admin.PathAudit, &list, query...))
		var kinds []string
		for i, event := range list.Events {
			kinds = append(kinds, event.Kind)
			if strings.Contains(fmt.Sprint(event), "wrong-field") {
				t.Errorf("the audit trail holds a name that may be a password: %+v", event)
			}
			if i > 0 && event.Seq <= list.Events[i-1].Seq {
				t.Errorf("the events are out of order: %+v", list.Events)
			}
		}
		return strings.Join(kinds, " ")
	}
	for query, want := range map[string]string{
		"":                                    "client-added user-added login login-failed login-failed",
		"limit=2":                             "client-added user-added",
		"last=true&limit=2":                   "login-failed login-failed",
		"after=2&limit=2":                     "login login-failed",
		"user=" + user:                        "user-added login login-failed",
		"since=" + since.Format(time.RFC3339): "login-failed login-failed",
	} {
		var pairs []string
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			pairs = append(pairs, name, value)
		}
		if got := kinds(pairs...); got != want {
			t.Errorf("the trail of %q is %q, want %q", query, got, want)
		}
	}
	var list admin.Events
	refused(t, "since the day before", s.get(admin.PathAudit, &list, "since", "yesterday"), admin.CodeInvalid)
	refused(t, "after the end", s.get(admin.PathAudit, &list, "after", "end"), admin.CodeInvalid)
}

func TestAnOperatorReceivesTheErrorOfAnUnavailableStore(t *testing.T) {
	stores := &away{}
	s := start(t, setup{stores: stores.of})
	stores.down.Store(true)
	refused(t, "locking a user", s.post(admin.PathUserLock, admin.Name{Name: user}, nil), admin.CodeUnavailable)
}
