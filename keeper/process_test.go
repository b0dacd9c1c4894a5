package keeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// The test binary is one of several programs on a shared state file when these
// are set (see TestMain).
const (
	urlVariable   = "KEEPER_TEST_URL"
	stateVariable = "KEEPER_TEST_STATE"
	wordVariable  = "KEEPER_TEST_PASSWORD"
)

// report is what such a program prints in the end.
type report struct {
	Before  int // strikes that were on record when it began
	OK      int
	Latched int
	Errors  []string
	Strikes int // that are on record in the end
}

const requestsEach = 12

// runProgram is that program.
func runProgram() (exit int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	k, err := childKeeper()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var r report
	if r.Before, err = strikesOf(ctx, k); err != nil {
		r.Errors = append(r.Errors, err.Error())
	}
	client := k.HTTPClient()
	var mu sync.Mutex
	var callers sync.WaitGroup
	for range requestsEach {
		callers.Go(func() {
			err := childRequest(ctx, client)
			mu.Lock()
			defer mu.Unlock()
			var latched *keeper.LatchedError
			switch {
			case err == nil:
				r.OK++
			case errors.As(err, &latched):
				r.Latched++
			default:
				r.Errors = append(r.Errors, err.Error())
			}
		})
	}
	callers.Wait()
	if r.Strikes, err = strikesOf(ctx, k); err != nil {
		r.Errors = append(r.Errors, err.Error())
	}
	if err := k.Close(ctx); err != nil {
		r.Errors = append(r.Errors, err.Error())
	}
	if json.NewEncoder(os.Stdout).Encode(r) != nil {
		return 1
	}
	return 0
}

func childKeeper() (*keeper.Keeper, error) {
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: os.Getenv(urlVariable), APIKey: latchtest.APIKey, APISecret: latchtest.APISecret,
	})
	if err != nil {
		return nil, err
	}
	state, err := keeper.NewFileState(os.Getenv(stateVariable))
	if err != nil {
		return nil, err
	}
	k, err := keeper.New(keeper.Config{
		Upstream: client, State: state, Log: slog.New(slog.DiscardHandler),
		Credential: keeper.Static(latchtest.User, latchkey.Secret(os.Getenv(wordVariable))),
	})
	if err == nil {
		k.Hasten()
	}
	return k, err
}

func childRequest(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv(urlVariable)+"/api/m2m/v1/devices", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return err
}

func strikesOf(ctx context.Context, k *keeper.Keeper) (int, error) {
	status, err := k.Status(ctx)
	return status.Strikes, err
}

// counter stands before the service and counts the logins that reach it.
type counter struct {
	URL       string
	logIns    atomic.Int64
	underWay  atomic.Int64
	most      atomic.Int64 // under way at once
	intercept atomic.Pointer[interception]
}

// interception is what befalls the next login.
type interception struct {
	pass    bool          // whether the service executes it
	arrived chan struct{} // closed when the login has arrived; there is no response then
}

func newCounter(t *testing.T, service *latchtest.Server) *counter {
	t.Helper()
	target, err := url.Parse(service.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	f := &counter{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathLogIn {
			proxy.ServeHTTP(w, r)
			return
		}
		f.logIns.Add(1)
		now := f.underWay.Add(1)
		defer f.underWay.Add(-1)
		for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
		}
		caught := f.intercept.Swap(nil)
		if caught == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		if caught.pass {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		} else {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		close(caught.arrived)
		<-r.Context().Done() // its client is killed
	}))
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// child is a started program.
type child struct {
	*exec.Cmd

	out, err bytes.Buffer
}

