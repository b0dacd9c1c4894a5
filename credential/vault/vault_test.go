package vault_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/credentialtest"
	"github.com/latchkey/latchkey/credential/vault"
)

func newStore(t *testing.T, f *fake, change func(*vault.Config)) *vault.Store {
	t.Helper()
	config := vault.Config{Address: f.URL, Path: "thingspace/zoe", Login: vault.Token("root")}
	if change != nil {
		change(&config)
	}
	store, err := vault.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

const place = "secret/thingspace/zoe"

func TestVaultConforms(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("service-account\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, login := range map[string]vault.Login{
		"token": vault.Token("root"), "AppRole": vault.AppRole("role", "secret-id"),
		"Kubernetes": vault.Kubernetes("role", token),
	} {
		t.Run(name, func(t *testing.T) {
			credentialtest.RunStore(t, func(t *testing.T) credentialtest.Place[credential.Store] {
				f := newFake(t)
				return credentialtest.Place[credential.Store]{
					Open: func() credential.Store { return newStore(t, f, func(c *vault.Config) { c.Login = login }) },
					Put: func(user string, password latchkey.Secret) {
						f.put(place, map[string]string{"username": user, "password": password.Reveal()})
					},
				}
			})
		})
	}
}

func credentialOf(password latchkey.Secret, version string) credential.Credential {
	return credential.Credential{User: "zoe", Password: password, Version: version}
}

func TestOtherFieldsOfTheSecretAreKept(t *testing.T) {
	f := newFake(t)
	f.put(place, map[string]any{"username": "zoe", "password": "old", "owner": "team", "n": 7})
	store := newStore(t, f, nil)
	c, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), credentialOf("new", c.Version)); err != nil {
		t.Fatal(err)
	}
	last := string(f.secrets[place].versions[1])
	if !strings.Contains(last, `"owner":"team"`) || !strings.Contains(last, `"n":7`) {
		t.Errorf("the secret is %s", last)
	}
}

func TestADeletedSecretCanBeSavedAgain(t *testing.T) {
	f := newFake(t)
	f.put(place, map[string]any{"username": "zoe", "password": "old"})
	f.secrets[place].versions = append(f.secrets[place].versions, nil)
	store := newStore(t, f, nil)
	if _, err := store.Load(t.Context()); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	if version, err := store.Save(t.Context(), credentialOf("new", "")); err != nil || version != "3" {
		t.Errorf("version %q, error %v", version, err)
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	f := newFake(t)
	f.put(place, map[string]any{"username": "zoe", "password": "old"})
	store := newStore(t, f, func(c *vault.Config) { c.Login = vault.AppRole("role", "secret-id") })
	for range 3 {
		if _, err := store.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.logins != 1 {
		t.Errorf("%d logins for three requests", f.logins)
	}
	clear(f.tokens) // all of them have expired
	if _, err := store.Load(t.Context()); err != nil || f.logins != 2 {
		t.Errorf("error %v after %d logins", err, f.logins)
	}
	f.denied = true
	_, err := store.Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error %v", err)
	}
	if hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); !ok || !strings.Contains(hinted.Hint(), "policy") {
		t.Errorf("error %v, want a hint about the policy", err)
	}
	if f.logins != 3 {
		t.Errorf("%d logins after a denial", f.logins)
	}
}

func TestAFaultChangesNothingOrTheErrorIsAmbiguous(t *testing.T) {
	f := newFake(t)
	store := newStore(t, f, nil)
	version, err := store.Save(t.Context(), credentialOf("first", ""))
	if err != nil {
		t.Fatal(err)
	}
	f.with(func() { f.sealed = true })
	_, err = store.Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sealed") || errors.Is(err, credential.ErrNotFound) {
		t.Errorf("sealed: error %v", err)
	}
	f.with(func() { f.sealed = false })
	for name, fault := range map[string]func(){
		"lost": func() { f.loseResponse = true }, "broken": func() { f.breakResponse = true },
	} {
		writes := f.writeCount()
		f.with(fault)
		_, err := store.Save(t.Context(), credentialOf("next after "+latchkey.Secret(name), version))
		if err == nil || errors.Is(err, credential.ErrConflict) ||
			!strings.Contains(err.Error(), "may or may not have been saved") {
			t.Errorf("%s response: error %v", name, err)
		}
		if n := f.writeCount() - writes; n != 1 {
			t.Errorf("%s response: %d writes, want one", name, n)
		}
		c, err := store.Load(t.Context())
		if err != nil || !c.Password.Equal("next after "+latchkey.Secret(name)) {
			t.Errorf("%s response: Load: %v", name, err)
		}
		version = c.Version
	}
	f.Close()
	if _, err := store.Load(t.Context()); err == nil || errors.Is(err, credential.ErrNotFound) {
		t.Errorf("stopped: error %v", err)
	}
}

func TestNamespaceAndMount(t *testing.T) {
	f := newFake(t)
	f.namespace = "team/a"
	store := newStore(t, f, func(c *vault.Config) { c.Namespace, c.Mount, c.Path = "team/a", "/kv/", "/zoe/" })
	if _, err := store.Save(t.Context(), credentialOf("first", "")); err != nil || f.secrets["kv/zoe"] == nil {
		t.Errorf("error %v", err)
	}
	f.put("kv/zoe", "a string")
	if _, err := store.Load(t.Context()); err == nil || errors.Is(err, credential.ErrNotFound) {
		t.Errorf("a secret that is not an object: error %v", err)
	}
}

func TestErrorsAndFormattedValuesHideTheToken(t *testing.T) {
	f := newFake(t)
	for name, login := range map[string]vault.Login{
		"token": vault.Token("hvs.secret"), "AppRole": vault.AppRole("role", "hvs.secret"),
	} {
		store := newStore(t, f, func(c *vault.Config) { c.Login = login })
		_, err := store.Load(t.Context())
		text := fmt.Sprintf("%v %+v %#v %v %#v %+v", store, store, store, err, login, login)
		if err == nil || strings.Contains(text, "hvs.secret") {
			t.Errorf("%s: the text is %s", name, text)
		}
	}
}

func TestNewRejectsInvalidConfigurations(t *testing.T) {
	good := vault.Config{Address: "https://vault.example:8200", Path: "p", Login: vault.Token("t")}
	for name, change := range map[string]func(*vault.Config){
		"no address":   func(c *vault.Config) { c.Address = "" },
		"no scheme":    func(c *vault.Config) { c.Address = "vault:8200" },
		"plaintext":    func(c *vault.Config) { c.Address = "http://vault.example:8200" },
		"no path":      func(c *vault.Config) { c.Path = "/" },
		"path upwards": func(c *vault.Config) { c.Path = "a/../b" },
		"no login":     func(c *vault.Config) { c.Login = nil },
		"credentials":  func(c *vault.Config) { c.Address = "https://u:p@vault.example" },
	} {
		config := good
		change(&config)
		if _, err := vault.New(config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := vault.New(good); err != nil {
		t.Error(err)
	}
}
