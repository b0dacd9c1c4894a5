package keeper_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

// TestMain also is the program that the tests with several processes start.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(killVariable) != "":
		os.Exit(rotateAndDie())
	case os.Getenv(urlVariable) != "":
		os.Exit(runProgram())
	}
	goleak.VerifyTestMain(m)
}

// source is a credential.Source that tests change.
type source struct {
	mu         sync.Mutex
	credential credential.Credential
	err        error
}

func newSource(password string) *source {
	return &source{credential: credential.Credential{User: "zbeeblebrox", Password: latchkey.Secret(password)}}
}

func (s *source) Load(context.Context) (credential.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credential, s.err
}

func (s *source) set(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credential.Password = latchkey.Secret(password)
}

func (s *source) password() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credential.Password.Reveal()
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newClient(t testing.TB, upstream http.RoundTripper) *latchkey.Client {
	t.Helper()
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: modelURL, APIKey: "key", APISecret: "api-secret",
		HTTPClient: &http.Client{Transport: upstream},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newKeeper is a keeper over m with defaults for what config leaves open.
func newKeeper(t testing.TB, m http.RoundTripper, config keeper.Config) *keeper.Keeper {
	t.Helper()
	if config.Upstream == nil {
		config.Upstream = newClient(t, m)
	}
	if config.Credential == nil && config.Rotation == nil {
		config.Credential = newSource("right")
	}
	if config.State == nil {
		config.State = keeper.NewMemoryState()
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if store, ok := config.Credential.(credential.Store); ok {
		config.Rotation, config.Credential = &keeper.Rotation{Store: store}, nil
	}
	if rotation := config.Rotation; rotation != nil && rotation.Upstream == nil {
		rotation.Upstream, _ = config.Upstream.(keeper.PasswordResetter)
	}
	k, err := keeper.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeKeeper(t, k) })
	return k
}

func closeKeeper(t testing.TB, k *keeper.Keeper) {
	t.Helper()
	if err := k.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// answer is what became of a request.
type answer struct {
	status int
	body   string
	err    error
}

// get sends a GET through rt.
func get(rt http.RoundTripper) answer { return send(context.Background(), rt, "GET", "", true) }

// send sends a request with body, which cannot be read again unless rewindable.
func send(ctx context.Context, rt http.RoundTripper, method, body string, rewindable bool) answer {
	req, err := http.NewRequestWithContext(ctx, method, modelURL+"/api/m2m/v1/devices", strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if !rewindable {
		req.GetBody = nil
	}
	return do(rt, req)
}

func do(rt http.RoundTripper, req *http.Request) answer {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return answer{resp.StatusCode, string(text), err}
}

func (a answer) ok(t testing.TB) {
	t.Helper()
	if a.err != nil || a.status != http.StatusOK {
		t.Errorf("got status %d, body %q, error %v, want 200", a.status, a.body, a.err)
	}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }
