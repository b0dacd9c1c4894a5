// Package latchtest runs the session service inside a test, so that a program
// that uses the API can be tested against the real thing: the same rules, the
// same database (in memory) and the same HTTP responses as `latchkey serve`, on a
// port of its own on this machine, up in milliseconds.
//
//	func TestMyProgram(t *testing.T) {
//		service := latchtest.NewServer(t)
//		// Point your program at service.URL, with latchtest.APIKey,
//		// latchtest.APISecret, latchtest.User and latchtest.Password; or use
//		// service.Client, which is set up already.
//	}
//
// It ends with the test. Beside the service there are four things that the
// vendor's does not offer:
//
//   - Time. The clock stands still until [Server.Advance] moves it, so idle
//     sessions and the hour of an access token need no waiting. Give your own
//     code [Server.Now] where it has a clock of its own.
//   - Faults. [Server.Inject] makes the next requests of an operation go wrong:
//     [DropAfter] loses the response to a login that happened, [LockUser] locks the
//     account just before, [RefuseAs] refuses in any form that the vendor's services
//     have, and so on. [Server.LockUser], [Server.ExpireSessions],
//     [Server.RevokeBearer] and [Server.SetPassword] do such things at once.
//   - Switches, for what the vendor leaves undocumented: does a second login end
//     the first session? See [Switches], and test with both settings.
//   - Events. [Server.Events] returns what happened, and [Server.Count] how often:
//     most defects of programs like yours are one login too many.
//
// An echo replaces the rest of the API: the response to a request to any other path
// under /api/ with two valid tokens is 200, with its method, its path and the user as
// JSON (in an array where the API has one: an account's
// callbacks and service plans), and is refused as the vendor would refuse it
// otherwise.
//
// Connections are real, so a Go program's http.Transport behaves as it always
// does: it repeats a GET by itself when a connection that was used before is cut
// (one DropBefore of a GET may therefore go unnoticed), and never a login of
// [latchkey.Client].
//
// A Server is safe for concurrent use, except that the methods that fail the
// test have to be called by the test's own goroutine.
package latchtest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/simulate"
)

// The accounts that a Server begins with.
const (
	APIKey    = "demo-key"
	APISecret = latchkey.Secret("demo-secret")
	User      = "zbeeblebrox"
	Password  = latchkey.Secret("IMgr8")
)

// T is what a Server needs of the test. A *testing.T, *testing.B or *testing.F
// is one.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Server is a running service.
type Server struct {
	// URL is the base URL of the service, without a slash at its end.
	URL string
	// Client speaks to the service with APIKey, by the service's clock.
	Client *latchkey.Client

	t       T
	service *simulate.Service
}

// Option configures a Server.
type Option func(*simulate.Config)

// At sets the clock. Without it, it stands at the moment of NewServer.
func At(start time.Time) Option {
	return func(c *simulate.Config) { c.Start = start }
}

// With sets the switches. Without it, all are off.
func With(switches Switches) Option {
	return func(c *simulate.Config) { c.Switches = simulate.Switches(switches) }
}

// Log makes the service log to a handler. Without it, it logs nothing.
func Log(handler slog.Handler) Option {
	return func(c *simulate.Config) { c.Log = slog.New(handler) }
}

// NewServer starts a service, which ends with the test. The test fails if it
// cannot start.
func NewServer(t T, options ...Option) *Server {
	t.Helper()
	config := simulate.Config{
		Seed: simulate.Seed{
			APIKey: APIKey, APISecret: secret.Text(APISecret), User: User, Password: secret.Text(Password),
		},
		Start: time.Now().UTC().Truncate(time.Millisecond),
	}
	for _, option := range options {
		option(&config)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	ctx := context.Background()
	service, err := simulate.New(ctx, config)
	if err != nil {
		t.Fatalf("latchtest: the service does not start: %v", err)
	}
	listening := httptest.NewUnstartedServer(service)
	listening.Config.ErrorLog = slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn)
	listening.Config.ReadHeaderTimeout = time.Minute
	listening.Start()
	s := &Server{URL: listening.URL, t: t, service: service}
	t.Cleanup(func() {
		service.Release()
		listening.Close()
		if err := service.Close(ctx); err != nil {
			t.Fatalf("latchtest: the service does not end in good order: %v", err)
		}
	})
	s.Client = s.client(APIKey, APISecret)
	return s
}

// client makes a Client that ends with the test.
func (s *Server) client(key string, secret latchkey.Secret) *latchkey.Client {
	s.t.Helper()
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: s.URL, APIKey: key, APISecret: secret, Now: s.Now,
		HTTPClient: &http.Client{Transport: &http.Transport{}}, // without a proxy
	})
	if err != nil {
		s.t.Fatalf("latchtest: %v", err)
	}
	s.t.Cleanup(client.CloseIdleConnections)
	return client
}

// do calls work with the rules, and fails the test if that fails.
func (s *Server) do(what string, work func(context.Context, *authority.Authority) error) {
	s.t.Helper()
	err := s.service.With(func(a *authority.Authority) error { return work(context.Background(), a) })
	if err != nil {
		s.t.Fatalf("latchtest: %s: %v", what, err)
	}
}
