package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/apitest"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, enginetest.Leaks()...) }

// The credentials of every service that the tests start.
const (
	apiKey    = "demo-key"
	apiSecret = "demo-secret-4c1d"
	user      = "zbeeblebrox"
	password  = "IMgr8-and-more"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// setup configures a service. The zero value is the usual one.
type setup struct {
	path      string // of the database; "": in memory
	alone     bool   // one replica on any engine, because the test examines the state of one process
	keepState bool   // the database has the client and the user already
	policy    authority.Policy
	hash      authority.HashParams
	slots     int
	queue     int
	stores    func(*sqlite.DB) authority.Stores
	server    server.Config
	listener  net.Listener
	further   []net.Listener
	level     slog.Level
}

// service is a running service with a real database, one API client and one user.
type service struct {
	t         testing.TB
	clock     *clock
	log       *testsupport.Log
	db        *sqlite.DB // nil on other engines
	authority *authority.Authority
	server    *server.Server
	address   string
	further   []string // addresses of other replicas
	turn      atomic.Int64
	socket    string // of the admin API
	admin     *admin.Client
	http      *http.Client
	contract  *apitest.Contract
	stop      func() error // ends the service and closes the database; may be called again
	secrets   []string     // none of which may be logged
}

func start(t testing.TB, with setup) *service {
	t.Helper()
	s := &service{t: t, clock: &clock{now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}, log: &testsupport.Log{},
		contract: apitest.Load(t)}
	s.secrets = []string{apiSecret, password, base64.StdEncoding.EncodeToString([]byte(apiKey + ":" + apiSecret))}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: with.level}))
	ctx := context.Background()
	var err error
	var places []place
	if with.path == "" && with.stores == nil {
		places = shared(t, with.alone, with.policy.IdleTimeout, log)
	}
	if places == nil {
		if s.db, err = sqlite.Open(ctx, sqlite.Options{Path: with.path, Log: log}); err != nil {
			t.Fatal(err)
		}
		places = []place{{s.db.Stores(), s.db.Ready, func() error { return s.db.Close(ctx) }}}
		if with.stores != nil {
			places[0].stores = with.stores(s.db)
		}
	}
	if with.hash == (authority.HashParams{}) {
		with.hash = authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}
	}
	rules := make([]*authority.Authority, len(places))
	for i, p := range places {
		rules[i], err = authority.New(authority.Config{
			Stores: p.stores, Key: bytes.Repeat([]byte("k"), 32), Policy: with.policy, Hash: with.hash,
			HashSlots: with.slots, HashQueue: with.queue, Now: s.clock.Now, Log: log,
		})
		s.must(err)
	}
	s.authority = rules[0]
	if !with.keepState {
		s.must(s.authority.AddKnownClient(ctx, "the tests", authority.Credentials{Key: apiKey, Secret: apiSecret},
			authority.Origin{}))
		s.addUser(user, password)
	}
	with.server.Authority, with.server.Log = s.authority, log
	with.server.Admin = admin.NewHandler(s.authority, admin.Store{}, log)
	if with.server.Ready == nil {
		with.server.Ready = places[0].ready
	}
	s.server = server.New(with.server)
	if with.listener == nil {
		if with.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s.address = with.listener.Addr().String()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	adminSocket, err := server.ListenUnix(socket)
	s.must(err)
	s.socket, s.admin = socket, admin.NewClient(socket)
	transport := &http.Transport{}
	s.http = &http.Client{Transport: s.contract.Transport(t, transport)}

	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.server.Run(running, with.listener, adminSocket, with.further...) }()
	var replicas errgroup.Group
	for i, p := range places[1:] {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		s.must(err)
		s.further = append(s.further, listener.Addr().String())
		config := with.server
		config.Authority, config.Ready = rules[i+1], p.ready
		replicas.Go(func() error { return server.New(config).Run(running, listener, nil) })
	}
	s.stop = sync.OnceValue(func() error {
		transport.CloseIdleConnections()
		cancel()
		err := errors.Join(<-done, replicas.Wait())
		for _, p := range places {
			err = errors.Join(err, p.close())
		}
		return err
	})
	t.Cleanup(func() {
		s.must(s.stop())
		for _, text := range slices.DeleteFunc(s.secrets, func(text string) bool { return text == "" }) {
			if strings.Contains(s.log.String(), text) {
				t.Errorf("the log holds the secret %q", text)
			}
		}
	})
	return s
}

