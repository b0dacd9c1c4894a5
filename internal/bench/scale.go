package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

const (
	// Short measurements, and many: what is compared with one another is measured
	// within seconds, whatever else the machine does.
	scaleDuration = 500 * time.Millisecond
	// inUse is how many sessions of a database are checked, and once how many are
	// checked once.
	inUse = 200_000
	once  = 20_000
)

var sizes = []uint64{few, 10_000, 100_000, 1_000_000}

// How often a measurement is repeated, and one with a new replica.
var scaleRounds, onceRounds = 5, 1

// subject is a server that is measured, and what came of it.
type subject struct {
	name   string
	load   load
	own    *process
	bearer string
	rates  []float64
	costs  []float64
}

func (s *subject) rate() float64 { return median(s.rates) }
func (s *subject) cost() float64 { return median(s.costs) }

// round adds one measurement.
func (s *subject) round(ctx context.Context) error {
	before := s.own.busy()
	r, err := s.load.saturate(ctx, scaleDuration, connections)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.rates = append(s.rates, r.rate())
	s.costs = append(s.costs, float64((s.own.busy()-before).Nanoseconds())/1000/float64(r.good))
	return nil
}

// interleave measures all subjects in turn.
func interleave(ctx context.Context, all ...*subject) error {
	for range scaleRounds {
		for _, s := range all {
			if err := s.round(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// scale is the part that is about to be measured.
type scale struct {
	*engines
	databases *databases
	urls      map[uint64]string // of PostgreSQL, by the number of sessions
	tokens    map[uint64][][36]byte
	serving   []func() // ends each server
}

// subject starts a server. One without sessions gets any bearer token.
func (s *scale) subject(ctx context.Context, name string, sessions uint64, arguments ...string) (*subject, error) {
	p, err := start(ctx, arguments...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.serving = append(s.serving, func() { _ = p.stop() }) // measured by then
	bearer := strings.Repeat("x", 54)
	if arguments[0] == "latchkey" {
		if bearer, err = accessToken(ctx, p.address); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &subject{name: name, own: p, bearer: bearer, load: tokenLoad(wire.PathVerify, p.address,
		bearer, s.tokens[sessions])}, nil
}

// fill has the server have seen every session that it will be asked for.
func (s *subject) fill(ctx context.Context, sessions uint64) error {
	l := s.load
	l.limit = min(sessions, inUse)
	if _, err := l.saturate(ctx, time.Minute, connections); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	_, err := s.load.saturate(ctx, scaleDuration, connections)
	return err
}

// release ends the servers that were started for a measurement.
func (s *scale) release() {
	for _, stop := range s.serving {
		stop()
	}
	s.serving = nil
}

// benchScale looks at several replicas with one database: what a check costs on
// PostgreSQL, with sessions cached and behind a pooler, and how that grows with the
// number of live sessions.
func benchScale(ctx context.Context, all *databases) error {
	running, err := startEngines()
	if err != nil {
		return err
	}
	s := &scale{engines: running, databases: all, urls: map[uint64]string{}, tokens: map[uint64][][36]byte{}}
	defer s.stop()
	defer s.release()
	for _, n := range sizes {
		s.tokens[n] = spread(n, min(n, inUse))
		if s.postgres != "" {
			if s.urls[n], err = s.with(ctx, int(n)); err != nil { //nolint:gosec // one of sizes
				return err
			}
		}
	}
	for _, measure := range []func(context.Context) error{s.beside, s.replicas, s.growth} {
		err := measure(ctx)
		s.release() // the embedded database has one server at a time
		if err != nil {
			return err
		}
	}
	return nil
}

// beside compares checks with what is no more than net/http, and no more than pgx.
func (s *scale) beside(ctx context.Context) error {
	path, err := s.databases.with(ctx, few)
	if err != nil {
		return err
	}
	type arguments struct {
		name string
		list []string
	}
	list := []arguments{{"bare handler", []string{"bare"}}, {"check, embedded", []string{"latchkey", path}}}
	if s.postgres != "" {
		list = append(list, arguments{"check, PostgreSQL, cached", []string{"latchkey", s.urls[few], cached}})
	}
	quick := len(list)
	if s.pooler != "" {
		pooled, err := s.pooled(s.urls[few])
		if err != nil {
			return err
		}
		list = append(list, arguments{"one SELECT through pgx and a pooler", []string{"select", pooled}},
			arguments{"check, PostgreSQL behind a pooler", []string{"latchkey", pooled, cached}}, // which it cannot be there
			arguments{"check, PostgreSQL, not cached", []string{"latchkey", s.urls[few], uncached}})
	}
	subjects := make([]*subject, len(list))
	loads := make([]load, len(list))
	for i, a := range list {
		if subjects[i], err = s.subject(ctx, a.name, few, a.list...); err != nil {
			return err
		}
		if err := subjects[i].fill(ctx, few); err != nil {
			return err
		}
		loads[i] = subjects[i].load
	}
	if err := interleave(ctx, subjects...); err != nil {
		return err
	}
	for _, one := range subjects {
		line(fmt.Sprintf("%s (%.1f µs of processor time each)", one.name, one.cost()), fmt.Sprintf("%.0f/s", one.rate()), "")
	}
	for i, held := range []string{1: "(>= 0.90 in checks)", 2: ">= 0.85"} {
		if i > 0 && i < quick {
			line(subjects[i].name+" / bare handler", fmt.Sprintf("%.2f", ratio(subjects[i].rates, subjects[0].rates)), held)
		}
	}
	if quick < len(list) {
		line(subjects[quick+1].name+" / "+subjects[quick].name,
			fmt.Sprintf("%.2f", ratio(subjects[quick+1].rates, subjects[quick].rates)), ">= 0.90")
	}
	for _, group := range [][2]int{{0, quick}, {quick, len(list)}} {
		from, to := group[0], group[1]
		if from == to {
			continue
		}
		offered := subjects[from].rate() / 4
		tails, err := tails(ctx, loads[from:to], offered)
		if err != nil {
			return err
		}
		for i := from + 1; i < to; i++ {
			this, that := median(tails[i-from]), median(tails[0])
			line(fmt.Sprintf("p99 at %.0f/s: %s (%v / %v)", offered, subjects[i].name, this.Round(time.Microsecond),
				that.Round(time.Microsecond)),
				fmt.Sprintf("%.2f", float64(this)/float64(that)), "")
		}
	}
	return nil
}

// replicas compares two with one, and logins with argon2id alone.
func (s *scale) replicas(ctx context.Context) error {
	if s.postgres == "" {
		return nil
	}
	var pair [2]*subject
	for i := range pair {
		var err error
		if pair[i], err = s.subject(ctx, "replica", few, "latchkey", s.urls[few], cached); err != nil {
			return err
		}
		if err := pair[i].fill(ctx, few); err != nil {
			return err
		}
	}
	var one, two, oneCost, twoCost, logIns, alone []float64
	login := logins(pair[0].load.address, pair[0].bearer)
	for range scaleRounds {
		if err := pair[0].round(ctx); err != nil {
			return err
		}
		rate, cost, err := both(ctx, pair)
		if err != nil {
			return err
		}
		two, twoCost = append(two, rate), append(twoCost, cost)
	}
	for range rounds {
		alone = append(alone, hashRate())
		r, err := login.saturate(ctx, duration, 4)
		if err != nil {
			return err
		}
		logIns = append(logIns, r.rate())
	}
	one, oneCost = pair[0].rates, pair[0].costs
	line(fmt.Sprintf("two replicas / one, with %d cores for all", runtime.NumCPU()),
		fmt.Sprintf("%.2f", ratio(two, one)), ">= 1.70 where each has cores")
	line("  processor time of a check on two / on one", fmt.Sprintf("%.1f / %.1f µs", median(twoCost), median(oneCost)),
		"")
	line(fmt.Sprintf("logins, PostgreSQL / argon2id (%.1f/s / %.1f/s)", median(logIns), median(alone)),
		fmt.Sprintf("%.2f", ratio(logIns, alone)), ">= 0.95")
	return nil
}

// both has two replicas answer at once, each over half of the connections.
func both(ctx context.Context, pair [2]*subject) (rate, cost float64, err error) {
	var group sync.WaitGroup
	var results [2]result
	var faults [2]error
	before := pair[0].own.busy() + pair[1].own.busy()
	for i, replica := range pair {
		group.Go(func() { results[i], faults[i] = replica.load.saturate(ctx, scaleDuration, connections/2) })
	}
	group.Wait()
	for _, fault := range faults {
		if fault != nil {
			return 0, 0, fault
		}
	}
	spent := pair[0].own.busy() + pair[1].own.busy() - before
	return results[0].rate() + results[1].rate(),
		float64(spent.Nanoseconds()) / 1000 / float64(results[0].good+results[1].good), nil
}

// growth looks at one database after the other, each with ten times more sessions.
func (s *scale) growth(ctx context.Context) error {
	var warm []*subject
	cold, written := make([][]float64, len(sizes)), make([][]float64, len(sizes))
	columns := 1
	for _, n := range sizes {
		path, err := s.databases.with(ctx, int(n)) //nolint:gosec // one of sizes
		if err != nil {
			return err
		}
		lists := [][]string{{"latchkey", path}}
		if s.postgres != "" {
			lists = append(lists, []string{"latchkey", s.urls[n], cached}, []string{"latchkey", s.urls[n], uncached})
		}
		columns = len(lists)
		for _, arguments := range lists {
			one, err := s.subject(ctx, fmt.Sprintf("%d sessions", n), n, arguments...)
			if err != nil {
				return err
			}
			if err := one.fill(ctx, n); err != nil {
				return err
			}
			warm = append(warm, one)
		}
	}
	if err := interleave(ctx, warm...); err != nil {
		return err
	}
	for range onceRounds {
		for i, n := range sizes {
			if s.postgres == "" {
				continue
			}
			rate, err := s.once(ctx, n)
			if err != nil {
				return err
			}
			cold[i] = append(cold[i], rate)
		}
	}
	for range onceRounds {
		for i, n := range sizes {
			if s.postgres == "" {
				continue
			}
			if err := unused(ctx, s.urls[n], n, min(n, once)); err != nil {
				return err
			}
			rate, err := s.once(ctx, n)
			if err != nil {
				return err
			}
			written[i] = append(written[i], rate)
		}
	}
	fmt.Printf("\nchecks/s by the number of live sessions, beside the first row, µs of processor time of latchkey;\nof "+
		"each database up to %d sessions are asked for in turn:\n%-10s", inUse, "sessions")
	for _, name := range []string{"embedded", "PostgreSQL, cached", "PostgreSQL, not cached"}[:columns] {
		fmt.Printf(" | %-24s", name)
	}
	if columns > 1 {
		fmt.Printf(" | %-24s | %s", "not seen before", "not seen, writing uses")
	}
	fmt.Println()
	for i, n := range sizes {
		fmt.Printf("%-10d", n)
		for c := range columns {
			this, first := warm[i*columns+c], warm[c]
			fmt.Printf(" | %-24s", fmt.Sprintf("%.0f  %.2f  %.1f µs", this.rate(), ratio(this.rates, first.rates), this.cost()))
		}
		for _, rates := range [][][]float64{cold, written} {
			if len(rates[i]) > 0 {
				fmt.Printf(" | %-24s", fmt.Sprintf("%.0f  %.2f", median(rates[i]), ratio(rates[i], rates[0])))
			}
		}
		fmt.Println()
	}
	return nil
}

// once is how fast a new replica checks sessions that it has not seen.
func (s *scale) once(ctx context.Context, sessions uint64) (float64, error) {
	replica, err := s.subject(ctx, "a new replica", sessions, "latchkey", s.urls[sessions], cached)
	if err != nil {
		return 0, err
	}
	defer func() {
		s.serving[len(s.serving)-1]()
		s.serving = s.serving[:len(s.serving)-1]
	}()
	// Connections are opened with a token that gives no access.
	stranger := [][36]byte{[36]byte([]byte(token(sizes[len(sizes)-1]).Reveal()))}
	prepare := tokenLoad(wire.PathVerify, replica.load.address, replica.bearer, stranger)
	prepare.refusals = []int{http.StatusUnauthorized, http.StatusForbidden}
	if _, err := prepare.saturate(ctx, scaleDuration, connections); err != nil {
		return 0, err
	}
	replica.load.limit = min(sessions, once)
	r, err := replica.load.saturate(ctx, time.Minute, connections)
	return r.rate(), err
}
