package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	if _, err := r.store.Save(t.Context(), credential.Credential{User: latchtest.User, Password: latchtest.Password}); err != nil {
		t.Fatal(err)
	}
	return r
}

// keeper is another one on the same files. config says what is not as usual.
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

// stored is the password that the store holds.
func (r *rig) stored() latchkey.Secret {
	r.Helper()
	c, err := r.store.Load(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return c.Password
}

// mustLogIn wants that the password in the store is the one in force.
func (r *rig) mustLogIn() {
	r.Helper()
	if _, err := r.service.Client.LogIn(r.Context(), latchtest.User, r.stored()); err != nil {
		r.Errorf("the stored password does not log in: %v", err)
	}
}

// request wants that a request through k succeeds.
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
		r.Errorf("a request was answered %d", resp.StatusCode)
	}
}

// wantState wants a RotationError of that state, and that Status says the same.
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

func TestRotateStoresAndProvesTheNewPassword(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{})
	if err := k.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []keeper.Step{
		keeper.StepSession, keeper.StepCheckStore, keeper.StepRecord,
		keeper.StepReset, keeper.StepResponse, keeper.StepStore, keeper.StepProveNew,
	}
	if !slices.Equal(r.steps, want) {
		t.Errorf("the steps were %q, want %q", r.steps, want)
	}
	changed := r.stored()
	if changed.Equal(latchtest.Password) {
		t.Error("the store holds the old password")
	}
	r.wantResets(1)
	r.wantStrikes(0)
	r.request(k)
	if n := r.service.Count(latchtest.EventLogIn); n != 2 {
		t.Errorf("%d logins, want the first and the one that proves", n)
	}
	r.mustLogIn()
	status, err := k.Status(t.Context())
	if err != nil || !status.PasswordMade || time.Since(status.PasswordSince) > time.Minute ||
		status.Rotation != keeper.RotationNone || status.Latched != nil {
		t.Errorf("status %+v, error %v", status, err)
	}
	r.nothingInTheClear(latchtest.Password, changed)
	if stats := k.Stats(); stats[keeper.EventRotated] != 1 || stats[keeper.EventRotationFailed] != 0 {
		t.Errorf("the events are %v", stats)
	}
}

// nothingInTheClear searches all files of the rig.
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

// faultyStore is a store that goes wrong.
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

func TestNoResetIsSentUnlessTheStoreKeepsWhatItIsGiven(t *testing.T) {
	old := func() (credential.Credential, error) {
		return credential.Credential{User: latchtest.User, Password: latchtest.Password, Version: "1"}, nil
	}
	for name, store := range map[string]*faultyStore{
		"the disk is full":                 {save: func(credential.Credential) (string, error) { return "", errDiskFull }},
		"somebody else changed it":         {save: func(credential.Credential) (string, error) { return "", credential.ErrConflict }},
		"it says it saved, and did not":    {save: func(c credential.Credential) (string, error) { return c.Version, nil }},
		"it answers another version":       {save: func(credential.Credential) (string, error) { return "2", nil }, load: old},
		"it answers another password":      {save: func(credential.Credential) (string, error) { return "1", nil }, load: another()},
		"it cannot be read after it saved": {load: breaksAfter(2)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			store.Store = r.store
			r.request(r.keeper(keeper.Config{}))
			k := r.keeper(keeper.Config{Credential: store})
			err := k.Rotate(t.Context())
			var rotation *keeper.RotationError
			if !errors.As(err, &rotation) || rotation.State != keeper.RotationNone || !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("error %v, want one that says that nothing was changed", err)
			}
			r.wantResets(0)
			r.wantStrikes(0)
			r.mustLogIn()
			r.request(k)
		})
	}
}

// another answers the right credential at first, and then one with another password.
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

