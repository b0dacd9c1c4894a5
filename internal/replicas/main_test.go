package replicas_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
)

// asLatchkey is the environment variable that makes the test binary run as `latchkey`.
const asLatchkey = "REPLICAS_TEST_IS_LATCHKEY"

func TestMain(m *testing.M) {
	if os.Getenv(asLatchkey) != "" {
		ctx, stop := context.WithCancel(context.Background())
		go func() { // ends when the tests end, even if they are killed
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
		os.Exit(cli.Run(ctx, cli.IO{In: strings.NewReader(""), Out: os.Stdout, Err: os.Stderr}, os.Args[1:]...))
	}
	goleak.VerifyTestMain(m, enginetest.Leaks()...)
}

// soak is whether tests run at full length, and choose returns a value that depends on it.
var soak = os.Getenv("LATCHKEY_SOAK") != ""

func choose[T any](short, full T) T {
	if soak {
		return full
	}
	return short
}

// patience is the maximum time that tests wait for something. Only a failing test waits that
// long.
const patience = 30 * time.Second

// pause waits for d, as clients do.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// await calls holds until it returns no error.
func await(t testing.TB, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		pause(5 * time.Millisecond)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setup is the configuration of a fleet.
type setup struct {
	database string // a postgres:// URL
	listen   string // the URL for notifications, or "": the same
	own      string // that of the last replica, or "": the same
	upstream string // the URL of the upstream of the last replica, or "": it is not a gateway
	replicas int
}

// fleet is several replicas of a service, each in a process.
type fleet struct {
	t        testing.TB
	replicas []*replica
	http     *http.Client
	bearer   string
	begin    time.Time
}

// startFleet starts replicas that end with the test.
func startFleet(t testing.TB, s setup) *fleet {
	t.Helper()
	if s.replicas == 0 {
		s.replicas = 3
	}
	transport := &http.Transport{MaxIdleConns: 400, MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Minute}
	f := &fleet{t: t, http: &http.Client{Transport: transport, Timeout: 20 * time.Second}, begin: time.Now()}
	t.Cleanup(transport.CloseIdleConnections)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	keyFile := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(keyFile, key, 0o600))
	for i := range s.replicas {
		r := &replica{t: t, number: i, data: filepath.Join(t.TempDir(), "data"), log: &testsupport.Log{},
			environment: map[string]string{"LATCHKEY_DATABASE": s.database}}
		r.arguments = []string{"--data", r.data, "--key-file", keyFile, "--listen", "127.0.0.1:0",
			"--hash-memory", "1", "--hash-passes", "1"}
		if s.listen != "" {
			r.environment["LATCHKEY_DATABASE_LISTEN"] = s.listen
		}
		if s.own != "" && i == s.replicas-1 {
			r.environment["LATCHKEY_DATABASE_LISTEN"] = s.own
		}
		if s.upstream != "" && i == s.replicas-1 {
			r.arguments = append(r.arguments, "--upstream", s.upstream, "--upstream-api-key", "demo-key")
			maps.Copy(r.environment, map[string]string{"LATCHKEY_UPSTREAM_API_SECRET": "demo-secret",
				"LATCHKEY_UPSTREAM_USER": "zbeeblebrox", "LATCHKEY_UPSTREAM_PASSWORD": "IMgr8"})
		}
		f.replicas = append(f.replicas, r)
	}
	var starting sync.WaitGroup
	for _, r := range f.replicas {
		starting.Go(func() {
			if err := r.start(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	t.Cleanup(f.stop)
	if t.Failed() {
		t.FailNow()
	}
	var client admin.Credentials
	must(t, f.admin(0, admin.PathClientAdd, admin.Label{Label: "tests"}, &client))
	f.bearer = f.accessToken(client)
	return f
}

// stop kills all processes and checks their logs.
func (f *fleet) stop() {
	f.http.CloseIdleConnections()
	for _, r := range f.replicas {
		r.kill()
		for _, defect := range []string{"DATA RACE", "panic:", "goroutine "} {
			if text := r.log.String(); strings.Contains(text, defect) {
				f.t.Errorf("replica %d logged:\n%s", r.number, text[max(0, strings.Index(text, defect)-2000):])
			}
		}
	}
	if f.t.Failed() {
		for _, r := range f.replicas {
			text := r.log.String()
			f.t.Logf("the last log of replica %d:\n%s", r.number, text[max(0, len(text)-3000):])
		}
	}
}

// accessToken returns an access token that every replica accepts.
func (f *fleet) accessToken(client admin.Credentials) string {
	f.t.Helper()
	token := ""
	await(f.t, "an access token", func() error {
		form := strings.NewReader("grant_type=client_credentials")
		request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.replicas[0].url()+wire.PathToken, form)
		if err != nil {
			return err
		}
		request.SetBasicAuth(client.Key, client.Secret)
		request.Header.Set("Content-Type", wire.MediaTypeForm)
		resp, err := f.http.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		var result wire.AccessToken
		err = decode(resp.Body, &result)
		token = result.AccessToken
		if err == nil && token == "" {
			err = errors.New(resp.Status)
		}
		return err
	})
	for i := range f.replicas { // other replicas may learn of a new client a moment later
		await(f.t, "every replica knows the client", func() error {
			if a := f.check(i, "00000000-0000-4000-8000-000000000000", token); a.outcome != expired {
				return a
			}
			return nil
		})
	}
	return token
}

// admin sends a request to the admin API until it gets a response.
func (f *fleet) admin(replica int, path string, body, result any) error {
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := admin.NewClient(f.replicas[replica].socket()).Post(ctx, path, body, result)
		cancel()
		var refused *admin.Error
		permanent := errors.As(err, &refused) && refused.Code != admin.CodeUnavailable
		if err == nil || permanent || time.Now().After(deadline) {
			return err
		}
		pause(50 * time.Millisecond)
	}
}

// addUser adds a user. The user may exist already, because a response may have been lost.
func (f *fleet) addUser(name, password string) {
	f.t.Helper()
	err := f.admin(0, admin.PathUserAdd, admin.Password{Name: name, Password: password}, &admin.Password{})
	var refused *admin.Error
	if errors.As(err, &refused) && refused.Code == admin.CodeExists {
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// trail returns the number of events of a kind that the audit trail has for a user.
func (f *fleet) trail(user, kind string) int {
	f.t.Helper()
	n, after := 0, int64(0)
	for {
		var page admin.Events
		query := url.Values{"user": {user}, "after": {fmt.Sprint(after)}, "limit": {"1000"}}
		client := admin.NewClient(f.replicas[0].socket())
		must(f.t, client.Get(f.t.Context(), admin.PathAudit, query, &page))
		for _, e := range page.Events {
			if e.Kind == kind {
				n++
			}
			after = e.Seq
		}
		if len(page.Events) == 0 {
			return n
		}
	}
}

// metric returns a metric of a replica.
func (f *fleet) metric(replica int, name string) float64 {
	f.t.Helper()
	response, err := f.http.Get(f.replicas[replica].url() + wire.PathMetrics)
	must(f.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(f.t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			must(f.t, err)
			return number
		}
	}
	f.t.Fatalf("replica %d has no metric %s", replica, name)
	return 0
}

// hits returns the number of sessions that a replica has found in its cache.
func (f *fleet) hits(replica int) float64 {
	f.t.Helper()
	return f.metric(replica, `latchkey_session_lookups_total{in="cache"}`)
}

// trusts reports whether a replica trusts its cache.
func (f *fleet) trusts(replica int) bool {
	f.t.Helper()
	return f.metric(replica, "latchkey_session_cache_trusted") == 1
}

// users returns the names of all accounts.
func (f *fleet) users() map[string]bool {
	f.t.Helper()
	names, after := map[string]bool{}, ""
	for {
		var page admin.Users
		client, query := admin.NewClient(f.replicas[0].socket()), url.Values{"after": {after}, "limit": {"1000"}}
		must(f.t, client.Get(f.t.Context(), admin.PathUsers, query, &page))
		for _, u := range page.Users {
			names[u.Name] = true
		}
		if after = page.Next; after == "" {
			return names
		}
	}
}
