// Package simulate runs the real service under conditions that a test sets: a
// clock that it moves, faults that it asks for, and switches for what the vendor
// leaves undocumented. Nothing in it is a fake: the rules, the database (in
// memory) and the HTTP API are those of the service, and faults are a handler
// around it.
//
// Package latchtest offers it to tests in Go, and `latchkey serve --demo
// --simulate` to programs in every language, through the handler in control.go.
package simulate

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// Seed is the user and the API client that a service begins with.
type Seed struct {
	APIKey    string
	APISecret secret.Text
	User      string
	Password  secret.Text
}

// Config configures a Service.
type Config struct {
	Seed Seed
	// Start is where the clock stands still until it is moved. Zero: the clock
	// runs with the machine's. Either can be changed later.
	Start    time.Time
	Policy   authority.Policy // its switches are overridden by Switches
	Switches Switches
	Version  string
	Log      *slog.Logger // nil: nothing is logged
}

// cheap makes hashing quick. The passwords of a simulation are worth nothing.
var cheap = authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

// origin is who does what a test asks for, in the audit trail.
var origin = authority.Origin{Address: "simulation"}

// Service is the simulated service. It is safe for concurrent use.
type Service struct {
	config   Config
	clock    *clock
	faults   faults
	control  http.Handler
	closing  chan struct{} // closed by Release
	released sync.Once
	changes  sync.Mutex // held while stage is replaced

	mu    sync.RWMutex // guards stage
	stage *stage
}

// world is what a reset replaces: all that the service knows.
type world struct {
	db   *sqlite.DB
	key  []byte
	busy sync.WaitGroup // the requests that use it
}

// stage is a world under one setting of the switches.
type stage struct {
	*world
	switches  Switches
	authority *authority.Authority
	admin     http.Handler
	api       http.Handler
	standIn   http.Handler
}

// New starts a Service. Close it in the end.
func New(ctx context.Context, config Config) (*Service, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{config: config, clock: newClock(config.Start), closing: make(chan struct{})}
	s.control = s.controls()
	var err error
	s.stage, err = s.seed(ctx)
	return s, err
}

// memory is what a simulation has in place of a database.
var memory = admin.Store{Name: "memory", ID: "memory"}

// seed makes a world as it is in the beginning.
func (s *Service) seed(ctx context.Context) (*stage, error) {
	w := &world{key: make([]byte, 32)}
	_, _ = rand.Read(w.key) // it cannot fail; it ends the program instead
	var err error
	if w.db, err = sqlite.Open(ctx, sqlite.Options{Log: s.config.Log}); err != nil {
		return nil, err
	}
	begun, err := s.build(w, s.config.Switches)
	if err == nil {
		err = begun.authority.AddKnownUser(ctx, s.config.Seed.User, s.config.Seed.Password, origin)
	}
	if err == nil {
		err = begun.authority.AddKnownClient(ctx, "demo", authority.Credentials{Key: s.config.Seed.APIKey,
			Secret: s.config.Seed.APISecret}, origin)
	}
	if err != nil {
		return nil, errors.Join(err, w.db.Close(ctx))
	}
	return begun, nil
}

// build applies the rules to a world.
func (s *Service) build(w *world, switches Switches) (*stage, error) {
	a, err := authority.New(authority.Config{
		Stores: w.db.Stores(), Key: w.key, Policy: apply(switches, s.config.Policy), Hash: cheap, Now: s.clock.now,
		Log: s.config.Log,
	})
	if err != nil {
		return nil, err
	}
	plain := server.New(server.Config{Authority: a, Ready: w.db.Ready, Log: s.config.Log, Version: s.config.Version})
	return &stage{
		world: w, switches: switches, authority: a,
		admin: admin.NewHandler(a, memory, s.config.Log), api: plain.Handler(), standIn: plain.Guard(standIn),
	}, nil
}

// enter returns the stage, which is used until leave is called.
func (s *Service) enter() (now *stage, leave func()) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.stage.busy.Add(1)
	return s.stage, s.stage.busy.Done
}

