// Package credentialtest proves that a credential.Store keeps its promises. Every
// store of latchkey passes it; run it for one of your own:
//
//	credentialtest.Run(t, func(t *testing.T) credentialtest.Place { … })
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
type Place struct {
	// Open answers a store over the place: another one for each call, as other
	// processes would have.
	Open func() credential.Store
	// Put puts a user name and a password there by other hands than a Store's,
	// replacing what is there.
	Put func(user string, password latchkey.Secret)
	// ReadOnly says that Save has to answer ErrReadOnly.
	ReadOnly bool
}

const (
	user   = "zbeeblebrox"
	first  = latchkey.Secret("first-Wh0a1545a84d")
	second = latchkey.Secret("second-Gr8tBigS3cret")
	third  = latchkey.Secret("third-IMgr8AndSoAmI")
)

// suite is a Place under test.
type suite struct {
	Place
	*testing.T
}

// Run runs every case, each on a place of its own.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	readOnly := newPlace(t).ReadOnly
	cases := map[string]func(s suite){
		"an empty place has no credential":      suite.empty,
		"what was put there is loaded":          suite.loads,
		"passwords survive as they are":         suite.awkward,
		"a caller who has left changes nothing": suite.leaves,
		"no error or print shows a password":    suite.silent,
	}
	if readOnly {
		cases["a save is refused as read-only"] = suite.refuses
	} else {
		cases["a save makes the first credential"] = suite.creates
		cases["a save replaces its version"] = suite.replaces
		cases["a stale version is a conflict"] = suite.conflicts
		cases["a change by hand is a new version"] = suite.changedByHand
		cases["of several savers exactly one wins"] = suite.concurrent
		cases["what is no credential is not saved"] = suite.unusable
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) { run(suite{newPlace(t), t}) })
	}
}

// load loads over a store of its own and wants the password.
func (s suite) load(password latchkey.Secret) credential.Credential {
	s.Helper()
	c, err := s.Open().Load(s.Context())
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	if c.User != user || !c.Password.Equal(password) {
		s.Fatalf("Load answered another credential than was kept (user %q)", c.User)
	}
	return c
}

func (s suite) save(store credential.Store, password latchkey.Secret, version string) string {
	s.Helper()
	after, err := store.Save(s.Context(), credential.Credential{User: user, Password: password, Version: version})
	if err != nil {
		s.Fatalf("Save: %v", err)
	}
	if after == "" || after == version {
		s.Fatalf("Save answered version %q after %q", after, version)
	}
	return after
}

// wantErr wants an error of that kind, which shows no password.
func (s suite) wantErr(err, kind error) {
	s.Helper()
	if !errors.Is(err, kind) {
		s.Errorf("error %v, want %v", err, kind)
	}
	s.mustNotShow(fmt.Sprintf("%v %+v %#v", err, err, err))
}

func (s suite) mustNotShow(text string) {
	s.Helper()
	for _, password := range []latchkey.Secret{first, second, third} {
		if strings.Contains(text, password.Reveal()) {
			s.Error("a password is shown")
		}
	}
}

func (s suite) empty() {
	_, err := s.Open().Load(s.Context())
	s.wantErr(err, credential.ErrNotFound)
}

func (s suite) loads() {
	s.Put(user, first)
	c := s.load(first)
	if s.ReadOnly != (c.Version == "") {
		s.Errorf("version %q in a store with ReadOnly %v", c.Version, s.ReadOnly)
	}
	s.Put(user, second)
	s.load(second)
}

func (s suite) awkward() {
	for _, password := range []latchkey.Secret{` spaces `, `"quoted" '<\>&`, "gr\u00fc\u00df \U0001f511 \u2028", "tab\tand $HOME %s"} {
		s.Put(user, password)
		c := s.load(password)
		if !s.ReadOnly {
			s.save(s.Open(), password+"!", c.Version)
			s.load(password + "!")
		}
	}
}

