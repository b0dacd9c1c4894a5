package replicatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// Place is an empty place for one state.
type Place struct {
	// Open returns a State as a replica would have it, with connections of its own,
	// which end with the test.
	Open func(t *testing.T) keeper.State
	// Name is the argument of Main's open. If it is empty, no program is killed, because
	// that takes as long as a lease.
	Name string
}

const replicas = 8

// Keepers runs every case, each on a place of its own.
func Keepers(t *testing.T, newPlace func(t *testing.T) Place) {
	cases := map[string]func(r *rig){
		"eight log in once":                                  (*rig).oneSession,
		"a wrong password costs all of them one strike":      (*rig).oneStrike,
		"eight that rotate at once reset once":               (*rig).oneReset,
		"one killed at its login blocks no other":            func(r *rig) { r.killed(latchtest.Password) },
		"one killed at a login that fails costs two strikes": func(r *rig) { r.killed("wrong") },
		"a store that lags behind costs no strike":           (*rig).lags,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{T: t, place: newPlace(t), service: latchtest.NewServer(t)}
			r.front()
			run(r)
		})
	}
}

// rig is a real service, and replicas that share a state.
type rig struct {
	*testing.T
	place   Place
	service *latchtest.Server
	url     string // of the service, by way of front
	logIns  atomic.Int64
	caught  atomic.Pointer[chan struct{}]
	asked   sync.WaitGroup // for a rotation, which is not carried out before all have
}

// watch receives a keeper's events.
func (r *rig) watch() func(keeper.Event) {
	asks := sync.OnceFunc(r.asked.Done)
	return func(e keeper.Event) {
		switch e.Step {
		case keeper.StepSession:
			asks()
		case keeper.StepReset:
			r.asked.Wait()
		}
	}
}

// front is a proxy of the service. It counts the logins. If caught is set, it closes that
// at the next login, which is executed and gets no response.
func (r *rig) front() {
	r.Helper()
	target, err := url.Parse(r.service.URL)
	if err != nil {
		r.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == wire.PathLogIn {
			r.logIns.Add(1)
			if caught := r.caught.Swap(nil); caught != nil {
				proxy.ServeHTTP(httptest.NewRecorder(), req)
				close(*caught)
				<-req.Context().Done() // its client is killed
				return
			}
		}
		proxy.ServeHTTP(w, req)
	}))
	r.Cleanup(server.Close)
	r.url = server.URL
}

// keeper is another replica's.
func (r *rig) keeper(source credential.Source) *keeper.Keeper {
	r.Helper()
	k, err := newKeeper(r.url, r.place.Open(r.T), source, r.watch())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			r.Error(err)
		}
	})
	return k
}

func (r *rig) keepers(source credential.Source) (all []*keeper.Keeper) {
	r.Helper()
	for range replicas {
		all = append(all, r.keeper(source))
	}
	return all
}

// each does something with all of them at once.
func (r *rig) each(all []*keeper.Keeper, do func(*keeper.Keeper) error) {
	r.Helper()
	var callers sync.WaitGroup
	for _, k := range all {
		callers.Go(func() {
			if err := do(k); err != nil {
				r.Error(err)
			}
		})
	}
	callers.Wait()
}

func (r *rig) request(k *keeper.Keeper) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.url+"/api/m2m/v1/devices", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := k.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return err
}

// want wants so many logins to have been sent, and so many strikes at the service.
func (r *rig) want(logIns int64, strikes int) {
	r.Helper()
	failures, locked := r.service.Strikes(latchtest.User)
	if sent := r.logIns.Load(); sent != logIns || failures != strikes || locked {
		r.Errorf("%d logins and %d strikes, locked %v, want %d and %d", sent, failures, locked, logIns, strikes)
	}
}

func (r *rig) oneSession() {
	all := r.keepers(keeper.Static(latchtest.User, latchtest.Password))
	for range 3 {
		r.each(all, r.request)
	}
	r.want(1, 0)
	if err := all[0].LogOut(r.Context()); err != nil {
		r.Error(err)
	}
	r.each(all, r.request)
	r.want(2, 0)
	r.each(r.keepers(keeper.Static(latchtest.User, latchtest.Password)), r.request)
	r.want(2, 0)
}

