package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/server"
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
	var refusal *wire.AdminError
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Message == "" {
		t.Errorf("%s: %v, want the refusal %s", what, err, code)
	}
}

func TestAnOperatorKeepsUsers(t *testing.T) {
	s := start(t, setup{})
	var made wire.AdminPassword
	s.must(s.post(wire.PathAdminUserAdd, wire.AdminPassword{Name: "arthur dent/é"}, &made))
	s.secrets = append(s.secrets, made.Password)
	if len(made.Password) != 20 || made.Name != "arthur dent/é" {
		t.Errorf("the new user is %+v, want a generated password", made)
	}
	tokens := s.session("arthur dent/é", made.Password)
	var given wire.AdminPassword
	s.must(s.post(wire.PathAdminUserPassword, wire.AdminPassword{Name: "arthur dent/é", Password: "given-to-me"}, &given))
	s.secrets = append(s.secrets, "given-to-me")
	if given.Password != "" {
		t.Error("a password that the operator knows was told")
	}
	expect(t, "a session after the operator set a password", s.verify(tokens), expired)
	tokens = s.session("arthur dent/é", "given-to-me")
	for range 2 {
		expect(t, "a failure", s.login(tokens[1], "arthur dent/é", "a wrong one"), wrong)
	}
	var one wire.AdminUser
	s.must(s.get(wire.PathAdminUser, &one, "name", "arthur dent/é"))
	if one.Failures != 2 || !one.LockedAt.IsZero() || one.Disabled || !one.PasswordChangedAt.Equal(s.clock.Now()) {
		t.Errorf("the user is %+v, want two failures", one)
	}
	s.must(s.post(wire.PathAdminUserLock, wire.AdminName{Name: "arthur dent/é"}, nil))
	s.must(s.get(wire.PathAdminUser, &one, "name", "arthur dent/é"))
	if !one.LockedByOperator || !one.LockedAt.Equal(s.clock.Now()) {
		t.Errorf("the locked user is %+v", one)
	}
	s.must(s.post(wire.PathAdminUserRemove, wire.AdminName{Name: "arthur dent/é"}, nil))
	expect(t, "a session of a user who was removed", s.verify(tokens), expired)

	refused(t, "a user who was removed", s.get(wire.PathAdminUser, &one, "name", "arthur dent/é"), wire.AdminNotFound)
	for _, path := range []string{wire.PathAdminUserLock, wire.PathAdminUserUnlock, wire.PathAdminUserDisable, wire.PathAdminUserEnable, wire.PathAdminUserRemove, wire.PathAdminUserEnd} {
		refused(t, path+" of nobody", s.post(path, wire.AdminName{Name: "nobody"}, nil), wire.AdminNotFound)
	}
	refused(t, "a password for nobody", s.post(wire.PathAdminUserPassword, wire.AdminPassword{Name: "nobody"}, &made), wire.AdminNotFound)
	refused(t, "a name that is taken", s.post(wire.PathAdminUserAdd, wire.AdminPassword{Name: user}, &made), wire.AdminExists)
	refused(t, "an empty name", s.post(wire.PathAdminUserAdd, wire.AdminPassword{}, &made), wire.AdminInvalid)
	refused(t, "an illegal name", s.post(wire.PathAdminUserAdd, wire.AdminPassword{Name: "o'brien"}, &made), wire.AdminInvalid)
	refused(t, "another body", s.post(wire.PathAdminUserLock, map[string]string{"nome": user}, nil), wire.AdminInvalid)
	refused(t, "no object", s.post(wire.PathAdminUserLock, []string{user}, nil), wire.AdminInvalid)
	refused(t, "an unknown operation", s.post(wire.PathAdmin+"user/praise", wire.AdminName{Name: user}, nil), wire.AdminNotFound)
}

