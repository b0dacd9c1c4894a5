package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
)

// TestKilledHashProcess kills the process that hashes passwords with kill -9 while it hashes for
// three logins. Each of them succeeds or is refused as unavailable, no failed attempt is
// lost or invented, and later logins work. Then it kills the service: the process ends too.
func TestKilledHashProcess(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	v := startVictim(t, data, "--hash-memory", "8", "--hash-passes", "4", "--hash-slots", "3")
	config := addClient(t, data)
	config.BaseURL = v.url
	api, err := latchkey.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	const right, wrong = 2, 1
	var passwords []latchkey.Secret
	for i := range right + wrong {
		passwords = append(passwords, addAccount(t, data, fmt.Sprint("user", i)).password)
	}
	logIn := func(i int, password latchkey.Secret) error {
		_, err := api.LogIn(t.Context(), fmt.Sprint("user", i), password)
		return err
	}
	if err := logIn(0, passwords[0]); err != nil {
		t.Fatal(err)
	}
	victim := child(t, v.command.Process.Pid)
	if victim == 0 {
		t.Fatal("no process hashes passwords")
	}

	strikes := make([]int, right+wrong)
	var group sync.WaitGroup
	for i := range right + wrong {
		group.Go(func() {
			password := passwords[i]
			if i >= right {
				password = "a wrong one"
			}
			switch err := logIn(i, password); {
			case errors.Is(err, latchkey.ErrUnavailable):
			case i < right && err != nil:
				t.Errorf("user%d: a login with the right password: %v", i, err)
			case i >= right && !errors.Is(err, latchkey.ErrInvalidCredentials):
				t.Errorf("user%d: a login with a wrong password: %v", i, err)
			case i >= right:
				strikes[i] = 1
			}
		})
	}
	loggedIn := make(chan struct{})
	go func() {
		group.Wait()
		close(loggedIn)
	}()
	awaitUse(victim, loggedIn)
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	<-loggedIn
	out, _ := run(t, 0, "", "user", "list", "--json", "--data", data)
	var users []struct{ Failures int }
	if err := json.Unmarshal([]byte(out), &users); err != nil || len(users) != len(strikes) {
		t.Fatal(err, out)
	}
	for i, u := range users {
		if u.Failures != strikes[i] {
			t.Errorf("user%d has %d failed attempts, want %d", i, u.Failures, strikes[i])
		}
	}
	v.said.waitFor(t, `(process that hashes passwords ended|another cannot be started)`)
	for i := range passwords {
		if err := logIn(i, passwords[i]); err != nil {
			t.Errorf("user%d: a later login: %v", i, err)
		}
	}

	second := 0
	for limit := time.Now().Add(30 * time.Second); second == 0; { // it is started again after a pause
		if err := logIn(0, passwords[0]); err != nil || time.Now().After(limit) {
			t.Fatalf("no process is started again for a login (%v)", err)
		}
		second = child(t, v.command.Process.Pid)
	}
	if err := v.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(30 * time.Second); state(second) != nil; <-time.After(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the process runs 30 s after the service was killed")
		}
	}
}

// state returns the fields of a process from its state on, or nil if it ended.
func state(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, found := strings.Cut(string(text), ") ")
	if fields := strings.Fields(rest); err == nil && found && fields[0] != "Z" && fields[0] != "X" {
		return fields
	}
	return nil
}

// child returns the child of a process, or 0 if it has none.
func child(t *testing.T, parent int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := state(pid); fields != nil && fields[1] == strconv.Itoa(parent) {
			return pid
		}
	}
	return 0
}

// awaitUse waits until a process has used the processor for 10 ms, or until done.
func awaitUse(pid int, done <-chan struct{}) {
	used := func() int {
		ticks := 0 // of 10 ms
		if fields := state(pid); fields != nil {
			ticks, _ = strconv.Atoi(fields[11])
		}
		return ticks
	}
	for begin := used(); used() == begin; {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
