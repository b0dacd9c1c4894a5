package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

func TestNewNamesEveryFaultAtOnce(t *testing.T) {
	_, err := keeper.New(keeper.Config{IdleTimeout: time.Second})
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	for _, field := range []string{"IdleTimeout", "Credential", "State", "Upstream"} {
		if !strings.Contains(err.Error(), "Config."+field) && !strings.Contains(err.Error(), "keeper: Config."+field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
}

func TestNoEventLogOrErrorContainsASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown bytes.Buffer
		var mu sync.Mutex
		m, shared := newModel(), keeper.NewMemoryState()
		src := newSource("hunter2")
		m.password = "hunter2"
		show := func(v any) {
			mu.Lock()
			defer mu.Unlock()
			_, _ = fmt.Fprintf(&shown, "%v %+v %#v %s\n", v, v, v, v)
		}
		k := newKeeper(t, m, keeper.Config{
			State: shared, Credential: src, OnEvent: func(e keeper.Event) { show(e) },
			Log: slog.New(slog.NewJSONHandler(lockedWriter{&mu, &shown}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		rt := k.Transport(m)
		get(rt).ok(t)
		pass(10 * time.Minute)
		m.endSessions()
		get(rt).ok(t)
		tokens, _ := k.Tokens(t.Context())
		pass(10 * time.Minute)
		m.endSessions()
		m.revokeBearer()
		src.set("hunter3")
		show(get(rt).err)
		show(get(rt).err)
		status, err := k.Status(t.Context())
		show(err)
		for _, v := range []any{status, tokens, k, *k.HTTPClient(), shared, keeper.Static("u", "hunter2"),
			credential.Credential{Password: "hunter2"}} {
			show(v)
		}
		text := shown.String()
		if !strings.Contains(text, string(keeper.EventLatched)) || !strings.Contains(text, `"event":"logged_in"`) {
			t.Error("the events and the log are not all there")
		}
		for _, secret := range []string{"hunter", "api-secret", "00000000-0000-4000", "bearer-1", "bearer-2", "bearer-3"} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%q was shown: …%s…", secret, text[max(0, at-200):min(len(text), at+50)])
			}
		}
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestStatusSaysHowThingsStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		src := newSource("right")
		k := newKeeper(t, m, keeper.Config{Credential: src})
		if s, err := k.Status(t.Context()); err != nil || s.Live || s.Latched != nil || s.Strikes != 0 ||
			!s.LoggedInAt.IsZero() {
			t.Errorf("before anything: %+v, %v", s, err)
		}
		get(k.Transport(m)).ok(t)
		loggedIn := time.Now()
		pass(5 * time.Minute)
		get(k.Transport(m)).ok(t)
		pass(time.Minute)
		s, err := k.Status(t.Context())
		if err != nil || !s.Live || loggedIn.Sub(s.LoggedInAt) > time.Second || time.Since(s.LastUse) > 90*time.Second ||
			s.BearerExpiresAt.IsZero() {
			t.Errorf("in use: %+v, %v", s, err)
		}
		pass(time.Hour)
		if s, err := k.Status(t.Context()); err != nil || s.Live {
			t.Errorf("an hour later: %+v, %v", s, err)
		}
		src.fail(errors.New("vault is sealed"))
		if _, err := k.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "vault is sealed") {
			t.Errorf("got %v, want the source's error", err)
		}
		if got := get(k.Transport(m)); got.err == nil || !strings.Contains(got.err.Error(), "vault is sealed") {
			t.Errorf("got %+v, want the source's error", got)
		}
	})
}