func startChild(t *testing.T, f *counter, state, password string) *child {
	t.Helper()
	c := &child{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	c.Env = append(os.Environ(), urlVariable+"="+f.URL, stateVariable+"="+state, wordVariable+"="+password)
	c.Stdout, c.Stderr = &c.out, &c.err
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// reportOf waits for c.
func (c *child) reportOf(t *testing.T) (r report) {
	t.Helper()
	if err := c.Wait(); err != nil {
		t.Fatalf("a program failed: %v\n%s", err, c.err.String())
	}
	if err := json.Unmarshal(c.out.Bytes(), &r); err != nil {
		t.Fatalf("a program reported %q: %v", c.out.String(), err)
	}
	return r
}

const programs = 8

// runPrograms runs eight programs at once.
func runPrograms(t *testing.T, f *counter, state, password string) (reports []report) {
	t.Helper()
	var started []*child
	for range programs {
		started = append(started, startChild(t, f, state, password))
	}
	for _, c := range started {
		reports = append(reports, c.reportOf(t))
	}
	return reports
}

func TestEightProgramsLogInOnce(t *testing.T) {
	service := latchtest.NewServer(t)
	f, state := newCounter(t, service), filepath.Join(t.TempDir(), "state")
	for range 3 { // the later ones find the session of the first
		for _, r := range runPrograms(t, f, state, latchtest.Password.Reveal()) {
			if r.OK != requestsEach {
				t.Errorf("a program reports %+v, want %d requests that succeed", r, requestsEach)
			}
		}
	}
	if n, sent := service.Count(latchtest.EventLogIn), f.logIns.Load(); n != 1 || sent != 1 {
		t.Errorf("%d logins for 24 programs, %d of them sent, want one", n, sent)
	}
	service.ExpireSessions(latchtest.User)
	for _, r := range runPrograms(t, f, state, latchtest.Password.Reveal()) {
		if r.OK != requestsEach {
			t.Errorf("after the session ended, a program reports %+v", r)
		}
	}
	if n := service.Count(latchtest.EventLogIn); n != 2 || f.most.Load() != 1 {
		t.Errorf("%d logins, %d of them at once, want two, one by one", n, f.most.Load())
	}
}

func TestEightProgramsSpendOneStrikeOnAWrongPassword(t *testing.T) {
	service := latchtest.NewServer(t)
	f, state := newCounter(t, service), filepath.Join(t.TempDir(), "state")
	for _, r := range runPrograms(t, f, state, "wrong") {
		if r.Latched != requestsEach || r.Strikes != 1 {
			t.Errorf("a program reports %+v, want every request latched, and one strike", r)
		}
	}
	if failures, _ := service.Strikes(latchtest.User); failures != 1 || f.logIns.Load() != 1 {
		t.Errorf("%d strikes by %d logins, want one", failures, f.logIns.Load())
	}
}

// A program is killed while it logs in, before or after the service executed the
// login, while seven others wait for its lease.
func TestAProgramKilledAtItsLoginCostsOneStrikeAndBlocksNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		pass     bool
		password string
		logIns   int64 // sent, with that of the killed one
		spent    int   // strikes at the service, in the end
	}{
		"the login never arrived":     {false, latchtest.Password.Reveal(), 2, 0},
		"the login happened":          {true, latchtest.Password.Reveal(), 2, 0},
		"the password was wrong":      {true, "wrong", 2, 2},
		"the wrong one never arrived": {false, "wrong", 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			service := latchtest.NewServer(t)
			f, state := newCounter(t, service), filepath.Join(t.TempDir(), "state")
			caught := &interception{pass: c.pass, arrived: make(chan struct{})}
			f.intercept.Store(caught)
			victim := startChild(t, f, state, c.password)
			select {
			case <-caught.arrived:
			case <-time.After(time.Minute):
				t.Fatal("no login arrived")
			}
			var others []*child
			for range programs - 1 {
				others = append(others, startChild(t, f, state, c.password))
			}
			if err := victim.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = victim.Wait()
			for _, other := range others {
				r := other.reportOf(t)
				right := c.password != "wrong"
				switch {
				case right && (r.OK != requestsEach || r.Strikes != 0):
					t.Errorf("a survivor reports %+v, want every request to succeed", r)
				case !right && (r.Latched != requestsEach || r.Strikes != 2):
					t.Errorf("a survivor reports %+v, want every request latched at two strikes", r)
				case r.Before > 2:
					t.Errorf("a survivor found %d strikes", r.Before)
				}
			}
			if failures, _ := service.Strikes(latchtest.User); failures != c.spent || f.logIns.Load() != c.logIns {
				t.Errorf("%d strikes were spent by %d logins, want %d by %d", failures, f.logIns.Load(), c.spent, c.logIns)
			}
		})
	}
}
