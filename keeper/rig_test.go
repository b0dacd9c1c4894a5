package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// rig is a real service, and a credential file and a state file on a disk.
type rig struct {
	*testing.T
	service    *latchtest.Server
	dir        string
	store      *credential.File
	mu         sync.Mutex
	steps      []keeper.Step
	rotationIs []error // what EventRotationFailed told
}

func newRig(t *testing.T) *rig {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, service: latchtest.NewServer(t), dir: t.TempDir()}
	r.store, err = credential.NewFile(credential.FileConfig{
		Path: filepath.Join(r.dir, "credential"), Identity: latchkey.Secret(identity.String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Save(t.Context(), credential.Credential{User: latchtest.User,
		Password: latchtest.Password}); err != nil {
		t.Fatal(err)
	}
	return r
}

// keeper returns a new Keeper on the files of the rig. config says what is not as usual.
func (r *rig) keeper(config keeper.Config) *keeper.Keeper {
	r.Helper()
	if config.Upstream == nil {
		config.Upstream = r.service.Client
	}
	if config.Credential == nil {
		config.Credential = r.store
	}
	if config.State == nil {
		config.State = r.state()
	}
	if config.OnEvent == nil {
		config.OnEvent = r.note
	}
	k := newKeeper(r.T, nil, config)
	k.Hasten()
	return k
}

func (r *rig) state() keeper.State {
	r.Helper()
	state, err := keeper.NewFileState(filepath.Join(r.dir, "state"))
	if err != nil {
		r.Fatal(err)
	}
	return state
}

func (r *rig) note(e keeper.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case keeper.EventRotating:
		r.steps = append(r.steps, e.Step)
	case keeper.EventRotationFailed:
		r.rotationIs = append(r.rotationIs, e.Err)
	}
}

// stored returns the password that the store holds.
func (r *rig) stored() latchkey.Secret {
	r.Helper()
	c, err := r.store.Load(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return c.Password
}

// mustLogIn checks that the password in the store is in effect.
func (r *rig) mustLogIn() {
	r.Helper()
	if _, err := r.service.Client.LogIn(r.Context(), latchtest.User, r.stored()); err != nil {
		r.Errorf("the stored password does not log in: %v", err)
	}
}

// request checks that a request through k succeeds.
func (r *rig) request(k *keeper.Keeper) {
	r.Helper()
	resp, err := k.HTTPClient().Get(r.service.URL + "/api/m2m/v1/devices")
	if err != nil {
		r.Errorf("a request failed: %v", err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.Errorf("a request got status %d", resp.StatusCode)
	}
}

// wantState checks that err is a RotationError of that state, and that Status agrees.
func (r *rig) wantState(k *keeper.Keeper, err error, state keeper.RotationState) {
	r.Helper()
	var rotation *keeper.RotationError
	if !errors.As(err, &rotation) || rotation.State != state {
		r.Errorf("error %v, want one of state %q", err, state)
	}
	status, statusErr := k.Status(r.Context())
	if statusErr != nil || status.Rotation != state {
		r.Errorf("status says %q, error %v, want %q", status.Rotation, statusErr, state)
	}
}

func (r *rig) wantStrikes(want int) {
	r.Helper()
	if failures, locked := r.service.Strikes(latchtest.User); failures != want || locked {
		r.Errorf("%d strikes, locked %v, want %d", failures, locked, want)
	}
}

func (r *rig) wantResets(want int) {
	r.Helper()
	if n := r.service.Count(latchtest.EventReset); n != want {
		r.Errorf("%d resets, want %d", n, want)
	}
}

// nothingInTheClear checks that no file of the rig contains a password.
func (r *rig) nothingInTheClear(passwords ...latchkey.Secret) {
	r.Helper()
	files, err := os.ReadDir(r.dir)
	if err != nil || len(files) < 3 {
		r.Fatalf("%d files, error %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(r.dir, file.Name()))
		if err != nil {
			r.Fatal(err)
		}
		for _, password := range passwords {
			if strings.Contains(string(content), password.Reveal()) {
				r.Errorf("%s holds a password in the clear", file.Name())
			}
		}
	}
}

// faultyStore is a store that fails.
type faultyStore struct {
	credential.Store
	mu   sync.Mutex
	save func(c credential.Credential) (string, error) // nil: as it should
	load func() (credential.Credential, error)
}

var errDiskFull = errors.New("no space left on device")

func (s *faultyStore) fail(save func(credential.Credential) (string, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.save = save
}

func (s *faultyStore) Save(ctx context.Context, c credential.Credential) (string, error) {
	s.mu.Lock()
	save := s.save
	s.mu.Unlock()
	if save != nil {
		return save(c)
	}
	return s.Store.Save(ctx, c)
}

func (s *faultyStore) Load(ctx context.Context) (credential.Credential, error) {
	if s.load != nil {
		return s.load()
	}
	return s.Store.Load(ctx)
}

// another returns a load whose result is the right credential at first, and then one with
// another password.
func another() func() (credential.Credential, error) {
	loads := 0
	return func() (credential.Credential, error) {
		loads++
		password := latchtest.Password
		if loads > 2 {
			password = "another"
		}
		return credential.Credential{User: latchtest.User, Password: password, Version: fmt.Sprint(loads)}, nil
	}
}

func breaksAfter(times int) func() (credential.Credential, error) {
	loads := 0
	return func() (credential.Credential, error) {
		if loads++; loads > times {
			return credential.Credential{}, errDiskFull
		}
		return credential.Credential{User: latchtest.User, Password: latchtest.Password, Version: ""}, nil
	}
}

// faultyState is a State whose saves fail from one on, to another one if that is set.
type faultyState struct {
	keeper.State
	failFrom int
	failTo   int
	mu       sync.Mutex
	saves    int
}

func (s *faultyState) Acquire(ctx context.Context) (keeper.Lease, error) {
	lease, err := s.State.Acquire(ctx)
	return faultyLease{lease, s}, err
}

type faultyLease struct {
	keeper.Lease
	state *faultyState
}

func (l faultyLease) Save(ctx context.Context, data latchkey.Secret) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	l.state.saves++
	if l.state.failFrom > 0 && l.state.saves >= l.state.failFrom &&
		(l.state.failTo == 0 || l.state.saves <= l.state.failTo) {
		return errDiskFull
	}
	return l.Lease.Save(ctx, data)
}

// hintOf returns the advice that err has.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func tokensOf(t *testing.T, k *keeper.Keeper) keeper.Tokens {
	t.Helper()
	tokens, err := k.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}