func (s *Service) replace(next *stage) (last *stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, s.stage = s.stage, next
	return last
}

// ServeHTTP serves the API, with the faults. The controls are not part of it.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, ok := operationOf(r.URL.Path)
	if ok && s.faults.pending(operation) {
		// A request meets a fault when its body has arrived: one whose caller leaves
		// before that would use the fault up, and could not be executed.
		body, err := keepBody(r)
		if err != nil {
			s.execute(w, r)
			return
		}
		if fault, ok := s.faults.take(operation); ok {
			s.inject(w, r, operation, fault, body)
			return
		}
	}
	s.execute(w, r)
}

// execute serves the request without faults.
func (s *Service) execute(w http.ResponseWriter, r *http.Request) {
	now, leave := s.enter()
	defer leave()
	if operation, ok := operationOf(r.URL.Path); ok && operation == API {
		now.standIn.ServeHTTP(w, r)
		return
	}
	now.api.ServeHTTP(w, r)
}

// Front returns what server.Server.Run serves and does for a simulation: the API with the
// controls.
func (s *Service) Front() server.Front {
	return server.Front{
		API:   s.withControls(),
		Sweep: s.sweep,
	}
}

// Admin returns the handler of the administration API.
func (s *Service) Admin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, leave := s.enter()
		defer leave()
		now.admin.ServeHTTP(w, r)
	})
}

func (s *Service) sweep(ctx context.Context) error {
	return s.With(func(a *authority.Authority) error { return a.Sweep(ctx) })
}

// With calls do with the rules as they are now.
func (s *Service) With(do func(*authority.Authority) error) error {
	now, leave := s.enter()
	defer leave()
	return do(now.authority)
}

// Now returns the time of the service.
func (s *Service) Now() time.Time { return s.clock.now() }

// Advance moves the clock ahead and writes down what has expired by then.
func (s *Service) Advance(ctx context.Context, d time.Duration) error {
	if err := s.clock.advance(d); err != nil {
		return err
	}
	return s.sweep(ctx)
}

// Inject adds a fault after the pending ones.
func (s *Service) Inject(fault Fault) error { return s.faults.add(fault) }

// Faults returns the pending faults, each with the number of times left.
func (s *Service) Faults() []Fault { return s.faults.list() }

// ClearFaults removes the pending faults.
func (s *Service) ClearFaults() { s.faults.clear() }

// Switches returns the current switches.
func (s *Service) Switches() Switches {
	now, leave := s.enter()
	defer leave()
	return now.switches
}

// SetSwitches applies the switches to requests from now on.
func (s *Service) SetSwitches(switches Switches) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	now, leave := s.enter()
	defer leave()
	next, err := s.build(now.world, switches)
	if err != nil {
		return err
	}
	s.replace(next)
	now.authority.Flush(context.Background())
	return nil
}

// Events returns up to limit events of the audit trail after the one with this number.
func (s *Service) Events(ctx context.Context, after int64, limit int) (events []authority.Event, err error) {
	err = s.With(func(a *authority.Authority) error {
		a.Flush(ctx) // a test expects to see what has happened
		events, err = a.AuditEvents(ctx, authority.AuditQuery{After: after, Limit: limit})
		return err
	})
	return events, err
}

// Reset brings everything back to how it began: accounts, sessions, events,
// switches, faults. Old tokens are good for nothing any more. Only the clock
// stays where it is, for time that runs backwards is another fault.
func (s *Service) Reset(ctx context.Context) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.faults.clear()
	next, err := s.seed(ctx)
	if err != nil {
		return err
	}
	last := s.replace(next)
	last.busy.Wait() // every operation bounds its time
	return last.db.Close(ctx)
}

// Close ends the delays and gives everything up. Call it once, when no request
// comes any more.
func (s *Service) Close(ctx context.Context) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.Release()
	last := s.replace(nil)
	last.busy.Wait()
	return last.db.Close(ctx)
}

// Release ends the delays under way and those to come.
func (s *Service) Release() { s.released.Do(func() { close(s.closing) }) }
