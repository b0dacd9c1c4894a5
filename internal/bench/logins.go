package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

// checksPerSecond is the fixed rate of checks beside a flood.
const checksPerSecond = 5000

// loginRequest is a login of a user with the password that every user of a benchmark has.
func loginRequest(bearer, name string) []byte {
	body := `{"username":"` + name + `","password":"` + password + `"}`
	return []byte("POST " + wire.PathLogIn + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + bearer +
		"\r\nContent-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body)
}

func logins(address, bearer string) load {
	request := loginRequest(bearer, userName)
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

// The flood comes from several API clients: made-up names, and users with right passwords.
const (
	floodClients     = 4
	floodConnections = 512
)

var floodUsers = 32

func floodUser(i uint64) string {
	return fmt.Sprintf("flood-%d", i%uint64(floodUsers)) //nolint:gosec // a small number
}

func floodClient(i int) authority.Credentials {
	return authority.Credentials{Key: fmt.Sprintf("flood-key-%d", i), Secret: "flood-secret"}
}

// addFlood adds the users and the API clients of the flood.
func addFlood(ctx context.Context, path string) error {
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx)) // the server opens it again
	rules, err := newAuthority(db.Stores(), nil)
	if err != nil {
		return err
	}
	if _, err := db.Stores().Users.User(ctx, floodUser(0)); err == nil {
		return nil // from an earlier part
	}
	for i := range floodUsers {
		if _, err := rules.AddUser(ctx, floodUser(uint64(i)), password, authority.Origin{}); err != nil {
			return err
		}
	}
	for i := range floodClients {
		client := floodClient(i)
		if err := rules.AddKnownClient(ctx, client.Key, client, authority.Origin{}); err != nil {
			return err
		}
	}
	return nil
}

// flood logs in with made-up names and with users' right passwords in turn.
func flood(ctx context.Context, address string) (load, error) {
	var bearers [floodClients]string
	for i := range bearers {
		var err error
		if bearers[i], err = accessTokenOf(ctx, address, floodClient(i)); err != nil {
			return load{}, err
		}
	}
	return load{
		address: address,
		want:    http.StatusOK,
		refusals: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests,
			http.StatusServiceUnavailable},
		build: func(buffer []byte, i uint64) []byte {
			name := floodUser(i / 2)
			if i%2 == 0 {
				name = fmt.Sprintf("nobody-%d", i)
			}
			return append(buffer, loginRequest(bearers[i/2%floodClients], name)...)
		},
	}, nil
}

// during runs measure while the flood is in full flow, and returns what came of the flood.
// Its connections are open before, and it begins half a round earlier and ends half a round later.
func (l load) during(ctx context.Context, perSecond float64, measure func() error) (result, error) {
	opened := make(chan struct{})
	l.opened = func() { close(opened) }
	var came result
	var fault error
	var group sync.WaitGroup
	ended := make(chan struct{})
	group.Go(func() {
		defer close(ended)
		every := time.Duration(floodConnections * float64(time.Second) / perSecond)
		came, fault = l.run(ctx, 2*duration, floodConnections, every)
	})
	select {
	case <-opened:
		<-time.After(duration / 2)
	case <-ended:
		return came, fault
	}
	err := measure()
	group.Wait()
	return came, errors.Join(err, fault)
}

// benchLogins compares logins with argon2id alone, and looks at session checks
// while ten times more logins arrive than fit.
func benchLogins(ctx context.Context, all *databases) error {
	path, err := all.with(ctx, few)
	if err != nil {
		return err
	}
	if err := addFlood(ctx, path); err != nil {
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
	flooding, err := flood(ctx, p.address)
	if err != nil {
		return err
	}
	var alone, rates, costs, floor []float64
	var quiet, flooded []time.Duration
	refused, succeeded, peak := map[int]int{}, 0, 0
	for round := range rounds {
		progress(round, rounds)
		for _, i := range order(round, 2) {
			if i == 0 {
				alone = append(alone, hashRate())
				continue
			}
			before := p.busy()
			r, err := login.saturate(ctx, duration, 4)
			if err != nil {
				return err
			}
			rates = append(rates, r.rate())
			costs = append(costs, float64((p.busy()-before).Microseconds())/1000/float64(r.good))
		}
		r, err := check.offer(ctx, connections, checksPerSecond)
		if err != nil {
			return err
		}
		quiet = append(quiet, r.p99())
		came, err := flooding.during(ctx, 10*median(alone), func() error {
			r, err := check.offer(ctx, connections, checksPerSecond)
			flooded = append(flooded, r.p99())
			if mib, ok := p.residentMiB(); ok {
				peak = max(peak, mib)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("under the flood: %w", err)
		}
		succeeded += came.good
		for status, n := range came.refused {
			refused[status] += n
		}

		var group sync.WaitGroup
		var saturated error
		group.Go(func() { _, saturated = check.saturate(ctx, duration, connections) })
		r, err = login.saturate(ctx, duration, 4)
		group.Wait()
		if err := errors.Join(err, saturated); err != nil {
			return err
		}
		floor = append(floor, r.rate())
	}
	spreadLine(fmt.Sprintf("logins / argon2id alone (%.1f/s / %.1f/s), %d slot", median(rates), median(alone), slots),
		"%.2f", ratios(rates, alone), ">= 0.95")
	spreadLine("  processor time of a login", "%.1f ms", costs, "")
	spreadLine(fmt.Sprintf("check p99 at %d/s: login flood / quiet (%v / %v)", checksPerSecond,
		median(flooded).Round(time.Microsecond), median(quiet).Round(time.Microsecond)),
		"%.2f", ratios(microseconds(flooded), microseconds(quiet)), "<= 2.00")
	line("  logins of the flood: succeeded; others by status, 400 if evaluated",
		fmt.Sprintf("%d; %v", succeeded, refused), "")
	line("  memory of the server's processes", fmt.Sprintf("%d MiB", peak), "bounded")
	spreadLine("logins while checks saturate every core", "%.1f/s", floor, "> 0")
	return nil
}
