package credential_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/credentialtest"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnvironmentConforms(t *testing.T) {
	credentialtest.RunSource(t, func(t *testing.T) credentialtest.Place[credential.Source] {
		return credentialtest.Place[credential.Source]{
			Open: func() credential.Source {
				return credential.NewEnvironment("LATCHKEY_TEST_USER", "LATCHKEY_TEST_PASSWORD")
			},
			Put: func(user string, password latchkey.Secret) {
				t.Setenv("LATCHKEY_TEST_USER", user)
				t.Setenv("LATCHKEY_TEST_PASSWORD", password.Reveal())
			},
		}
	})
}

func TestFlatFileConforms(t *testing.T) {
	credentialtest.RunSource(t, func(t *testing.T) credentialtest.Place[credential.Source] {
		config := credential.FlatFileConfig{
			UserPath: filepath.Join(t.TempDir(), "username"), PasswordPath: filepath.Join(t.TempDir(), "password"),
		}
		return credentialtest.Place[credential.Source]{
			Open: func() credential.Source {
				store, err := credential.NewFlatFile(config)
				if err != nil {
					t.Fatal(err)
				}
				return store
			},
			Put: func(user string, password latchkey.Secret) {
				write(t, config.UserPath, user+"\r\n")
				write(t, config.PasswordPath, password.Reveal()+"\n")
			},
		}
	})
}

func newFile(t *testing.T, config credential.FileConfig) *credential.File {
	t.Helper()
	store, err := credential.NewFile(config)
	if err != nil {
		t.Fatal(err)
	}
	store.CheapPassphrase()
	return store
}

func byHand(user string, password latchkey.Secret) string {
	content, _ := json.MarshalIndent(map[string]string{"username": user, "password": password.Reveal()}, "", "  ")
	return string(content)
}

func TestFileConforms(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	another, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	passphrase, err := age.NewScryptRecipient("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(10)
	for name, form := range map[string]struct {
		config    credential.FileConfig
		recipient age.Recipient
	}{
		"plain": {},
		"identity": {credential.FileConfig{
			Identity:   latchkey.Secret("# a comment\n" + identity.String() + "\n"),
			Recipients: []string{another.Recipient().String()},
		}, identity.Recipient()},
		"post-quantum identity": {credential.FileConfig{Identity: latchkey.Secret(quantum.String())}, quantum.Recipient()},
		"passphrase":            {credential.FileConfig{Passphrase: "correct horse"}, passphrase},
	} {
		t.Run(name, func(t *testing.T) {
			credentialtest.RunStore(t, func(t *testing.T) credentialtest.Place[credential.Store] {
				config := form.config
				config.Path = filepath.Join(t.TempDir(), "credential")
				return credentialtest.Place[credential.Store]{
					Open: func() credential.Store { return newFile(t, config) },
					Put: func(user string, password latchkey.Secret) {
						content := byHand(user, password)
						if form.recipient != nil {
							content = encrypt(t, content, form.recipient)
						}
						write(t, config.Path, content)
					},
				}
			})
		})
	}
}

func encrypt(t *testing.T, content string, recipient age.Recipient) string {
	t.Helper()
	var out strings.Builder
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, content)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFlatFileThatOthersMayReadIsAcceptedWithOneWarning(t *testing.T) {
	var log strings.Builder
	path := filepath.Join(t.TempDir(), "password")
	store, err := credential.NewFlatFile(credential.FlatFileConfig{
		User: "zoe", PasswordPath: path, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "opensesame")
	for mode, usable := range map[os.FileMode]bool{0o444: true, 0o600: true, 0o644: true, 0o622: false, 0o660: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context()); (err == nil) != usable {
			t.Errorf("mode %04o: error %v", mode, err)
		}
	}
	if strings.Count(log.String(), "chmod 600") != 1 || strings.Contains(log.String(), "opensesame") {
		t.Errorf("the log is %q, want one warning without the password", log.String())
	}
}

func TestFlatFileRejectsOtherEncodings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	store, err := credential.NewFlatFile(credential.FlatFileConfig{User: "zoe", PasswordPath: path})
	if err != nil {
		t.Fatal(err)
	}
	for content, reason := range map[string]string{
		"\ufeffcorrect horse\n": "byte order mark", "\xff\xfec\x00": "byte order mark",
		"\xfe\xff\x00c": "byte order mark", "caf\xe9\n": "UTF-8",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := store.Load(t.Context()); err == nil || !strings.Contains(err.Error(), reason) || c.Password != "" {
			t.Errorf("%q: %v, want the reason %q", content, err, reason)
		}
	}
}

