package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// How long one measurement of a transport takes, and how often it is repeated;
// they are short enough for many.
var (
	transportRounds = 7
	transportSends  = 200_000
)

const nowhereURL = "https://upstream.example/"

// nowhere responds at once and without a network, so that what remains is what a
// transport adds.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// constant is an upstream whose tokens never end.
type constant struct{}

func (constant) BaseURL() string { return nowhereURL }

func (constant) LogIn(context.Context, string, latchkey.Secret) (latchkey.Secret, error) {
	return "bcce3ea6-fe4f-4952-bacf-eadd80718e83", nil
}

func (constant) LogOut(context.Context, latchkey.Secret) error { return nil }

func (constant) AccessToken(context.Context) (latchkey.AccessToken, error) {
	return latchkey.AccessToken{Token: "bench", ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (constant) InvalidateAccessToken(latchkey.Secret) {}

// send sends many requests from as many goroutines, and returns what one costs.
func send(ctx context.Context, rt http.RoundTripper, goroutines int) (nanoseconds, allocations float64, err error) {
	client := &http.Client{Transport: rt}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	var group sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		group.Go(func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, nowhereURL+"api/m2m/v1/devices", nil)
			if err != nil {
				errs[g] = err
				return
			}
			request.Header.Set("Accept", "application/json")
			for range transportSends / goroutines {
				response, err := client.Do(request)
				if err != nil {
					errs[g] = err
					return
				}
				_ = response.Body.Close()
			}
		})
	}
	group.Wait()
	elapsed := time.Since(begin)
	runtime.ReadMemStats(&after)
	return float64(elapsed) / float64(transportSends), float64(after.Mallocs-before.Mallocs) / float64(transportSends),
		errors.Join(errs...)
}

// benchKeeper compares what the keeper adds to a round trip with what
// oauth2.Transport adds.
func benchKeeper(ctx context.Context, _ *databases) error {
	k, err := keeper.New(keeper.Config{
		Upstream: constant{}, Credential: keeper.Static("bench", "bench"), State: keeper.NewMemoryState(),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer k.Close(ctx)
	if _, err := k.Tokens(ctx); err != nil {
		return err
	}
	token := &oauth2.Token{AccessToken: "bench", TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
	transports := [3]http.RoundTripper{
		nowhere{},
		k.Transport(nowhere{}),
		&oauth2.Transport{Base: nowhere{}, Source: oauth2.ReuseTokenSource(token, oauth2.StaticTokenSource(token))},
	}
	for _, goroutines := range []int{1, 64} {
		var took, made [3][]float64
		for range transportRounds {
			for i, rt := range transports {
				nanoseconds, allocations, err := send(ctx, rt, goroutines)
				if err != nil {
					return err
				}
				took[i], made[i] = append(took[i], nanoseconds), append(made[i], allocations)
			}
		}
		bare, kept, other := median(took[0]), median(took[1]), median(took[2])
		line(fmt.Sprintf("time added, %d: keeper %.0f ns / oauth2 %.0f ns (bare %.0f)", goroutines, kept-bare, other-bare,
			bare),
			fmt.Sprintf("%.2f", (kept-bare)/(other-bare)), "<= 0.50")
		bare, kept, other = median(made[0]), median(made[1]), median(made[2])
		line(fmt.Sprintf("allocations added, %d: keeper %.1f / oauth2 %.1f (bare %.1f)", goroutines, kept-bare, other-bare,
			bare),
			fmt.Sprintf("%.2f", (kept-bare)/(other-bare)), "<= 0.50")
	}
	return nil
}
