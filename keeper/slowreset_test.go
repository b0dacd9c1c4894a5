package keeper_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// stolen is a State whose lease can be taken from its holder, as it is if the holder is
// cut off from the database for longer than its lease lasts.
type stolen struct {
	mu    sync.Mutex
	saved keeper.Saved
	epoch int
	held  bool
}

func (s *stolen) Durable() bool { return true }

func (s *stolen) Load(context.Context) (keeper.Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved, nil
}

func (s *stolen) Touch(_ context.Context, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved.LastUse = at
	return nil
}

func (s *stolen) Acquire(ctx context.Context) (keeper.Lease, error) {
	for {
		s.mu.Lock()
		if !s.held {
			s.held = true
			s.epoch++
			defer s.mu.Unlock()
			return &stolenLease{s, s.epoch}, nil
		}
		s.mu.Unlock()
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (s *stolen) steal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	s.epoch++
}

type stolenLease struct {
	state *stolen
	epoch int
}

func (l *stolenLease) Save(_ context.Context, data latchkey.Secret) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.epoch != l.state.epoch {
		return keeper.ErrLeaseLost
	}
	l.state.saved.Data = data
	return nil
}

func (l *stolenLease) Release(context.Context) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.epoch == l.state.epoch {
		l.state.held = false
	}
	return nil
}

// slowReset is the way to an upstream on which a reset waits before it is executed, and
// its response waits as well.
type slowReset struct {
	*model
	before, after time.Duration
}

func (s slowReset) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != wire.PathResetPassword {
		return s.model.RoundTrip(req)
	}
	if err := wait(req.Context(), s.before); err != nil {
		return nil, err
	}
	resp, err := s.model.RoundTrip(req)
	if err == nil {
		err = wait(req.Context(), s.after)
	}
	return resp, err
}

// A reset takes longer than the lease lasts, and another keeper takes over. Whatever
// that one finds, the answer is not lost.
func TestTheAnswerOfAResetOutlivesItsLease(t *testing.T) {
	for name, c := range map[string]struct {
		before, after time.Duration
		full          bool // the disk with the credential, at first
	}{
		"executed before":                        {after: 40 * time.Second},
		"executed after":                         {before: 39 * time.Second, after: time.Second},
		"executed before, and the store is full": {after: 40 * time.Second, full: true},
		"executed after, and the store is full":  {before: 39 * time.Second, after: time.Second, full: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, state := newModel(), &stolen{}
				file := newStore(t, t.TempDir())
				store := &faultyStore{Store: file}
				slow, err := latchkey.NewClient(latchkey.Config{
					BaseURL: modelURL, APIKey: "key", APISecret: "api-secret", Timeout: 55 * time.Second,
					HTTPClient: &http.Client{Transport: slowReset{m, c.before, c.after}},
				})
				if err != nil {
					t.Fatal(err)
				}
				one := newKeeper(t, m, keeper.Config{Upstream: slow, Credential: store, State: state})
				get(one.Transport(m)).ok(t)
				done := make(chan error, 1)
				go func() { done <- one.Rotate(t.Context()) }()
				pass(20 * time.Second)
				if c.full {
					store.fail(func(credential.Credential) (string, error) { return "", errDiskFull })
				}
				state.steal()
				other := newKeeper(t, m, keeper.Config{Credential: file, State: state})
				if err := other.ResumeRotation(t.Context()); err == nil {
					t.Error("the other one found nothing")
				}
				if err := <-done; err == nil || strings.Contains(hintOf(err), "memory of this program alone") != c.full {
					t.Errorf("got %v", err)
				}
				pass(10 * time.Minute)
				store.fail(nil)
				pass(2 * time.Hour)
				c, err := file.Load(t.Context())
				if err != nil || c.Password.Reveal() != m.password {
					t.Errorf("the store holds %q, the password is %q, error %v", c.Password.Reveal(), m.password, err)
				}
				m.endSessions()
				pass(time.Minute)
				_ = get(other.Transport(m))
				pass(time.Minute)
				get(other.Transport(m)).ok(t)
				get(one.Transport(m)).ok(t)
				if m.maxStrikes > 2 || len(m.resets) != 1 {
					t.Errorf("%d strikes, %d resets", m.maxStrikes, len(m.resets))
				}
				if err := errors.Join(one.ResumeRotation(t.Context()), other.ResumeRotation(t.Context())); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