func (s *service) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) addUser(name, password string) {
	s.t.Helper()
	_, err := s.authority.AddUser(context.Background(), name, secret.Text(password), authority.Origin{})
	s.must(err)
}

// replica returns the address of one of the service's replicas, each in turn.
func (s *service) replica() string {
	if n := int(s.turn.Add(1)) % (1 + len(s.further)); n > 0 {
		return s.further[n-1]
	}
	return s.address
}

// reply is a response with its body.
type reply struct {
	status int
	header http.Header
	body   string
}

// code returns "ok", or the code of the error.
func (r reply) code() string {
	if r.status == http.StatusOK {
		return "ok"
	}
	var body struct {
		ErrorCode string `json:"errorCode"`
		Fault     struct {
			Code string `json:"code"`
		} `json:"fault"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		return "not JSON: " + r.body
	}
	return string(wire.CodeOf(body.ErrorCode)) + body.Fault.Code + body.Error
}

// field returns a text field of a JSON response.
func (r reply) field(name string) string {
	var body map[string]any
	if json.Unmarshal([]byte(r.body), &body) != nil {
		return ""
	}
	text, _ := body[name].(string)
	return text
}

// do sends a request whose exchange must match the contract. Headers are pairs of a name and
// a value; a repeated name adds a second header.
func (s *service) do(ctx context.Context, method, path, body string, headers ...string) reply {
	s.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.replica()+path, strings.NewReader(body))
	s.must(err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := s.http.Do(request)
	s.must(err)
	text, err := io.ReadAll(response.Body)
	s.must(err)
	s.must(response.Body.Close())
	return reply{response.StatusCode, response.Header, string(text)}
}

var (
	sound     = context.Background()
	malformed = apitest.Malformed(context.Background())
)

func basic(key, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"+secret))
}

// token requests the access token.
func (s *service) token() reply {
	s.t.Helper()
	r := s.do(sound, "POST", wire.PathToken, "grant_type=client_credentials",
		"Authorization", basic(apiKey, apiSecret), "Content-Type", wire.MediaTypeForm)
	s.secrets = append(s.secrets, r.field("access_token"))
	return r
}

// bearer returns the value of a valid Authorization header.
func (s *service) bearer() string {
	s.t.Helper()
	return "Bearer " + s.token().field("access_token")
}

// login attempts a login. It is safe for concurrent use.
func (s *service) login(bearer, name, password string) reply {
	s.t.Helper()
	body, err := json.Marshal(wire.LogInRequest{Username: name, Password: password})
	s.must(err)
	return s.do(sound, "POST", wire.PathLogIn, string(body), "Authorization", bearer, "Content-Type", wire.MediaTypeJSON)
}

// session logs the user in and returns both tokens as headers.
func (s *service) session(name, password string) []string {
	s.t.Helper()
	bearer := s.bearer()
	r := s.login(bearer, name, password)
	if r.status != http.StatusOK {
		s.t.Fatalf("the login of %s returned %d %s", name, r.status, r.body)
	}
	s.secrets = append(s.secrets, r.field("sessionToken"))
	return []string{"Authorization", bearer, wire.HeaderSessionToken, r.field("sessionToken")}
}

func (s *service) verify(tokens []string) reply {
	s.t.Helper()
	return s.do(sound, "GET", wire.PathVerify, "", tokens...)
}

func (s *service) reset(tokens []string, old string) reply {
	s.t.Helper()
	body, err := json.Marshal(wire.ResetPasswordRequest{OldPassword: old})
	s.must(err)
	return s.do(sound, "PUT", wire.PathResetPassword, string(body), append(tokens, "Content-Type", wire.MediaTypeJSON)...)
}

func (s *service) post(path string, body, answer any) error {
	return s.admin.Post(context.Background(), path, body, answer)
}

// expect fails the test if the code of the response is another one.
func expect(t testing.TB, what string, got reply, code string) {
	t.Helper()
	if got.code() != code {
		t.Errorf("%s returned %d %s, want %s", what, got.status, got.body, code)
	}
}
