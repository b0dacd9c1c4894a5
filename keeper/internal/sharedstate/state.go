package sharedstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/keeper"
)

const (
	// TTL is how long after its holder died a lease is free. A keeper waits for two
	// minutes, so that it outlasts several that die; and a holder that is only slow
	// has its lease renewed for as long as it takes.
	TTL = 15 * time.Second
	// perTTL is how often in that time the lease is renewed. A part of it is also
	// what the database has for one answer.
	perTTL = 3
	// maxName bounds the name, in bytes.
	maxName = 200
)

// Config says what a State is.
type Config struct {
	Name string
	Key  []byte
	// Where says where it is, and Remove how it is removed, for errors.
	Where, Remove string
	// TTL is the constant of that name, except in tests.
	TTL time.Duration
}

// State is a keeper.State in a Store.
type State struct {
	store  Store
	seal   seal
	config Config // without the key
}

var _ keeper.State = (*State)(nil)

// Check answers the faults of a name and a key, one to a line.
func Check(name string, key []byte) error {
	var faults []error
	switch {
	case name == "":
		faults = append(faults, errors.New("Config.Name is missing: it is the same wherever the session of "+
			"an upstream user is shared, and another one for each other user"))
	case len(name) > maxName, !utf8.ValidString(name), strings.ContainsRune(name, 0):
		faults = append(faults, fmt.Errorf("Config.Name is not a text of %d bytes at most", maxName))
	}
	if len(key) < minKeyBytes {
		faults = append(faults, fmt.Errorf("Config.Key has %d bytes, and needs %d random ones at least, "+
			"the same wherever the state is shared", len(key), minKeyBytes))
	}
	return errors.Join(faults...)
}

// New answers the State in store. What is there is read once, so that a fault
// shows early. Name and Key have passed Check.
func New(ctx context.Context, store Store, config Config) (*State, error) {
	s := &State{store: store, config: config}
	s.config.Key = nil
	var err error
	if s.seal, err = newSeal(config.Key, config.Name); err == nil {
		_, err = s.Load(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Durable returns true.
func (s *State) Durable() bool { return true }

// Load implements keeper.State.
func (s *State) Load(ctx context.Context) (keeper.Saved, error) {
	row, err := ask(ctx, s, patience, s.store.Load)
	if err != nil {
		return keeper.Saved{}, err
	}
	data, err := s.seal.open(row.Sealed)
	if err != nil {
		return keeper.Saved{}, s.unusable(err)
	}
	return keeper.Saved{Data: data, LastUse: row.LastUse}, nil
}

// Touch implements keeper.State.
func (s *State) Touch(ctx context.Context, at time.Time) error {
	_, err := ask(ctx, s, patience, func(ctx context.Context) (bool, error) {
		return true, s.store.Touch(ctx, at)
	})
	return err
}

// Acquire implements keeper.State. A caller who leaves in the very moment in
// which it is given the lease leaves it to nobody, until its time is over.
func (s *State) Acquire(ctx context.Context) (keeper.Lease, error) {
	holder := rand.Text()
	for waited := false; ; waited = true {
		epoch, err := ask(ctx, s, patience, func(ctx context.Context) (int64, error) {
			return s.store.Take(ctx, holder, s.config.TTL)
		})
		switch {
		case err == nil && epoch != 0:
			return s.lease(ctx, Claim{holder, epoch})
		case err == nil && pause(ctx):
		case err == nil, waited && ctx.Err() != nil:
			return nil, s.failed(fmt.Errorf("another keeper has been logging in for all that time: %w", context.Cause(ctx)))
		default:
			return nil, err
		}
	}
}

// lease is the one that claim stands for. Nobody gets one on a state that cannot
// be read, so that it is never overwritten.
func (s *State) lease(ctx context.Context, claim Claim) (keeper.Lease, error) {
	ctx = context.WithoutCancel(ctx)
	renewing, stop := context.WithCancel(ctx)
	l := &lease{state: s, claim: claim, stop: stop, ended: make(chan struct{})}
	go l.renew(renewing)
	if _, err := s.Load(ctx); err != nil {
		_ = l.Release(ctx)
		return nil, err
	}
	return l, nil
}

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (s *State) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "keeper.State(%q in %s)", s.config.Name, s.config.Where)
}

func (s *State) failed(err error) error {
	return fmt.Errorf("keeper: state %q in %s: %w", s.config.Name, s.config.Where, err)
}

// unusable is the error for what is there and cannot be used.
func (s *State) unusable(why error) error {
	return s.failed(fmt.Errorf("%w. Nothing was changed, and no login is made, because the count of failed ones is in it: "+
		"use the key and the name that it was made with, or, once the account is known not to be near its lock, "+
		"remove it (%s) to begin anew", why, s.config.Remove))
}