func TestNewFlatFileRejectsInvalidConfigurations(t *testing.T) {
	for _, config := range []credential.FlatFileConfig{
		{}, {User: "zoe"}, {PasswordPath: "p"}, {User: "zoe", UserPath: "u", PasswordPath: "p"},
	} {
		if _, err := credential.NewFlatFile(config); err == nil {
			t.Errorf("%+v was accepted", config)
		}
	}
}

func TestNewFileRejectsInvalidConfigurations(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := latchkey.Secret(identity.String())
	for name, config := range map[string]credential.FileConfig{
		"no path":                        {},
		"not a key":                      {Path: "p", Identity: "AGE-SECRET-KEY-1NOT"},
		"recipients alone":               {Path: "p", Recipients: []string{identity.Recipient().String()}},
		"recipients with a passphrase":   {Path: "p", Passphrase: "x", Recipients: []string{identity.Recipient().String()}},
		"identity with a passphrase":     {Path: "p", Passphrase: "x", Identity: key},
		"recipient that is a secret key": {Path: "p", Identity: key, Recipients: []string{identity.String()}},
	} {
		if _, err := credential.NewFile(config); err == nil {
			t.Errorf("%s was accepted", name)
		} else if strings.Contains(err.Error(), "AGE-SECRET-KEY") {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

// textAndHint returns the text of an error and its advice.
func textAndHint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return err.Error() + "\n" + hinted.Hint()
	}
	return fmt.Sprint(err)
}

// checkRefused checks that the file is neither loaded nor overwritten.
func checkRefused(t *testing.T, store *credential.File, path, word string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, loadErr := store.Load(t.Context())
	_, saveErr := store.Save(t.Context(), credential.Credential{User: "zoe", Password: "new"})
	for _, err := range []error{loadErr, saveErr} {
		text := textAndHint(err)
		if err == nil || errors.Is(err, credential.ErrNotFound) || !strings.Contains(text, word) ||
			!strings.Contains(text, path) || strings.Contains(text, "opensesame") {
			t.Errorf("error %v, want one about %q", text, word)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Error("the file was changed")
	}
}

func TestFileThatOthersMayAccessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credential")
	write(t, path, byHand("zoe", "opensesame"))
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620, 0o602, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		checkRefused(t, newFile(t, credential.FileConfig{Path: path}), path, "chmod 600")
	}
}

func TestDamagedFileIsRefusedAndKept(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := latchkey.Secret(identity.String())
	another, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := byHand("zoe", "opensesame")
	whole := encrypt(t, good, identity.Recipient())
	for name, c := range map[string]struct {
		content  string
		identity latchkey.Secret
		word     string
	}{
		"empty":                   {"", "", "JSON"},
		"cut off":                 {good[:len(good)-4], "", "JSON"},
		"null":                    {"null", "", "JSON"},
		"no user":                 {`{"password":"opensesame"}`, "", "username"},
		"a number":                {`{"username":"zoe","password":1}`, "", "password"},
		"empty password":          {`{"username":"zoe","password":""}`, "", "empty"},
		"too long":                {strings.Repeat(good, 5000), "", "longer"},
		"encrypted, no key":       {whole, "", "encrypted with age"},
		"not encrypted":           {good, key, "not encrypted"},
		"another's":               {encrypt(t, good, another.Recipient()), key, "another identity"},
		"encrypted, then cut off": {whole[:len(whole)-1], key, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "credential")
			write(t, path, c.content)
			checkRefused(t, newFile(t, credential.FileConfig{Path: path, Identity: c.identity}), path, c.word)
		})
	}
}
