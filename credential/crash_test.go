package credential_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// If pathVariable is set, the test binary is a program that saves to that path (see
// TestMain): in a loop if stepVariable is untilKilled, or else once. If stepVariable is a
// step of Save, the program kills itself before that step.
const (
	pathVariable = "CREDENTIAL_TEST_PATH"
	stepVariable = "CREDENTIAL_TEST_DIE_AT"
)

const untilKilled = "until killed"

func TestMain(m *testing.M) {
	if path := os.Getenv(pathVariable); path != "" {
		os.Exit(saveAndDie(path, os.Getenv(stepVariable)))
	}
	os.Exit(m.Run())
}

func saveAndDie(path, dieAt string) int {
	store, err := credential.NewFile(credential.FileConfig{Path: path})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	store.BeforeStep(func(step string) error {
		if step == dieAt {
			if self, err := os.FindProcess(os.Getpid()); err == nil && self.Kill() == nil {
				select {} // until the signal arrives
			}
		}
		return nil
	})
	for {
		c, err := store.Load(context.Background())
		if err == nil {
			c.Password = latchkey.Secret("password of " + time.Now().Format(time.RFC3339Nano))
			_, err = store.Save(context.Background(), c)
		}
		switch {
		case errors.Is(err, credential.ErrConflict):
			return 3
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		case dieAt != untilKilled:
			return 0
		}
	}
}

// saver starts the program that saves.
func saver(t *testing.T, path, dieAt string) *exec.Cmd {
	t.Helper()
	program := exec.CommandContext(t.Context(), os.Args[0])
	program.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", pathVariable+"="+path, stepVariable+"="+dieAt)
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	return program
}

// checkWhole checks that the store holds a credential that was saved, and can be saved to.
// It returns the password.
func checkWhole(t *testing.T, path string) latchkey.Secret {
	t.Helper()
	store := newFile(t, credential.FileConfig{Path: path})
	c, err := store.Load(t.Context())
	if err != nil || c.User != "zoe" || !strings.HasPrefix(c.Password.Reveal(), "password of ") {
		t.Fatalf("the store holds user %q, error %v", c.User, err)
	}
	if _, err := store.Save(t.Context(), c); err != nil {
		t.Fatalf("the store cannot be saved to: %v", err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 2 { // the file and its lock
		t.Errorf("there are %q, error %v", left, err)
	}
	return c.Password
}

const firstPassword = latchkey.Secret("password of the beginning")

func newPlace(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credential")
	first := credential.Credential{User: "zoe", Password: firstPassword}
	if _, err := newFile(t, credential.FileConfig{Path: path}).Save(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCrashAtEachStepOfASaveLeavesAWholeCredential(t *testing.T) {
	for step, isNew := range map[string]bool{
		"create": false, "write": false, "sync": false, "rename": false, "sync directory": true, "done": true,
	} {
		t.Run(step, func(t *testing.T) {
			path := newPlace(t)
			program := saver(t, path, step)
			if err := program.Wait(); err == nil || program.ProcessState.ExitCode() != -1 {
				t.Fatalf("the program was not killed: %v", err)
			}
			if got := checkWhole(t, path); got.Equal(firstPassword) == isNew {
				t.Errorf("the new credential is there: %v, want %v", !isNew, isNew)
			}
		})
	}
}

func TestCrashAtAnyTimeDuringASaveLeavesAWholeCredential(t *testing.T) {
	trials := 20
	if os.Getenv("LATCHKEY_SOAK") == "1" {
		trials = 1000
	}
	path := newPlace(t)
	for range trials {
		program := saver(t, path, untilKilled)
		timer := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = program.Process.Kill() })
		_ = program.Wait()
		timer.Stop()
		checkWhole(t, path)
	}
}

// Of processes that save the same version, one succeeds.
func TestConcurrentProcessesSaveOneByOne(t *testing.T) {
	path := newPlace(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	ends := map[int]int{}
	for range 8 {
		program := saver(t, path, "")
		all.Go(func() {
			_ = program.Wait()
			mu.Lock()
			defer mu.Unlock()
			ends[program.ProcessState.ExitCode()]++
		})
	}
	all.Wait()
	if ends[0] == 0 || ends[0]+ends[3] != 8 {
		t.Errorf("the exit codes are %v, want some successes, and conflicts otherwise", ends)
	}
	checkWhole(t, path)
}

func TestAFailedSaveKeepsTheCredential(t *testing.T) {
	const unchanged = "nothing was saved, and the old credential is kept"
	for _, step := range []string{"create", "write", "sync", "rename"} {
		t.Run(step, func(t *testing.T) {
			path := newPlace(t)
			store := newFile(t, credential.FileConfig{Path: path})
			c, err := store.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			store.BeforeStep(func(now string) error {
				if now == step {
					return errors.New("no space left on device")
				}
				return nil
			})
			c.Password = "password that is not saved"
			if _, err := store.Save(t.Context(), c); err == nil || !strings.Contains(err.Error(), unchanged) {
				t.Errorf("error %v", err)
			}
			if got := checkWhole(t, path); !got.Equal(firstPassword) {
				t.Error("the credential was changed")
			}
		})
	}
	path := newPlace(t) // a directory blocks the name of the temporary file
	if err := os.MkdirAll(filepath.Join(path+".tmp", "blocked"), 0o700); err != nil {
		t.Fatal(err)
	}
	store := newFile(t, credential.FileConfig{Path: path})
	c, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), c); err == nil || !strings.Contains(err.Error(), unchanged) {
		t.Errorf("error %v", err)
	}
}
