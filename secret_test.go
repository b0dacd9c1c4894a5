package latchkey_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
)

func TestSecretShowsItselfOnlyWhenRevealed(t *testing.T) {
	type credentials struct{ Password latchkey.Secret }
	shown, err := json.Marshal(credentials{password})
	if err != nil || string(shown) != `{"Password":"[redacted]"}` {
		t.Errorf("json.Marshal returned %s, %v", shown, err)
	}
	mustNotShow(t, credentials{password})
	mustNotShow(t, latchkey.Secret(password))
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("message", "password", latchkey.Secret(password))
	if text := log.String(); strings.Contains(text, password) || !strings.Contains(text, "[redacted]") {
		t.Errorf("log/slog wrote %s", text)
	}
	if text := fmt.Sprint(latchkey.Secret("")); text != "" {
		t.Errorf("an empty Secret prints %q, want nothing", text)
	}
	if text := latchkey.Secret(password).Reveal(); text != password {
		t.Error("Reveal does not return the secret")
	}
	for other, want := range map[latchkey.Secret]bool{password: true, password + "x": false, "": false} {
		if latchkey.Secret(password).Equal(other) != want {
			t.Errorf("Equal returned %v for %d bytes", !want, len(other.Reveal()))
		}
	}
}
