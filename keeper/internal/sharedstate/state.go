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
	// TTL is how long after the death of its holder a lease is free. A Keeper waits for two
	// minutes, so that it outlasts several that die. The lease of a slow holder is renewed
	// for as long as necessary.
	TTL = 15 * time.Second
	// perTTL is how often in that time the lease is renewed. One part of it is also the
	// timeout of a call.
	perTTL = 3
	// maxName bounds the name, in bytes.
	maxName = 200
)

// Config configures a State.
type Config struct {
	Name string
	Key  []byte
	// Where names the place, and Remove the command that removes the state, for errors.
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

// Check returns the faults of a name and a key, one per line.
func Check(name string, key []byte) error {
	var faults []error
	switch {
	case name == "":
		faults = append(faults, errors.New("Config.Name is missing: "+
			"use the same name wherever the session of an upstream user is shared, and another one for each other user"))
	case len(name) > maxName, !utf8.ValidString(name), strings.ContainsRune(name, 0):
		faults = append(faults, fmt.Errorf("Config.Name is not a text of at most %d bytes", maxName))
	}
	if len(key) < minKeyBytes {
		faults = append(faults, fmt.Errorf("Config.Key has %d bytes, and needs at least %d random ones, "+
			"the same wherever the state is shared", len(key), minKeyBytes))
	}
	return errors.Join(faults...)
}

// New returns the State in store. It reads the state, so that an unusable one is an error at
// once. Name and Key must have passed Check.
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

// Acquire implements keeper.State. If ctx ends at the moment at which the lease is taken, no
// holder has the lease until its time is over.
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
			return nil, s.failed(fmt.Errorf("another keeper holds the lease: %w", context.Cause(ctx)))
		default:
			return nil, err
		}
	}
}

// lease returns the lease of a claim. There is none for a state that cannot be read, so that
// it is never overwritten.
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

// Format implements fmt.Formatter. For every verb it writes the name, and not the key.
func (s *State) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "keeper.State(%q in %s)", s.config.Name, s.config.Where)
}

func (s *State) failed(err error) error {
	return fmt.Errorf("keeper: state %q in %s: %w", s.config.Name, s.config.Where, err)
}

// unusable returns the error for a state that exists and cannot be used.
func (s *State) unusable(why error) error {
	return &unusableError{s.failed(why), "Nothing was changed, and no login is made, because the count of failed logins " +
		"cannot be read. Use the key and the name that the state was written with, or, if you know that the account is not " +
		"near its lock, remove the state (" + s.config.Remove + ") to start with an empty one."}
}

// unusableError is an error with advice.
type unusableError struct {
	error

	hint string
}

func (e *unusableError) Unwrap() error { return e.error }

// Hint returns what to do.
func (e *unusableError) Hint() string { return e.hint }
