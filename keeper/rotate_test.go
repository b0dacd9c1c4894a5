package keeper_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

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

func TestNoResetIsSentUnlessTheStoreKeepsWhatItIsGiven(t *testing.T) {
	old := func() (credential.Credential, error) {
		return credential.Credential{User: latchtest.User, Password: latchtest.Password, Version: "1"}, nil
	}
	for name, store := range map[string]*faultyStore{
		"the disk is full": {save: func(credential.Credential) (string, error) { return "", errDiskFull }},
		"another program changed it": {save: func(credential.Credential) (string, error) {
			return "", credential.ErrConflict
		}},
		"it says it saved, and did not": {save: func(c credential.Credential) (string, error) { return c.Version, nil }},
		"it returns another version": {save: func(credential.Credential) (string, error) { return "2", nil },
			load: old},
		"it returns another password": {save: func(credential.Credential) (string, error) { return "1", nil },
			load: another()},
		"it cannot be read after it saved": {load: breaksAfter(2)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			store.Store = r.store
			r.request(r.keeper(keeper.Config{}))
			k := r.keeper(keeper.Config{Credential: store})
			err := k.Rotate(t.Context())
			var rotation *keeper.RotationError
			if !errors.As(err, &rotation) || rotation.State != keeper.RotationNone ||
				!strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("error %v, want one that says that nothing was changed", err)
			}
			r.wantResets(0)
			r.wantStrikes(0)
			r.mustLogIn()
			r.request(k)
		})
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

func TestNoResetIsSentUnlessTheStateTakesTheIntent(t *testing.T) {
	r := newRig(t)
	r.request(r.keeper(keeper.Config{}))
	k := r.keeper(keeper.Config{State: &faultyState{State: r.state(), failFrom: 1}})
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationNone)
	r.wantResets(0)
	r.mustLogIn()
}

// One save fails, and the next one would succeed: what was not sent is not on record.
func TestWhatCouldNotBeRecordedIsNotOnRecordLater(t *testing.T) {
	r := newRig(t)
	k := r.keeper(keeper.Config{State: &faultyState{State: r.state(), failFrom: 1, failTo: 1}})
	if _, err := k.Tokens(t.Context()); !errors.Is(err, errDiskFull) {
		t.Errorf("error %v, want that of the disk", err)
	}
	if status, err := r.keeper(keeper.Config{}).Status(t.Context()); err != nil || status.Strikes != 0 {
		t.Errorf("status %+v, error %v", status, err)
	}
	other := r.keeper(keeper.Config{})
	r.request(other)
	if n := r.service.Count(latchtest.EventLogIn); n != 1 {
		t.Errorf("%d logins, want one", n)
	}
	k = r.keeper(keeper.Config{State: &faultyState{State: r.state(), failFrom: 1, failTo: 1}})
	r.wantState(k, k.Rotate(t.Context()), keeper.RotationNone)
	r.wantResets(0)
	r.wantStrikes(0)
	if n := r.service.Count(latchtest.EventLogIn); n != 1 {
		t.Errorf("%d logins, want no probe", n)
	}
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
	// When it ends, no login is made.
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