func (r *rig) oneStrike() {
	all := r.keepers(keeper.Static(latchtest.User, "wrong"))
	for range 3 {
		r.each(all, r.mustBeLatched)
	}
	r.each(r.keepers(keeper.Static(latchtest.User, "wrong")), r.mustBeLatched)
	r.want(1, 1)
}

func (r *rig) mustBeLatched(k *keeper.Keeper) error {
	err := r.request(k)
	var latched *keeper.LatchedError
	if !errors.As(err, &latched) {
		return fmt.Errorf("a request with a wrong password ended with %w", err)
	}
	return nil
}

// store is one for all replicas.
func (r *rig) store() *credential.File {
	r.Helper()
	store, err := credential.NewFile(credential.FileConfig{Path: filepath.Join(r.TempDir(), "credential")})
	if err == nil {
		_, err = store.Save(r.Context(), credential.Credential{User: latchtest.User, Password: latchtest.Password})
	}
	if err != nil {
		r.Fatal(err)
	}
	return store
}

func (r *rig) oneReset() {
	store := r.store()
	all := r.keepers(store)
	r.each(all, r.request)
	r.asked.Add(replicas)
	r.each(all, func(k *keeper.Keeper) error { return k.Rotate(r.Context()) })
	r.each(all, r.request)
	stored, err := store.Load(r.Context())
	if err == nil {
		_, err = r.service.Client.LogIn(r.Context(), latchtest.User, stored.Password)
	}
	if resets := r.service.Count(latchtest.EventReset); resets != 1 || err != nil ||
		stored.Password.Equal(latchtest.Password) {
		r.Errorf("%d resets, want one; the stored password logs in: %v", resets, err)
	}
	r.want(2, 0)
}

// killed kills a program after its login was executed, and before the response. All others
// wait for its lease.
func (r *rig) killed(password latchkey.Secret) {
	if r.place.Name == "" {
		r.Skip("the same as without a pooler")
	}
	caught := make(chan struct{})
	r.caught.Store(&caught)
	victim := startProgram(r.T, r.url, r.place.Name, password)
	select {
	case <-caught:
	case <-time.After(time.Minute):
		r.Fatal("no login has arrived")
	}
	if err := victim.Process.Kill(); err != nil {
		r.Fatal(err)
	}
	_ = victim.Wait()
	begun := time.Now()
	all := r.keepers(keeper.Static(latchtest.User, password))
	if password.Equal(latchtest.Password) {
		r.each(all, r.request)
		r.want(2, 0)
	} else {
		r.each(all, r.mustBeLatched)
		r.want(2, 2)
	}
	r.Logf("the others went on after %v", time.Since(begun))
}

// lags has a replica read a password that a rotation has replaced.
func (r *rig) lags() {
	store := r.store()
	ahead := r.keeper(store)
	behind := r.keeper(keeper.Static(latchtest.User, latchtest.Password))
	r.each([]*keeper.Keeper{ahead, behind}, r.request)
	r.asked.Add(1)
	if err := ahead.Rotate(r.Context()); err != nil {
		r.Fatal(err)
	}
	r.each([]*keeper.Keeper{behind, ahead}, r.request) // in the session of the one ahead
	r.want(2, 0)
	if err := behind.LogOut(r.Context()); err != nil {
		r.Error(err)
	}
	if err := r.mustBeLatched(behind); err != nil { // and does not try the old one
		r.Error(err)
	}
	r.want(2, 0)
	if err := r.request(ahead); err != nil {
		r.Error(err)
	}
	r.want(3, 0)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for r.request(behind) != nil { // until it looks again
		select {
		case <-tick.C:
		case <-r.Context().Done():
			r.Fatal("the one behind does not find the session")
		}
	}
	r.want(3, 0)
}
