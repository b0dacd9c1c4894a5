package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// crashPath makes the test binary a process that is to be killed: it works on
// the database of that path until then, and says each step that was acknowledged.
const crashPath = "LATCHKEY_TEST_CRASH_PATH"

// TestCrashVictim is that process; without the variable it has nothing to prove.
func TestCrashVictim(t *testing.T) {
	path := os.Getenv(crashPath)
	if path == "" {
		return
	}
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	base := time.Now().Nanosecond() << 16
	ctx := context.Background()
	var out sync.Mutex
	say := func(word string, i int) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("ack %s %d\n", word, i)
	}
	for worker := range 8 {
		go func() {
			for i := base + worker; ; i += 8 {
				if db.CreateSession(ctx, storetest.NewSession(i, "u", start)) != nil {
					return
				}
				say("created", i)
				if i%2 == 0 {
					say("ending", i)
					end := authority.End{At: start, Reason: authority.ReasonLogout}
					if _, err := db.EndSession(ctx, storetest.Key(i), end); err != nil {
						return
					}
					say("ended", i)
				}
				user, err := db.UpdateUser(ctx, "u", func(u *authority.User) error { u.PasswordVersion++; return nil })
				if err == nil {
					say("version", int(user.PasswordVersion))
				}
			}
		}()
	}
	select {}
}

// TestCrashKill9 kills such processes in a loop and looks at what they left.
func TestCrashKill9(t *testing.T) {
	t.Parallel()
	rounds := 8
	if os.Getenv("LATCHKEY_SOAK") != "" {
		rounds = 500
	}
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db, closeDB := open(t, path)
	if err := db.CreateUser(t.Context(), authority.User{Name: "u", CreatedAt: start}); err != nil {
		t.Fatal(err)
	}
	closeDB()
	state, version, steps := map[int]string{}, 0, 0
	for round := range rounds {
		steps += crashOnce(t, path, state, &version)
		db, closeDB := open(t, path)
		for i, word := range state {
			_, err := db.UseSession(t.Context(), storetest.Key(i), start.Add(storetest.Idle-time.Microsecond), storetest.Idle)
			switch alive := err == nil; {
			case word == "created" && !alive:
				t.Fatalf("round %d: session %d was acknowledged and is gone: %v", round, i, err)
			case word == "ended" && alive:
				t.Fatalf("round %d: session %d was ended and lives again", round, i)
			case word == "ending": // killed before the answer: either is right
				delete(state, i)
			}
		}
		user, err := db.User(t.Context(), "u")
		if err != nil || int(user.PasswordVersion) < version {
			t.Fatalf("round %d: the user is at version %d, acknowledged was %d (%v)", round, user.PasswordVersion, version, err)
		}
		closeDB()
	}
	if steps < rounds*20 {
		t.Errorf("only %d steps were acknowledged in %d rounds; the test proves too little", steps, rounds)
	}
}

// crashOnce runs a process, kills it at a random step, and notes what it said.
func crashOnce(t *testing.T, path string, state map[int]string, version *int) (steps int) {
	t.Helper()
	victim := exec.Command(os.Args[0], "-test.run", "^TestCrashVictim$")
	victim.Env = append(os.Environ(), crashPath+"="+path)
	output, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	killAt := 30 + rand.IntN(600)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		var word string
		var i int
		if n, _ := fmt.Sscanf(strings.TrimSpace(lines.Text()), "ack %s %d", &word, &i); n != 2 {
			continue
		}
		if word == "version" {
			*version = max(*version, i)
		} else {
			state[i] = word
		}
		if steps++; steps == killAt {
			if err := victim.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := victim.Wait(); err == nil || steps < killAt {
		t.Fatalf("the process ended by itself after %d steps: %v", steps, err)
	}
	return steps
}