func (s suite) leaves() {
	s.Put(user, first)
	c := s.load(first)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.Open().Load(ctx)
	s.wantErr(err, context.Canceled)
	c.Password = second
	if _, err = s.Open().Save(ctx, c); err == nil {
		s.Error("a save was made for a caller who had left")
	}
	s.load(first)
}

func (s suite) silent() {
	s.Put(user, first)
	store := s.Open()
	c := s.load(first)
	s.mustNotShow(fmt.Sprintf("%v %+v %#v %s %q %v", store, store, store, store, store, c))
	if strings.Contains(c.Version, first.Reveal()) {
		s.Error("the version shows the password")
	}
}

func (s suite) refuses() {
	s.Put(user, first)
	_, err := s.Open().Save(s.Context(), credential.Credential{User: user, Password: second})
	s.wantErr(err, credential.ErrReadOnly)
	s.load(first)
}

func (s suite) creates() {
	version := s.save(s.Open(), first, "")
	if c := s.load(first); c.Version != version {
		s.Errorf("Load answered version %q, Save had answered %q", c.Version, version)
	}
}

func (s suite) replaces() {
	store := s.Open()
	version := s.save(store, first, "")
	version = s.save(store, second, version)
	seen := map[string]bool{}
	for _, password := range []latchkey.Secret{second, second, first, second} { // the same again, too
		if seen[version] {
			s.Fatalf("version %q came twice", version)
		}
		seen[version] = true
		version = s.save(store, password, version)
		if c := s.load(password); c.Version != version {
			s.Errorf("Load answered version %q, Save had answered %q", c.Version, version)
		}
	}
}

func (s suite) conflicts() {
	store := s.Open()
	conflict := func(version string) {
		s.Helper()
		_, err := store.Save(s.Context(), credential.Credential{User: user, Password: third, Version: version})
		s.wantErr(err, credential.ErrConflict)
	}
	old := s.save(s.Open(), first, "")
	conflict("")
	s.load(first)
	s.save(s.Open(), second, old)
	conflict(old)
	conflict("")
	conflict("no version of anybody's")
	s.load(second)
}

func (s suite) changedByHand() {
	for _, password := range []latchkey.Secret{first, second, third} {
		before, err := s.Open().Load(s.Context())
		if err != nil && !errors.Is(err, credential.ErrNotFound) {
			s.Fatal(err)
		}
		s.Put(user, password)
		_, err = s.Open().Save(s.Context(), credential.Credential{User: user, Password: "overwritten", Version: before.Version})
		s.wantErr(err, credential.ErrConflict)
		s.load(password)
	}
	s.save(s.Open(), first, s.load(third).Version)
}

func (s suite) concurrent() {
	const savers = 8
	version := s.save(s.Open(), first, "")
	for round := range 4 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := map[string]latchkey.Secret{}
		for i := range savers {
			store, password := s.Open(), latchkey.Secret(fmt.Sprintf("password %d of round %d", i, round))
			wg.Go(func() {
				after, err := store.Save(s.Context(), credential.Credential{User: user, Password: password, Version: version})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners[after] = password
				} else {
					s.wantErr(err, credential.ErrConflict)
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			s.Fatalf("%d of %d savers won, want one", len(winners), savers)
		}
		for after, password := range winners {
			if c := s.load(password); c.Version != after {
				s.Fatalf("Load answered version %q, the winner's was %q", c.Version, after)
			}
			version = after
		}
	}
}

func (s suite) unusable() {
	version := s.save(s.Open(), first, "")
	for name, c := range map[string]credential.Credential{
		"no user":      {Password: second},
		"no password":  {User: user},
		"not UTF-8":    {User: user, Password: second + "\xff"},
		"NUL":          {User: user, Password: second + "\x00"},
		"far too long": {User: user, Password: latchkey.Secret(strings.Repeat(second.Reveal(), 1000))},
	} {
		c.Version = version
		_, err := s.Open().Save(s.Context(), c)
		if err == nil {
			s.Errorf("%s: was saved", name)
		}
		s.mustNotShow(fmt.Sprint(err))
		s.load(first)
	}
}
