package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

// token is the i-th session token of a database.
func token(i uint64) authority.SessionToken {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("bench session "), i))
	return authority.SessionToken(sum[:len(authority.SessionToken{})])
}

// checks asks for session after session, all over the database. The tokens are
// made beforehand, since making one costs as much as checking it.
func checks(address, bearer string, sessions uint64) load {
	return sessionLoad(wire.PathVerify, address, bearer, sessions)
}

// sessionLoad asks for path in session after session.
func sessionLoad(path, address, bearer string, sessions uint64) load {
	return tokenLoad(path, address, bearer, spread(sessions, sessions))
}

// spread returns the tokens of n of so many sessions, all over the database.
func spread(sessions, n uint64) [][36]byte {
	tokens := make([][36]byte, n)
	for i := range tokens {
		copy(tokens[i][:], token(spreadOut(uint64(i), sessions)).Reveal())
	}
	return tokens
}

// spreadOut is the i-th of so many in an order that jumps about.
func spreadOut(i, sessions uint64) uint64 { return i * 2654435761 % sessions }

// tokenLoad asks for path with token after token.
func tokenLoad(path, address, bearer string, tokens [][36]byte) load {
	head := []byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + bearer + "\r\n" +
		wire.HeaderSessionToken + ": ")
	sessions := uint64(len(tokens))
	return load{address: address, want: http.StatusOK, build: func(buffer []byte, i uint64) []byte {
		buffer = append(buffer, head...)
		buffer = append(buffer, tokens[i%sessions][:]...)
		return append(buffer, "\r\n\r\n"...)
	}}
}

// accessToken logs the API client in.
func accessToken(ctx context.Context, address string) (string, error) {
	return accessTokenOf(ctx, address, credentials)
}

// accessTokenOf logs one of several API clients in.
func accessTokenOf(ctx context.Context, address string, client authority.Credentials) (string, error) {
	form := url.Values{"grant_type": {wire.GrantTypeClient}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+wire.PathToken,
		strings.NewReader(form))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", wire.MediaTypeForm)
	request.SetBasicAuth(client.Key, client.Secret.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer wire.AccessToken
	err = json.NewDecoder(response.Body).Decode(&answer)
	if err == nil && answer.AccessToken == "" {
		err = fmt.Errorf("no access token; status %d", response.StatusCode)
	}
	return answer.AccessToken, err
}

// benchChecks compares session checks with a handler that returns a constant.
func benchChecks(ctx context.Context, all *databases) error {
	fewPath, err := all.with(ctx, few)
	if err != nil {
		return err
	}
	manyPath, err := all.with(ctx, many)
	if err != nil {
		return err
	}
	var targets [3]load
	var servers [3]*process
	var ready time.Duration
	for i, arguments := range [][]string{{"bare"}, {"latchkey", fewPath}, {"latchkey", manyPath}} {
		p, err := start(ctx, arguments...)
		if err != nil {
			return err
		}
		defer p.stop() //nolint:errcheck // measured by then
		servers[i], ready = p, p.ready
		bearer, sessions := strings.Repeat("x", 54), uint64(few)
		if i > 0 {
			if bearer, err = accessToken(ctx, p.address); err != nil {
				return err
			}
		}
		if i == 2 {
			sessions = uint64(many) //nolint:gosec // positive
		}
		targets[i] = checks(p.address, bearer, sessions)
	}
	line("ready after start, 1,000,000 sessions", ready.Round(time.Millisecond).String(), "<= 500ms")

	for _, l := range targets { // warm up, and let the index fill
		if _, err := l.saturate(ctx, 2*duration, connections); err != nil {
			return err
		}
	}
	var rates, costs [3][]float64
	for round := range rounds {
		progress(round, rounds)
		for _, i := range order(round, len(targets)) {
			before := servers[i].busy()
			r, err := targets[i].saturate(ctx, duration, connections)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], r.rate())
			costs[i] = append(costs[i], float64((servers[i].busy()-before).Nanoseconds())/1000/float64(r.good))
		}
	}
	offered := median(rates[0]) / 4
	tails, err := tails(ctx, targets[:], offered)
	if err != nil {
		return err
	}
	for i, name := range []string{"a bare handler", "session check, 1,000 sessions", "session check, 1,000,000 sessions"} {
		spreadLine(name, "%.0f/s", rates[i], "")
		spreadLine("  its processor time", "%.1f µs", costs[i], "")
	}
	spreadLine("session check / bare handler", "%.2f", ratios(rates[1], rates[0]), ">= 0.90")
	spreadLine("  their processor time", "%.2f", ratios(costs[1], costs[0]), "")
	spreadLine("1,000,000 sessions / 1,000 sessions", "%.2f", ratios(rates[2], rates[1]), ">= 0.95")
	spreadLine(fmt.Sprintf("p99 at %.0f/s: check / bare (%v / %v)", offered, median(tails[1]).Round(time.Microsecond),
		median(tails[0]).Round(time.Microsecond)),
		"%.2f", ratios(microseconds(tails[1]), microseconds(tails[0])), "<= 1.20")
	return nil
}

// benchMemory measures what a live session costs in memory.
func benchMemory(ctx context.Context, all *databases) error {
	path, err := all.with(ctx, many)
	if err != nil {
		return err
	}
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	// A sweep waits until every session is in memory; none is idle yet.
	if _, err := db.SweepSessions(ctx, time.Now(), time.Hour, 1); err != nil {
		return err
	}
	each := float64(live()-before) / float64(many)
	line("memory of a live session, its two hashes included", fmt.Sprintf("%.0f bytes", each), "<= 250 + 64 bytes")
	return db.Close(context.WithoutCancel(ctx))
}