func TestAnOperatorListsUsersByPage(t *testing.T) {
	s := start(t, setup{})
	for i := range 4 {
		s.addUser(fmt.Sprintf("user-%d", i), password)
	}
	var names []string
	for after, pages := "", 0; ; pages++ {
		var page wire.AdminUsers
		s.must(s.get(wire.PathAdminUsers, &page, "after", after, "limit", "2"))
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
	var page wire.AdminUsers
	for _, limit := range []string{"0", "-1", "x"} {
		refused(t, "the limit "+limit, s.get(wire.PathAdminUsers, &page, "limit", limit), wire.AdminInvalid)
	}
}

func TestAnOperatorKeepsClients(t *testing.T) {
	s := start(t, setup{})
	var made, rotated wire.AdminCredentials
	s.must(s.post(wire.PathAdminClientAdd, wire.AdminLabel{Label: "the depot"}, &made))
	token := func(c wire.AdminCredentials) reply {
		s.secrets = append(s.secrets, c.Secret)
		return s.do(sound, "POST", wire.PathToken, "grant_type=client_credentials", "Authorization", basic(c.Key, c.Secret), "Content-Type", wire.MediaTypeForm)
	}
	first := token(made)
	expect(t, "a token for the new client", first, "ok")
	tokens := s.session(user, password)
	tokens[1] = "Bearer " + first.field("access_token")
	expect(t, "a check with it", s.verify(tokens), "ok")
	s.must(s.post(wire.PathAdminClientRotate, wire.AdminKey{Key: made.Key}, &rotated))
	expect(t, "a check with the token from before", s.verify(tokens), wire.FaultInvalidBearer)
	expect(t, "a token for the secret from before", token(made), "invalid_client")
	expect(t, "a token for the new secret", token(rotated), "ok")
	s.must(s.post(wire.PathAdminClientRevoke, wire.AdminKey{Key: made.Key}, nil))
	expect(t, "a token for a client that was revoked", token(rotated), "invalid_client")
	refused(t, "rotating a client that was revoked", s.post(wire.PathAdminClientRotate, wire.AdminKey{Key: made.Key}, &rotated), wire.AdminNotFound)
	var list wire.AdminClients
	s.must(s.get(wire.PathAdminClients, &list))
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
		var page wire.AdminSessions
		s.must(s.get(wire.PathAdminSessions, &page, "limit", "1", "before", before))
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
	var list wire.AdminSessions
	s.must(s.get(wire.PathAdminSessions, &list, "user", user))
	if len(list.Sessions) != 2 || list.Sessions[0].Client != apiKey || list.Sessions[0].Address != "127.0.0.1" || !list.Sessions[0].IdleAfter.Equal(list.Sessions[0].LastUsedAt.Add(20*time.Minute)) {
		t.Errorf("the user's sessions are %+v", list.Sessions)
	}
	s.must(s.post(wire.PathAdminSessionEnd, wire.AdminID{ID: list.Sessions[0].ID}, nil))
	expect(t, "the session that the operator ended", s.verify(second), expired)
	expect(t, "the user's other session", s.verify(first), "ok")
	refused(t, "ending it again", s.post(wire.PathAdminSessionEnd, wire.AdminID{ID: list.Sessions[0].ID}, nil), wire.AdminNotFound)
	refused(t, "ending no session", s.post(wire.PathAdminSessionEnd, wire.AdminID{}, nil), wire.AdminNotFound)
	expect(t, "a session that nobody ended", s.verify(ford), "ok")

	var count wire.AdminCount
	s.must(s.post(wire.PathAdminUserEnd, wire.AdminName{Name: user}, &count))
	if count.Count != 1 {
		t.Errorf("ending all sessions ended %d, want 1", count.Count)
	}
	expect(t, "a session after all were ended", s.verify(first), expired)
	s.must(s.get(wire.PathAdminSessions, &list, "user", user, "ended", "true"))
	if len(list.Sessions) != 2 || list.Sessions[0].EndReason != "operator" || list.Sessions[0].EndedAt.IsZero() {
		t.Errorf("the ended sessions are %+v", list.Sessions)
	}
	refused(t, "a page behind nothing", s.get(wire.PathAdminSessions, &list, "before", "0123456789abcdef"), wire.AdminInvalid)
	refused(t, "ended neither true nor false", s.get(wire.PathAdminSessions, &list, "ended", "perhaps"), wire.AdminInvalid)
}

func TestAnOperatorReadsTheAuditTrail(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.clock.advance(time.Hour - time.Minute)
	since := s.clock.Now()
	expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
	expect(t, "a failure of nobody", s.login(tokens[1], "password-in-the-wrong-field", "x"), wrong)
	s.secrets = append(s.secrets, "password-in-the-wrong-field")
	kinds := func(query ...string) string {
		var list wire.AdminEvents
		s.must(s.get(wire.PathAdminAudit, &list, query...))
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
	var list wire.AdminEvents
	refused(t, "since the day before", s.get(wire.PathAdminAudit, &list, "since", "yesterday"), wire.AdminInvalid)
	refused(t, "after the end", s.get(wire.PathAdminAudit, &list, "after", "end"), wire.AdminInvalid)
}

func TestAnOperatorIsToldOfAStoreThatIsAway(t *testing.T) {
	stores := &away{}
	s := start(t, setup{stores: stores.of})
	stores.down.Store(true)
	refused(t, "locking a user", s.post(wire.PathAdminUserLock, wire.AdminName{Name: user}, nil), wire.AdminUnavailable)
}

func TestTheAdminClientSaysWhereNobodyListens(t *testing.T) {
	err := server.NewAdminClient(t.TempDir()+"/none.sock").Get(context.Background(), wire.PathAdminUsers, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "none.sock") || strings.Contains(err.Error(), "http://") {
		t.Errorf("calling where nobody listens: %v", err)
	}
}
