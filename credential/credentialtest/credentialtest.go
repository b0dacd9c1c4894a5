// Package credentialtest tests that an implementation of credential.Source or
// credential.Store does what the interface promises. Those of latchkey pass it. Run it for
// your own:
//
//	credentialtest.RunStore(t, func(t *testing.T) credentialtest.Place[credential.Store] { … })
package credentialtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// Place is an empty place for one credential.
type Place[S credential.Source] struct {
	// Open returns a Source or Store of the place: a new one for each call, as in
	// another process.
	Open func() S
	// Put writes a user name and a password to the place without the Source or Store,
	// and replaces what is there.
	Put func(user string, password latchkey.Secret)
}

const (
	user   = "zbeeblebrox"
	first  = latchkey.Secret("first-Wh0a1545a84d")
	second = latchkey.Secret("second-Gr8tBigS3cret")
	third  = latchkey.Secret("third-IMgr8AndSoAmI")
)

// sourceSuite is a Place under test whose credential is loaded.
type sourceSuite struct {
	*testing.T
	open func() credential.Source
	put  func(user string, password latchkey.Secret)
}

// storeSuite is a Place under test whose credential is loaded and saved.
type storeSuite struct {
	sourceSuite
	openStore func() credential.Store
}

// RunSource tests a Source. It calls newPlace for each case.
func RunSource(t *testing.T, newPlace func(t *testing.T) Place[credential.Source]) {
	runSource(t, func(t *testing.T) sourceSuite {
		place := newPlace(t)
		return sourceSuite{t, place.Open, place.Put}
	})
	t.Run("there is no version", func(t *testing.T) {
		place := newPlace(t)
		place.Put(user, first)
		if c := (sourceSuite{t, place.Open, place.Put}).load(first); c.Version != "" {
			t.Errorf("version %q of a credential that cannot be saved", c.Version)
		}
	})
}

// RunStore tests a Store. It calls newPlace for each case.
func RunStore(t *testing.T, newPlace func(t *testing.T) Place[credential.Store]) {
	suiteOf := func(t *testing.T) storeSuite {
		place := newPlace(t)
		open := func() credential.Source { return place.Open() }
		return storeSuite{sourceSuite{t, open, place.Put}, place.Open}
	}
	runSource(t, func(t *testing.T) sourceSuite { return suiteOf(t).sourceSuite })
	for name, run := range map[string]func(s storeSuite){
		"a loaded credential has a version":        storeSuite.hasVersion,
		"passwords are saved unchanged":            storeSuite.savesUnchanged,
		"a canceled save changes nothing":          storeSuite.saveCanceled,
		"a save creates the first credential":      storeSuite.creates,
		"a save replaces its version":              storeSuite.replaces,
		"a stale version is a conflict":            storeSuite.conflicts,
		"a change by hand is a new version":        storeSuite.changedByHand,
		"exactly one of concurrent saves succeeds": storeSuite.concurrent,
		"an invalid credential is not saved":       storeSuite.invalid,
	} {
		t.Run(name, func(t *testing.T) { run(suiteOf(t)) })
	}
}

func runSource(t *testing.T, newSuite func(t *testing.T) sourceSuite) {
	for name, run := range map[string]func(s sourceSuite){
		"an empty place has no credential":      sourceSuite.empty,
		"the credential is loaded":              sourceSuite.loads,
		"passwords are loaded unchanged":        sourceSuite.loadsUnchanged,
		"a canceled load fails":                 sourceSuite.loadCanceled,
		"no error or output shows the password": sourceSuite.hidesPassword,
	} {
		t.Run(name, func(t *testing.T) { run(newSuite(t)) })
	}
}

// load loads the credential from a new Source and checks the password.
func (s sourceSuite) load(password latchkey.Secret) credential.Credential {
	s.Helper()
	c, err := s.open().Load(s.Context())
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	if c.User != user || !c.Password.Equal(password) {
		s.Fatalf("Load returned another credential than the one that was stored (user %q)", c.User)
	}
	return c
}

func (s storeSuite) save(store credential.Store, password latchkey.Secret, version string) string {
	s.Helper()
	after, err := store.Save(s.Context(), credential.Credential{User: user, Password: password, Version: version})
	if err != nil {
		s.Fatalf("Save: %v", err)
	}
	if after == "" || after == version {
		s.Fatalf("Save returned version %q after %q", after, version)
	}
	return after
}

// wantErr checks that err is of that kind and shows no password.
func (s sourceSuite) wantErr(err, kind error) {
	s.Helper()
	if !errors.Is(err, kind) {
		s.Errorf("error %v, want %v", err, kind)
	}
	s.mustNotShow(fmt.Sprintf("%v %+v %#v", err, err, err))
}

func (s sourceSuite) mustNotShow(text string) {
	s.Helper()
	for _, password := range []latchkey.Secret{first, second, third} {
		if strings.Contains(text, password.Reveal()) {
			s.Error("a password is shown")
		}
	}
}

func (s sourceSuite) empty() {
	_, err := s.open().Load(s.Context())
	s.wantErr(err, credential.ErrNotFound)
}

