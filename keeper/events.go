package keeper

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events, and what Err is.
const (
	EventLogIn          EventKind = "logged_in"
	EventLogInFailed    EventKind = "login_failed"    // why; the login may not have been sent
	EventLatched        EventKind = "latched"         // a *LatchedError: no further login is made
	EventGuardReset     EventKind = "guard_reset"     // an operator has reset the guard
	EventSessionFound   EventKind = "session_found"   // a live session was found in the State
	EventSessionRefused EventKind = "session_refused" // the upstream refused the session
	EventLogOut         EventKind = "logged_out"
	EventBearer         EventKind = "bearer_renewed"
	EventBearerFailed   EventKind = "bearer_failed"   // why there is no access token
	EventBearerRefused  EventKind = "bearer_refused"  // the gateway refused the access token
	EventReplay         EventKind = "replayed"        // a refused request is sent again
	EventRequestRefused EventKind = "request_refused" // which resource refuses a token that is accepted elsewhere
	EventStateFailed    EventKind = "state_failed"    // why the State did not save; the Keeper continues

	EventRotating       EventKind = "rotating"        // a step of a rotation begins: Step
	EventRotated        EventKind = "rotated"         // the new password is stored and proven
	EventRotationFailed EventKind = "rotation_failed" // a *RotationError: which password is in effect
	EventPasswordOld    EventKind = "password_old"    // the password should be changed soon
)

// Event is something that happened. It contains no secret.
type Event struct {
	Kind EventKind
	Time time.Time
	Err  error // nil if nothing failed
	Step Step  // of EventRotating
}

// levels gives each kind its log level.
var levels = map[EventKind]slog.Level{
	EventLogIn:          slog.LevelInfo,
	EventLogInFailed:    slog.LevelWarn,
	EventLatched:        slog.LevelError,
	EventGuardReset:     slog.LevelWarn,
	EventSessionFound:   slog.LevelInfo,
	EventSessionRefused: slog.LevelInfo,
	EventLogOut:         slog.LevelInfo,
	EventBearer:         slog.LevelDebug,
	EventBearerFailed:   slog.LevelWarn,
	EventBearerRefused:  slog.LevelInfo,
	EventReplay:         slog.LevelDebug,
	EventRequestRefused: slog.LevelWarn,
	EventStateFailed:    slog.LevelError,
	EventRotating:       slog.LevelInfo,
	EventRotated:        slog.LevelInfo,
	EventRotationFailed: slog.LevelError,
	EventPasswordOld:    slog.LevelWarn,
}

// counters counts events by kind. The map is constant; its values are not.
type counters map[EventKind]*atomic.Uint64

func newCounters() counters {
	c := counters{}
	for kind := range levels {
		c[kind] = new(atomic.Uint64)
	}
	return c
}

// Stats returns how many events of each kind there were since New, including the kinds
// with none, for a Prometheus counter with the kind as its label.
func (k *Keeper) Stats() map[EventKind]uint64 {
	stats := make(map[EventKind]uint64, len(k.counters))
	for kind, counter := range k.counters {
		stats[kind] = counter.Load()
	}
	return stats
}

// note counts and logs an event, and calls OnEvent. The caller must hold no lock.
func (k *Keeper) note(e Event) {
	e.Time = k.now()
	k.counters[e.Kind].Add(1)
	attributes := []slog.Attr{slog.String("event", string(e.Kind)), slog.String("upstream", k.baseURL)}
	if e.Step != "" {
		attributes = append(attributes, slog.String("step", string(e.Step)))
	}
	if e.Err != nil {
		attributes = append(attributes, slog.String("error", e.Err.Error()))
		if hint := hintOf(e.Err); hint != "" {
			attributes = append(attributes, slog.String("hint", hint))
		}
	}
	k.config.Log.LogAttrs(context.Background(), levels[e.Kind], "keeper", attributes...)
	if k.config.OnEvent != nil {
		k.config.OnEvent(e)
	}
}

// logInFailed notes why there is no session, and returns it.
func (k *Keeper) logInFailed(err error) error {
	k.note(Event{Kind: EventLogInFailed, Err: err})
	return err
}

// latched notes a latch once, however often it is met.
func (k *Keeper) latched(err error) error {
	var latched *LatchedError
	if errors.As(err, &latched) && !latched.Since.Equal(k.latchNoted) {
		k.latchNoted = latched.Since
		k.note(Event{Kind: EventLatched, Err: err})
	}
	return err
}
