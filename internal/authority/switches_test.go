package authority_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
)

func TestALoginEndsTheOtherSessionsWhereThePolicySaysSo(t *testing.T) {
	s := newService(t, func(c *authority.Config) { c.Policy.EndSessionsOnLogin = true })
	first := s.mustLogIn(t, "right")
	second := s.mustLogIn(t, "right")
	_, err := s.Check(t.Context(), first)
	want(t, "the first session", err, authority.ErrSessionExpired)
	if _, err := s.Check(t.Context(), second); err != nil {
		t.Errorf("the second session returned %v", err)
	}
	ended, err := s.Sessions(t.Context(), authority.SessionQuery{User: "zaphod", Ended: true})
	if err != nil || len(ended) != 2 {
		t.Fatalf("listed %d sessions, %v", len(ended), err)
	}
	for _, session := range ended {
		if session.Key == first.Key() && session.End.Reason != authority.ReasonLogIn {
			t.Errorf("the first session ended for the reason %q", session.End.Reason)
		}
	}
}

func TestALoginLeavesTheOtherSessionsByDefault(t *testing.T) {
	s := newService(t, nil)
	first := s.mustLogIn(t, "right")
	s.mustLogIn(t, "right")
	if _, err := s.Check(t.Context(), first); err != nil {
		t.Errorf("the first session returned %v", err)
	}
}

func TestOfLoginsAtOnceExactlyOneSessionStaysWhereALoginEndsTheOthers(t *testing.T) {
	s := newService(t, func(c *authority.Config) { c.Policy.EndSessionsOnLogin = true })
	var logins sync.WaitGroup
	for range 10 {
		logins.Go(func() {
			if _, err := s.logIn(t, "zaphod", "right"); err != nil {
				t.Error(err)
			}
		})
	}
	logins.Wait()
	live, err := s.Sessions(t.Context(), authority.SessionQuery{User: "zaphod"})
	if err != nil || len(live) != 1 {
		t.Errorf("%d sessions live, %v", len(live), err)
	}
}

func TestAnAbortedLoginIsAStrikeOnlyWhereThePolicySaysSo(t *testing.T) {
	for _, counts := range []bool{false, true} {
		s := newService(t, func(c *authority.Config) { c.Policy.StrikeOnAbort = counts })
		left, leave := context.WithCancel(t.Context())
		leave()
		for range 5 {
			_, err := s.LogIn(left, "zaphod", "right", authority.Origin{})
			if err == nil {
				t.Fatal("a caller who left was logged in")
			}
			if !errors.Is(err, authority.ErrUnavailable) {
				t.Errorf("a caller who left got %v", err)
			}
		}
		_, err := s.logIn(t, "zaphod", "right")
		if counts {
			want(t, "a login after five that were aborted", err, authority.ErrAccountLocked)
		} else if err != nil {
			t.Errorf("a login after five that were aborted returned %v", err)
		}
		live, err := s.Sessions(t.Context(), authority.SessionQuery{User: "zaphod"})
		if err != nil || counts && len(live) != 0 || !counts && len(live) != 1 {
			t.Errorf("counts %v: %d sessions live, %v", counts, len(live), err)
		}
	}
}

func TestEndingAnAccessTokenMakesTheNextOneAnother(t *testing.T) {
	s := newService(t, nil)
	credentials, err := s.AddClient(t.Context(), "a program", authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.IssueAccessToken(t.Context(), credentials.Key, credentials.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndAccessToken(t.Context(), credentials.Key, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Authenticate(t.Context(), token.Token.Reveal())
	want(t, "the token that ended", err, authority.ErrInvalidBearer)
	next, err := s.IssueAccessToken(t.Context(), credentials.Key, credentials.Secret)
	if err != nil || next.Token.Equal(token.Token) {
		t.Errorf("the next token is the same one, or %v", err)
	}
	err = s.EndAccessToken(t.Context(), "nobody", authority.Origin{})
	want(t, "a client that there is not", err, authority.ErrNotFound)
}