func (s sourceSuite) loads() {
	s.put(user, first)
	s.load(first)
	s.put(user, second)
	s.load(second)
}

// awkward are passwords that careless quoting or trimming would change.
var awkward = []latchkey.Secret{
	` spaces `, `"quoted" '<\>&`, "gr\u00fc\u00df \U0001f511 \u2028", "tab\tand $HOME %s",
}

func (s sourceSuite) loadsUnchanged() {
	for _, password := range awkward {
		s.put(user, password)
		s.load(password)
	}
}

func (s sourceSuite) loadCanceled() {
	s.put(user, first)
	_, err := s.open().Load(canceled(s.Context()))
	s.wantErr(err, context.Canceled)
}

func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func (s sourceSuite) hidesPassword() {
	s.put(user, first)
	source := s.open()
	c := s.load(first)
	s.mustNotShow(fmt.Sprintf("%v %+v %#v %s %q %v", source, source, source, source, source, c))
	if strings.Contains(c.Version, first.Reveal()) {
		s.Error("the version shows the password")
	}
}

func (s storeSuite) hasVersion() {
	s.put(user, first)
	if c := s.load(first); c.Version == "" {
		s.Error("the version is empty")
	}
}

func (s storeSuite) savesUnchanged() {
	for _, password := range awkward {
		s.put(user, "before")
		s.save(s.openStore(), password, s.load("before").Version)
		s.load(password)
	}
}

func (s storeSuite) saveCanceled() {
	s.put(user, first)
	c := s.load(first)
	c.Password = second
	if _, err := s.openStore().Save(canceled(s.Context()), c); err == nil {
		s.Error("the save succeeded after its context was canceled")
	}
	s.load(first)
}

func (s storeSuite) creates() {
	version := s.save(s.openStore(), first, "")
	if c := s.load(first); c.Version != version {
		s.Errorf("Load returned version %q, Save returned %q", c.Version, version)
	}
}

func (s storeSuite) replaces() {
	store := s.openStore()
	version := s.save(store, first, "")
	version = s.save(store, second, version)
	seen := map[string]bool{}
	for _, password := range []latchkey.Secret{second, second, first, second} { // also unchanged
		if seen[version] {
			s.Fatalf("version %q was returned twice", version)
		}
		seen[version] = true
		version = s.save(store, password, version)
		if c := s.load(password); c.Version != version {
			s.Errorf("Load returned version %q, Save returned %q", c.Version, version)
		}
	}
}

func (s storeSuite) conflicts() {
	store := s.openStore()
	conflict := func(version string) {
		s.Helper()
		_, err := store.Save(s.Context(), credential.Credential{User: user, Password: third, Version: version})
		s.wantErr(err, credential.ErrConflict)
	}
	old := s.save(s.openStore(), first, "")
	conflict("")
	s.load(first)
	s.save(s.openStore(), second, old)
	conflict(old)
	conflict("")
	conflict("unknown version")
	s.load(second)
}

func (s storeSuite) changedByHand() {
	for _, password := range []latchkey.Secret{first, second, third} {
		before, err := s.openStore().Load(s.Context())
		if err != nil && !errors.Is(err, credential.ErrNotFound) {
			s.Fatal(err)
		}
		s.put(user, password)
		c := credential.Credential{User: user, Password: "overwritten", Version: before.Version}
		_, err = s.openStore().Save(s.Context(), c)
		s.wantErr(err, credential.ErrConflict)
		s.load(password)
	}
	s.save(s.openStore(), first, s.load(third).Version)
}

func (s storeSuite) concurrent() {
	const saves = 8
	version := s.save(s.openStore(), first, "")
	for round := range 4 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		saved := map[string]latchkey.Secret{}
		for i := range saves {
			store, password := s.openStore(), latchkey.Secret(fmt.Sprintf("password %d of round %d", i, round))
			wg.Go(func() {
				after, err := store.Save(s.Context(), credential.Credential{User: user, Password: password, Version: version})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					saved[after] = password
				} else {
					s.wantErr(err, credential.ErrConflict)
				}
			})
		}
		wg.Wait()
		if len(saved) != 1 {
			s.Fatalf("%d of %d saves succeeded, want one", len(saved), saves)
		}
		for after, password := range saved {
			if c := s.load(password); c.Version != after {
				s.Fatalf("Load returned version %q, the successful Save returned %q", c.Version, after)
			}
			version = after
		}
	}
}

func (s storeSuite) invalid() {
	version := s.save(s.openStore(), first, "")
	for name, c := range map[string]credential.Credential{
		"no user":      {Password: second},
		"no password":  {User: user},
		"not UTF-8":    {User: user, Password: second + "\xff"},
		"NUL":          {User: user, Password: second + "\x00"},
		"far too long": {User: user, Password: latchkey.Secret(strings.Repeat(second.Reveal(), 1000))},
	} {
		c.Version = version
		_, err := s.openStore().Save(s.Context(), c)
		if err == nil {
			s.Errorf("%s: the credential was saved", name)
		}
		s.mustNotShow(fmt.Sprint(err))
		s.load(first)
	}
}