func TestNoResetIsSentFromAPlaceThatCannotKeepIt(t *testing.T) {
	r := newRig(t)
	for name, config := range map[string]keeper.Config{
		"a source without a Save": {Credential: keeper.Static(latchtest.User, latchtest.Password)},
		"the environment":         {Credential: credential.NewEnvironment("LATCHKEY_TEST_USER", "LATCHKEY_TEST_PASSWORD")},
		"a state in memory":       {State: keeper.NewMemoryState()},
	} {
		if err := r.keeper(config).Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be rotated") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	r.wantResets(0)
}

// faultyState is a State whose saves fail from one on.
type faultyState struct {
	keeper.State
	failFrom int
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
	if l.state.failFrom > 0 && l.state.saves >= l.state.failFrom {
		return errDiskFull
	}
	return l.Lease.Save(ctx, data)
}

func TestNoResetIsSentUnlessTheStateTakesTheIntent(t *testing.T) {
	r := newRig(t)
	r.request(r.keeper(keeper.Config{}))
	k := r.keeper(keeper.Config{State: &faultyState{State: r.state(), failFrom: 1}})
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationNone)
	r.wantResets(0)
	r.mustLogIn()
}

// The disk with the state is full from the moment on that the reset is sent. The
// credential store still gets the password.
func TestAStateThatFailsAfterTheResetLosesNothing(t *testing.T) {
	r := newRig(t)
	r.request(r.keeper(keeper.Config{}))
	state := &faultyState{State: r.state(), failFrom: 2}
	k := r.keeper(keeper.Config{State: state})
	_ = k.Rotate(t.Context()) // the login that proves is not made, since it cannot be recorded
	r.wantResets(1)
	r.mustLogIn()
	state.mu.Lock()
	state.failFrom = 0 // there is room again
	state.mu.Unlock()
	if err := k.ResumeRotation(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantStrikes(0)
	r.request(k)
}

func TestAStoreThatRefusesAfterTheResetIsMadeUpForByTheState(t *testing.T) {
	r := newRig(t)
	saves := 0
	store := &faultyStore{Store: r.store}
	store.save = func(c credential.Credential) (string, error) {
		if saves++; saves > 1 {
			return "", errDiskFull
		}
		return r.store.Save(t.Context(), c)
	}
	k := r.keeper(keeper.Config{Credential: store})
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationUnsaved)
	r.wantResets(1)
	if !r.stored().Equal(latchtest.Password) {
		t.Fatal("the store was changed")
	}
	// Every program goes on, the one that is started now, too.
	r.service.ExpireSessions(latchtest.User)
	r.request(k)
	r.service.ExpireSessions(latchtest.User)
	another := r.keeper(keeper.Config{Credential: store})
	r.request(another)
	r.wantStrikes(0)
	r.nothingInTheClear(latchtest.Password)
	store.fail(nil)
	if err := another.ResumeRotation(t.Context()); err != nil {
		t.Error(err)
	}
	r.mustLogIn()
	r.wantResets(1)
	if status, err := k.Status(t.Context()); err != nil || status.Rotation != keeper.RotationNone || !status.PasswordMade {
		t.Errorf("status %+v, error %v", status, err)
	}
}

func TestAResetThatNeverArrivedIsFoundOutWithoutAStrike(t *testing.T) {
	for name, fault := range map[string]latchtest.Fault{
		"cut before it was executed": latchtest.DropBefore(),
		"a bad gateway":              latchtest.Fail(http.StatusBadGateway),
		"unavailable":                latchtest.Fail(http.StatusServiceUnavailable),
		"turned away":                latchtest.Throttle(time.Second),
		"forbidden":                  latchtest.ForbidXML(),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			k := r.keeper(keeper.Config{})
			r.service.Inject(latchtest.Reset, fault, 1)
			r.wantState(k, k.Rotate(t.Context()), keeper.RotationNone)
			r.wantResets(0)
			r.wantStrikes(0)
			r.mustLogIn()
			if err := k.Rotate(t.Context()); err != nil {
				t.Errorf("the next rotation: %v", err)
			}
			r.wantResets(1)
			r.mustLogIn()
		})
	}
}

func TestAResetThatIsRefusedForItsTokensIsTriedWithOthers(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{})
	r.request(k)
	r.service.Inject(latchtest.Reset, latchtest.ExpireSessions(), 1)
	if err := k.Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantResets(1)
	r.mustLogIn()
	r.service.Inject(latchtest.Reset, latchtest.RevokeBearer(), 1)
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationNone)
	r.wantResets(1)
	if err := k.Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantResets(2)
	r.mustLogIn()
	r.wantStrikes(0)
}

