package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

func logins(address, bearer string) load {
	body := `{"username":"` + userName + `","password":"` + password + `"}`
	request := []byte("POST " + wire.PathLogIn + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + bearer +
		"\r\nContent-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body)
	return load{
		address:  address,
		want:     http.StatusOK,
		refusals: []int{http.StatusServiceUnavailable},
		build:    func(buffer []byte, _ uint64) []byte { return append(buffer, request...) },
	}
}

// hashRate is how many hashes argon2id alone makes in a second.
func hashRate() float64 {
	p := authority.DefaultHashParams
	begin, n := time.Now(), 0
	for time.Since(begin) < duration {
		argon2.IDKey([]byte(password), []byte("0123456789abcdef"), p.Passes, p.MemoryKiB, p.Lanes, 32)
		n++
	}
	return float64(n) / time.Since(begin).Seconds()
}

// benchLogins compares logins with argon2id alone, and looks at session checks
// while ten times more logins arrive than fit.
func benchLogins(ctx context.Context, all *databases) error {
	path, err := all.with(ctx, few)
	if err != nil {
		return err
	}
	p, err := start(ctx, "latchkey", path)
	if err != nil {
		return err
	}
	defer p.stop() //nolint:errcheck // measured by then
	bearer, err := accessToken(ctx, p.address)
	if err != nil {
		return err
	}
	login, check := logins(p.address, bearer), checks(p.address, bearer, few)
	var alone, rates []float64
	for range rounds {
		alone = append(alone, hashRate())
		r, err := login.saturate(ctx, duration, 4)
		if err != nil {
			return err
		}
		rates = append(rates, r.rate())
	}
	line(fmt.Sprintf("logins / argon2id alone (%.1f/s / %.1f/s), %d slot", median(rates), median(alone), slots),
		fmt.Sprintf("%.2f", median(rates)/median(alone)), ">= 0.95")

	const perSecond = 5000
	var quiet, flooded []time.Duration
	refused, peak := 0, 0
	for range rounds {
		r, err := check.offer(ctx, connections, perSecond)
		if err != nil {
			return err
		}
		quiet = append(quiet, r.p99())
		var group sync.WaitGroup
		var flood result
		var floodErr error
		group.Go(func() { flood, floodErr = login.offer(ctx, 512, 10*median(alone)) })
		r, err = check.offer(ctx, connections, perSecond)
		if mib, ok := p.residentMiB(); ok {
			peak = max(peak, mib)
		}
		group.Wait()
		if err != nil || floodErr != nil {
			return fmt.Errorf("under the flood: checks %w, logins %w", err, floodErr)
		}
		refused += flood.refused
		flooded = append(flooded, r.p99())
	}
	line(fmt.Sprintf("check p99 at %d/s: login flood / quiet (%v / %v)", perSecond,
		median(flooded).Round(time.Microsecond), median(quiet).Round(time.Microsecond)),
		fmt.Sprintf("%.2f", float64(median(flooded))/float64(median(quiet))), "<= 2.00")
	line("  logins refused with 503; memory of the server", fmt.Sprintf("%d; %d MiB", refused, peak), "bounded")
	return nil
}
