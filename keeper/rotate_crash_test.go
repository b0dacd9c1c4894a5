package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// The test binary is a program that rotates when this is set (see TestMain). Its
// value is the step at which it kills itself, as kill -9 does, or "by others".
const killVariable = "KEEPER_TEST_KILL_AT"

const killedByOthers = "by others"

// rotateAndDie is that program. It prints each step when it begins.
func rotateAndDie() (exit int) {
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: os.Getenv(urlVariable), APIKey: latchtest.APIKey, APISecret: latchtest.APISecret,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	directory := os.Getenv(stateVariable)
	store, storeErr := credential.NewFile(credential.FileConfig{Path: filepath.Join(directory, "credential")})
	state, stateErr := keeper.NewFileState(filepath.Join(directory, "state"))
	k, err := keeper.New(keeper.Config{
		Upstream: client, State: state, Rotation: &keeper.Rotation{Store: store, Upstream: client},
		Log: slog.New(slog.DiscardHandler),
		OnEvent: func(e keeper.Event) {
			if e.Kind != keeper.EventRotating {
				return
			}
			fmt.Println(e.Step)
			if string(e.Step) == os.Getenv(killVariable) {
				if self, err := os.FindProcess(os.Getpid()); err == nil && self.Kill() == nil {
					select {} // until the signal is there
				}
			}
		},
	})
	if err = errors.Join(storeErr, stateErr, err); err == nil {
		k.Hasten()
		err = k.Rotate(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// crashRig is what a killed program leaves behind.
type crashRig struct {
	*testing.T
	service   *latchtest.Server
	directory string
	url       string
}

func newCrashRig(t *testing.T, front func(http.Handler) http.Handler) *crashRig {
	t.Helper()
	r := &crashRig{T: t, service: latchtest.NewServer(t), directory: t.TempDir()}
	r.url = r.service.URL
	if front != nil {
		target, err := url.Parse(r.service.URL)
		if err != nil {
			t.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite:  func(p *httputil.ProxyRequest) { p.SetURL(target) },
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		server := httptest.NewServer(front(proxy))
		t.Cleanup(server.Close)
		r.url = server.URL
	}
	if _, err := r.store().Save(t.Context(), credential.Credential{User: latchtest.User,
		Password: latchtest.Password}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *crashRig) store() *credential.File {
	store, err := credential.NewFile(credential.FileConfig{Path: filepath.Join(r.directory, "credential")})
	if err != nil {
		r.Fatal(err)
	}
	return store
}

// run runs the program until it ends, and returns the steps that it began. It is
// killed at the step, or when kill says so.
func (r *crashRig) run(step string, kill <-chan time.Time) (steps []string) {
	r.Helper()
	program := exec.CommandContext(r.Context(), os.Args[0])
	// The race detector has every process wait a second at its end.
	program.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", killVariable+"="+step, urlVariable+"="+r.url,
		stateVariable+"="+r.directory)
	var out, errors bytes.Buffer
	program.Stdout, program.Stderr = &out, &errors
	if err := program.Start(); err != nil {
		r.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = program.Wait()
		close(ended)
	}()
	select {
	case <-kill:
		_ = program.Process.Kill()
		<-ended
	case <-ended:
	}
	if step != killedByOthers && !strings.Contains(out.String(), step) {
		r.Fatalf("the program did not come to %q; it began %q and said %s", step, out.String(), errors.String())
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

// settle is the next start of a program. It returns the state of the rotation then.
func (r *crashRig) settle() keeper.RotationState {
	r.Helper()
	state, err := keeper.NewFileState(filepath.Join(r.directory, "state"))
	if err != nil {
		r.Fatalf("the state cannot be used: %v", err)
	}
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: r.service.URL, APIKey: latchtest.APIKey, APISecret: latchtest.APISecret,
	})
	if err != nil {
		r.Fatal(err)
	}
	// To the keeper it is another upstream when it has another URL.
	k := newKeeper(r.T, nil, keeper.Config{Upstream: renamed{client, r.url + "/"}, State: state, Credential: r.store()})
	k.Hasten()
	err = k.ResumeRotation(r.Context())
	status, statusErr := k.Status(r.Context())
	if statusErr != nil {
		r.Fatalf("status: %v (after %v)", statusErr, err)
	}
	return status.Rotation
}

// renamed is an Upstream behind a front that need not be there any more.
type renamed struct {
	*latchkey.Client
	url string
}

func (u renamed) BaseURL() string { return u.url }

// judge wants that nothing is lost that need not be.
func (r *crashRig) judge(steps []string, state keeper.RotationState) {
	r.Helper()
	c, err := r.store().Load(r.Context())
	if err != nil {
		r.Fatalf("the store cannot be read: %v", err)
	}
	last := keeper.Step(steps[len(steps)-1])
	failures, locked := r.service.Strikes(latchtest.User)
	if resets := r.service.Count(latchtest.EventReset); resets > 1 || failures > 1 || locked {
		r.Errorf("killed at %q: %d resets, %d strikes, locked %v", last, resets, failures, locked)
	}
	if state == keeper.RotationLost {
		// Before the answer was in the state, and only if there was one.
		if last != keeper.StepReset && last != keeper.StepResponse || r.service.Count(latchtest.EventReset) != 1 {
			r.Errorf("killed at %q: the password is lost", last)
		}
		return
	}
	if state != keeper.RotationNone || failures != 0 {
		r.Errorf("killed at %q: the rotation is %q, %d strikes", last, state, failures)
	}
	if _, err := r.service.Client.LogIn(r.Context(), latchtest.User, c.Password); err != nil {
		r.Errorf("killed at %q: the stored password does not log in: %v", last, err)
	}
}

func TestACrashAtEachStepOfARotationIsSettledByTheNextStart(t *testing.T) {
	for _, step := range []keeper.Step{
		keeper.StepSession, keeper.StepProveOld, keeper.StepCheckStore,
		keeper.StepRecord, keeper.StepReset, keeper.StepResponse,
		keeper.StepStore, keeper.StepProveNew,
	} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			r := newCrashRig(t, nil)
			if step == keeper.StepProveOld {
				r.proveLess()
			}
			r.judge(r.run(string(step), nil), r.settle())
		})
	}
}

// The program that finds an unfinished rotation is killed, too.
func TestACrashWhileARotationIsSettledIsSettledByTheNextStart(t *testing.T) {
	for _, steps := range [][2]keeper.Step{
		{keeper.StepReset, keeper.StepProbe},
		{keeper.StepStore, keeper.StepStore},
		{keeper.StepStore, keeper.StepProveNew},
		{keeper.StepProveNew, keeper.StepProveNew},
	} {
		t.Run(string(steps[0]+", "+steps[1]), func(t *testing.T) {
			t.Parallel()
			r := newCrashRig(t, nil)
			r.run(string(steps[0]), nil)
			r.judge(r.run(string(steps[1]), nil), r.settle())
		})
	}
}

// proveLess leaves a session in the state that another password opened.
func (r *crashRig) proveLess() {
	r.Helper()
	r.service.SetPassword(latchtest.User, "another")
	c, err := r.store().Load(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	c.Password = "another"
	if c.Version, err = r.store().Save(r.Context(), c); err != nil {
		r.Fatal(err)
	}
	k := newKeeper(r.T, nil, keeper.Config{Upstream: renamed{r.service.Client, r.url + "/"}, State: r.state(),
		Credential: r.store()})
	if _, err := k.Tokens(r.Context()); err != nil {
		r.Fatal(err)
	}
	_, newPassword, err := r.resetByHand(k)
	if err != nil {
		r.Fatal(err)
	}
	c.Password = newPassword
	if _, err = r.store().Save(r.Context(), c); err != nil {
		r.Fatal(err)
	}
}

func (r *crashRig) state() *keeper.FileState {
	r.Helper()
	state, err := keeper.NewFileState(filepath.Join(r.directory, "state"))
	if err != nil {
		r.Fatal(err)
	}
	return state
}

// resetByHand changes the password without the keeper's knowledge, in its session.
func (r *crashRig) resetByHand(k *keeper.Keeper) (keeper.Tokens, latchkey.Secret, error) {
	tokens, err := k.Tokens(r.Context())
	if err != nil {
		return tokens, "", err
	}
	password, err := r.service.Client.ResetPassword(r.Context(), tokens.Session, "another", latchkey.ResetOptions{})
	return tokens, password, err
}

func trials() int {
	if os.Getenv("LATCHKEY_SOAK") == "1" {
		return 1_200
	}
	return 24
}

func TestACrashAtAnyMomentOfARotationIsSettledByTheNextStart(t *testing.T) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	outcomes := map[string]int{}
	first := newCrashRig(t, nil)
	begun := time.Now()
	first.run(killedByOthers, nil)
	whole := time.Since(begun) // of a rotation that is not killed
	for trial := range trials() {
		r := newCrashRig(t, nil)
		delay := time.Duration(random.Int64N(int64(whole)))
		steps := r.run(killedByOthers, time.After(delay))
		state := r.settle()
		r.judge(steps, state)
		outcomes[fmt.Sprintf("%s → %q", steps[len(steps)-1], state)]++
		if t.Failed() {
			t.Fatalf("trial %d, killed after %v", trial, delay)
		}
	}
	for outcome, n := range outcomes {
		t.Logf("%5d × %s", n, outcome)
	}
}

// The network is cut instead of the program.
func TestARotationWhoseNetworkIsCutIsSettled(t *testing.T) {
	isReset := func(r *http.Request) bool { return r.Method == http.MethodPut }
	answer := func(next http.Handler, r *http.Request) []byte {
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		return recorder.Body.Bytes()
	}
	cut := func(w http.ResponseWriter, status string, body []byte) {
		connection, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if status != "" {
			_, _ = fmt.Fprintf(buffer, "HTTP/1.1 %s\r\nContent-Length: 100\r\n\r\n%s", status, body)
			_ = buffer.Flush()
		}
		_ = connection.Close()
	}
	for name, c := range map[string]struct {
		front func(next http.Handler, w http.ResponseWriter, r *http.Request)
		state keeper.RotationState
		reset int
	}{
		"before it": {func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { cut(w, "", nil) },
			keeper.RotationNone, 0},
		"before the answer": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			answer(next, r)
			cut(w, "", nil)
		}, keeper.RotationLost, 1},
		"within the answer": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			cut(w, "200 OK", answer(next, r)[:20])
		}, keeper.RotationLost, 1},
		"right behind the password": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			cut(w, "200 OK", bytes.TrimSpace(answer(next, r)))
		}, keeper.RotationNone, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newCrashRig(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if isReset(req) {
						c.front(next, w, req)
					} else {
						next.ServeHTTP(w, req)
					}
				})
			})
			r.run(killedByOthers, nil)
			state := r.settle()
			failures, _ := r.service.Strikes(latchtest.User)
			if resets := r.service.Count(latchtest.EventReset); state != c.state || resets != c.reset || failures > 1 {
				t.Errorf("the rotation is %q after %d resets and %d strikes, want %q after %d", state, resets, failures, c.state,
					c.reset)
			}
			if state == keeper.RotationNone {
				stored, err := r.store().Load(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.service.Client.LogIn(t.Context(), latchtest.User, stored.Password); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