func TestALostPasswordCostsOneStrikeAndLeavesTheSession(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{})
	r.service.Inject(latchtest.Reset, latchtest.DropAfter(), 1)
	err := k.Rotate(t.Context())
	r.wantState(k, err, keeper.RotationLost)
	if !strings.Contains(hintOf(err), "support") || strings.Contains(err.Error(), latchtest.Password.Reveal()) {
		t.Errorf("the error is %q, want one that says what to do, without the password", err)
	}
	r.wantStrikes(1)
	r.request(k) // the session from before
	for range 3 {
		r.wantState(k, k.ResumeRotation(t.Context()), keeper.RotationLost)
		r.wantState(k, k.Rotate(t.Context()), keeper.RotationLost)
	}
	another := r.keeper(keeper.Config{})
	r.request(another)
	r.wantStrikes(1)
	r.wantResets(1)
	// When it ends, nobody logs in.
	r.service.ExpireSessions(latchtest.User)
	var latched *keeper.LatchedError
	if _, err := another.Tokens(t.Context()); err == nil {
		another.Invalidate(tokensOf(t, another).Session)
	}
	if _, err := another.Tokens(t.Context()); !errors.As(err, &latched) || !strings.Contains(hintOf(err), "support") {
		t.Errorf("error %v, want the latch", err)
	}
	r.wantStrikes(1)
	// Support sets a password, and an operator stores it.
	r.service.SetPassword(latchtest.User, "from-support")
	c, err := r.store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Password = "from-support"
	if _, err := r.store.Save(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := k.ResumeRotation(t.Context()); err != nil {
		t.Errorf("the operator's password does not end it: %v", err)
	}
	r.request(k)
	if err := k.Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	r.mustLogIn()
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

// While the upstream does not even hand out access tokens, the one login is not
// spent on asking which password holds.
func TestWhichPasswordHoldsIsNotAskedWhileTheUpstreamIsAway(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{})
	r.request(k)
	logIns := r.service.Count(latchtest.EventLogIn)
	r.service.Inject(latchtest.Reset, latchtest.DropBefore(), 1)
	r.service.Inject(latchtest.GetToken, latchtest.Fail(http.StatusServiceUnavailable), 3)
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationInDoubt)
	if n := r.service.Count(latchtest.EventLogIn); n != logIns {
		t.Errorf("%d logins were made", n-logIns)
	}
	r.service.ClearFaults()
	err := k.ResumeRotation(t.Context())
	r.wantState(k, err, keeper.RotationNone)
	r.wantStrikes(0)
	r.mustLogIn()
}

// The login that was to tell has no clear outcome either: no other is made until
// an operator says so.
func TestAnUnclearProbeIsNotRepeated(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{})
	r.request(k)
	r.service.Inject(latchtest.Reset, latchtest.DropAfter(), 1)
	r.service.Inject(latchtest.LogIn, latchtest.DropAfter(), 1)
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationInDoubt)
	for range 3 {
		r.wantState(k, k.ResumeRotation(t.Context()), keeper.RotationInDoubt)
	}
	r.wantStrikes(1)
	r.request(k)
	if err := k.ResetGuard(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantState(k, k.ResumeRotation(t.Context()), keeper.RotationLost)
	r.wantStrikes(2)
}

func TestTwoWhoRotateAtOnceResetOnce(t *testing.T) {
	r := newRig(t)
	var both sync.WaitGroup
	for range 2 {
		k := r.keeper(keeper.Config{})
		r.request(k)
		both.Go(func() {
			if err := k.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
			r.request(k)
		})
	}
	both.Wait()
	r.wantResets(1)
	r.wantStrikes(0)
	r.mustLogIn()
}

func TestTheEndOfTheCallersContextEndsNothingOnceTheIntentIsRecorded(t *testing.T) {
	for _, at := range []keeper.Step{keeper.StepReset, keeper.StepResponse, keeper.StepStore, keeper.StepProveNew} {
		t.Run(string(at), func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			k := r.keeper(keeper.Config{OnEvent: func(e keeper.Event) {
				if e.Step == at {
					cancel()
				}
			}})
			if err := k.Rotate(ctx); err != nil || ctx.Err() == nil {
				t.Errorf("error %v, context %v", err, ctx.Err())
			}
			r.wantResets(1)
			r.mustLogIn()
		})
	}
}
