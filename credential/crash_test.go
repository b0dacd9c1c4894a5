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

// The test binary is a program that saves when these are set (see TestMain): once
// and dying at a step, or "until killed", or once with no step, beside others.
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
				select {} // until the signal is there
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

// saver starts the program.
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

// whole wants that the store holds a credential that somebody saved, and can be
// saved to.
func whole(t *testing.T, path string) latchkey.Secret {
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
	if _, err := newFile(t, credential.FileConfig{Path: path}).Save(t.Context(), credential.Credential{User: "zoe", Password: firstPassword}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACrashAtEachStepOfASaveLeavesTheOldOrTheNewCredential(t *testing.T) {
	for step, isNew := range map[string]bool{
		"create": false, "write": false, "sync": false, "rename": false, "sync directory": true, "done": true,
	} {
		t.Run(step, func(t *testing.T) {
			path := newPlace(t)
			program := saver(t, path, step)
			if err := program.Wait(); err == nil || program.ProcessState.ExitCode() != -1 {
				t.Fatalf("the program was not killed: %v", err)
			}
			if got := whole(t, path); got.Equal(firstPassword) == isNew {
				t.Errorf("the new credential is there: %v, want %v", !isNew, isNew)
			}
		})
	}
}

func TestACrashAtAnyMomentOfASaveLeavesTheOldOrTheNewCredential(t *testing.T) {
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
		whole(t, path)
	}
}

// Of programs that save the version that all of them have loaded, one succeeds.
func TestManyProgramsSaveOneByOne(t *testing.T) {
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
		t.Errorf("the programs ended with %v, want some that saved and some that met a conflict", ends)
	}
	whole(t, path)
}

// A file that cannot be written, whoever asks: something else is in its place.
func TestASaveThatFailsKeepsWhatIsThere(t *testing.T) {
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
			c.Password = "password of nobody"
			if _, err := store.Save(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nothing was saved, and what was there is kept") {
				t.Errorf("error %v", err)
			}
			if got := whole(t, path); !got.Equal(firstPassword) {
				t.Error("the credential was changed")
			}
		})
	}
	path := newPlace(t)
	if err := os.MkdirAll(filepath.Join(path+".tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	store := newFile(t, credential.FileConfig{Path: path})
	c, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), c); err == nil || !strings.Contains(err.Error(), "what was there is kept") {
		t.Errorf("error %v", err)
	}
}
