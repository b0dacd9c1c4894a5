package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const reused = "INPUT_INVALID.IdempotencyKey.Reused"

// resetAs resets with an Idempotency-Key.
func (s *service) resetAs(key string, tokens []string, old string) reply {
	s.t.Helper()
	return s.reset(append([]string{wire.HeaderIdempotency, key}, tokens...), old)
}

// made wants a new password, and keeps it from the log.
func (s *service) made(r reply) string {
	s.t.Helper()
	expect(s.t, "the reset", r, "ok")
	password := r.field("newPassword")
	s.secrets = append(s.secrets, password)
	return password
}

func TestARepeatedResetReturnsTheSamePasswordForADay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	policy := authority.Policy{IdleTimeout: 48 * time.Hour}
	s := start(t, setup{path: path, policy: policy})
	tokens := s.session(user, password)
	made := s.made(s.resetAs("key-1", tokens, password))
	if again := s.made(s.resetAs("key-1", tokens, password)); again != made {
		t.Error("the repeat returned another password")
	}
	expect(t, "the password", s.login(tokens[1], user, made), "ok")
	for _, repeat := range []reply{s.reset(tokens, password), s.resetAs("key-2", tokens, password)} {
		if again := s.made(repeat); again != made {
			t.Error("within two minutes, the repeat of the same session returned another password")
		}
	}
	if n := s.events(authority.EventReset); n != 1 {
		t.Errorf("%d resets were made, want one", n)
	}
	if n := s.events(authority.EventResetRepeated); n != 3 {
		t.Errorf("%d repeats are on the trail, want three", n)
	}
	s.clock.advance(2 * time.Minute)
	expect(t, "without the key, two minutes later", s.reset(tokens, password), mismatch)
	expect(t, "with another key", s.resetAs("key-2", tokens, password), mismatch)
	s.must(s.stop())

	s = start(t, setup{path: path, policy: policy, keepState: true})
	tokens[1] = s.bearer()
	if again := s.made(s.resetAs("key-1", tokens, password)); again != made {
		t.Error("after a restart, the repeat returned another password")
	}
	s.clock.advance(24*time.Hour - time.Millisecond)
	tokens[1] = s.bearer()
	expect(t, "the repeat on the last moment", s.resetAs("key-1", tokens, password), "ok")
	s.clock.advance(time.Millisecond)
	tokens[1] = s.bearer()
	expect(t, "the repeat a day later", s.resetAs("key-1", tokens, password), mismatch)
	expect(t, "a new reset with that key", s.resetAs("key-1", tokens, made), "ok")
}

func TestGuessesAreStrikesWithAKeyToo(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.made(s.resetAs("key", tokens, password))
	for i := range 4 {
		expect(t, "a wrong old password", s.resetAs("key", tokens, fmt.Sprint("wrong ", i)), mismatch)
		expect(t, "a repeat, which is no success", s.resetAs("key", tokens, password), "ok")
	}
	expect(t, "the fifth wrong one", s.resetAs("key", tokens, "wrong 4"), mismatch)
	expect(t, "a repeat of a locked user", s.resetAs("key", tokens, password), locked)
}

func TestAKeyIsForOneReset(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	made := s.made(s.resetAs("key", tokens, password))
	expect(t, "the key with the password of today", s.resetAs("key", tokens, made), reused)
	if n := s.events(authority.EventResetFailed); n != 1 {
		t.Errorf("%d refusals are on the trail, want one", n)
	}
	expect(t, "a login", s.login(tokens[1], user, made), "ok")
	// The next reset replaces what can be repeated: its password is the one that holds.
	next := s.made(s.resetAs("another", tokens, made))
	expect(t, "a repeat of the first", s.resetAs("key", tokens, password), mismatch) // a strike
	if again := s.made(s.resetAs("another", tokens, made)); again != next {
		t.Error("the repeat of the second returned another password")
	}
	s.must(s.post(admin.PathUserPassword, admin.Password{Name: user, Password: "set by an operator"}, nil))
	tokens = s.session(user, "set by an operator")
	expect(t, "a repeat after an operator's change", s.resetAs("another", tokens, made), mismatch)
	// The key is the user's own.
	s.addUser("ford", password)
	ford := s.session("ford", password)
	expect(t, "another user's reset with that key", s.resetAs("another", ford, password), "ok")
}

func TestResetsWithOneKeyAtOnceAreOneReset(t *testing.T) {
	t.Parallel()
	s := start(t, setup{queue: 100})
	tokens := s.session(user, password)
	var mu sync.Mutex
	told := map[string]int{}
	counts := together(8, func(int) reply {
		r := s.resetAs("key", tokens, password)
		mu.Lock()
		defer mu.Unlock()
		told[r.field("newPassword")]++
		return r
	})
	if n := s.events(authority.EventResetRepeated); n != 7 {
		t.Errorf("%d repeats are on the trail, want all but one of 8", n)
	}
	if counts["ok"] != 8 || len(told) != 1 || s.events(authority.EventReset) != 1 {
		t.Errorf("8 at once returned %v, with %d passwords, and %d resets", counts, len(told), s.events(authority.EventReset))
	}
	for password := range told {
		s.secrets = append(s.secrets, password)
		expect(t, "the password", s.login(tokens[1], user, password), "ok")
	}
}

func TestMalformedKeysAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	for name, key := range map[string]string{"empty": "", "too long": strings.Repeat("k", 256), "a space": "a b",
		"not ASCII": "schlüssel"} {
		if r := s.do(malformed, "PUT", wire.PathResetPassword, `{"oldPassword":"`+password+`"}`,
			append([]string{wire.HeaderIdempotency, key}, tokens...)...); r.status != 400 {
			t.Errorf("%s: returned %d %s", name, r.status, r.body)
		}
	}
	twice := append([]string{wire.HeaderIdempotency, "a", wire.HeaderIdempotency, "b"}, tokens...)
	if r := s.do(malformed, "PUT", wire.PathResetPassword, `{"oldPassword":"`+password+`"}`, twice...); r.status != 400 {
		t.Errorf("two keys returned %d %s", r.status, r.body)
	}
	expect(t, "a login", s.login(tokens[1], user, password), "ok")
	expect(t, "a key of 255", s.resetAs(strings.Repeat("k", 255), tokens, password), "ok")
}

func TestTheDatabaseHoldsNoPasswordInTheClear(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	s := start(t, setup{path: filepath.Join(directory, "latchkey.db")})
	tokens := s.session(user, password)
	made := s.made(s.resetAs("telling-key-1234", tokens, password))
	search := func(when string) {
		files, err := os.ReadDir(directory)
		s.must(err)
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(directory, file.Name()))
			s.must(err)
			for what, text := range map[string]string{"the old password": password, "the new one": made,
				"the key": "telling-key-1234", "the session token": tokens[3]} {
				if strings.Contains(string(content), text) {
					t.Errorf("%s: %s holds %s", when, file.Name(), what)
				}
			}
		}
	}
	search("while it runs")
	s.clock.advance(24 * time.Hour)
	s.must(s.authority.Sweep(t.Context()))
	if account, err := s.db.User(t.Context(), user); err != nil || account.LastReset != (authority.IdempotentReset{}) {
		t.Errorf("a day later, a sweep leaves %+v, error %v", account.LastReset, err)
	}
	s.must(s.stop())
	search("afterwards")
}
