package keyring_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	oskeyring "github.com/zalando/go-keyring"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/credentialtest"
	"github.com/latchkey/latchkey/credential/keyring"
)

func newStore(t *testing.T, name, locks string) credential.Store {
	t.Helper()
	store, err := keyring.New(keyring.Config{Name: name, LockDirectory: locks})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// The library's keyring in memory replaces that of the operating system.
func TestKeyringConforms(t *testing.T) {
	oskeyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "a mock needs none")
	credentialtest.RunStore(t, func(t *testing.T) credentialtest.Place[credential.Store] {
		name, locks := t.Name(), t.TempDir()
		return credentialtest.Place[credential.Store]{
			Open: func() credential.Store { return newStore(t, name, locks) },
			Put: func(user string, password latchkey.Secret) {
				content, _ := json.Marshal(map[string]string{"username": user, "password": password.Reveal()})
				if err := oskeyring.Set("latchkey", name, string(content)); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestWithoutASessionBusLoadFailsAtOnce(t *testing.T) {
	if _, err := exec.LookPath("security"); err == nil {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", "") // macOS needs no session bus: the mock returns the error
		oskeyring.MockInitWithError(errors.New("no session bus"))
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	begun := time.Now()
	_, err := newStore(t, "zoe", t.TempDir()).Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no session bus") || errors.Is(err, credential.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if waited := time.Since(begun); waited > time.Second {
		t.Errorf("it took %v", waited)
	}
}

func TestADamagedEntryIsNeitherLoadedNorReplaced(t *testing.T) {
	oskeyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "a mock needs none")
	if err := oskeyring.Set("latchkey", "zoe", "opensesame"); err != nil {
		t.Fatal(err)
	}
	store := newStore(t, "zoe", t.TempDir())
	_, loadErr := store.Load(t.Context())
	_, saveErr := store.Save(t.Context(), credential.Credential{User: "zoe", Password: "new"})
	for _, err := range []error{loadErr, saveErr} {
		if err == nil || errors.Is(err, credential.ErrNotFound) || strings.Contains(err.Error(), "opensesame") {
			t.Errorf("error %v", err)
		}
	}
	if text, err := oskeyring.Get("latchkey", "zoe"); err != nil || text != "opensesame" {
		t.Error("the entry was changed")
	}
}

func TestTheNameIsRequired(t *testing.T) {
	if _, err := keyring.New(keyring.Config{}); err == nil {
		t.Error("an empty name was accepted")
	}
}
