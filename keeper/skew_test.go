package keeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// skewed is a State as a host sees it whose clock is wrong by so much: the
// times of a password are recorded by that clock.
type skewed struct {
	keeper.State
	by time.Duration
}

func (s skewed) Acquire(ctx context.Context) (keeper.Lease, error) {
	lease, err := s.State.Acquire(ctx)
	return skewedLease{lease, s.by}, err
}

type skewedLease struct {
	keeper.Lease
	by time.Duration
}

func (l skewedLease) Save(ctx context.Context, data latchkey.Secret) error {
	var record map[string]json.RawMessage
	var age map[string]any
	if json.Unmarshal([]byte(data), &record) == nil && json.Unmarshal(record["password"], &age) == nil {
		for name, value := range age {
			text, _ := value.(string)
			if at, err := time.Parse(time.RFC3339, text); err == nil && time.Since(at) < l.by.Abs()/2 &&
				time.Until(at) < l.by.Abs()/2 {
				age[name] = at.Add(l.by)
			}
		}
		record["password"], _ = json.Marshal(age)
		changed, _ := json.Marshal(record)
		data = latchkey.Secret(changed)
	}
	return l.Lease.Save(ctx, data)
}

func TestTwoHostsWhoseClocksDifferRotateAtOnceAndResetOnce(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		r := newRig(t)
		underWay, asked := make(chan struct{}), make(chan struct{})
		otherHasAsked := sync.OnceFunc(func() { close(asked) })
		one := r.keeper(keeper.Config{State: skewed{r.state(), by}, OnEvent: func(e keeper.Event) {
			if e.Step == keeper.StepReset {
				close(underWay)
				<-asked
			}
		}})
		other := r.keeper(keeper.Config{State: r.state(), OnEvent: func(e keeper.Event) {
			if e.Step == keeper.StepSession {
				otherHasAsked()
			}
		}})
		r.request(one)
		r.request(other)
		answer := make(chan error)
		go func() { answer <- one.Rotate(t.Context()) }()
		<-underWay
		if err := errors.Join(other.Rotate(t.Context()), <-answer); err != nil {
			t.Error(err)
		}
		r.wantResets(1)
		r.mustLogIn()
		if err := other.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		r.wantResets(2) // since it was asked for again
		r.mustLogIn()
	}
}
