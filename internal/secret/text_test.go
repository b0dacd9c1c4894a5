package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/secret"
)

func TestTextNeverShowsItself(t *testing.T) {
	const plain = "IMgr8-very-secret"
	type holder struct {
		Password secret.Text            `json:"password"`
		Inside   []secret.Text          `json:"inside"`
		Mapped   map[string]secret.Text `json:"mapped"`
	}
	h := holder{plain, []secret.Text{plain}, map[string]secret.Text{"k": plain}}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		shown["value "+verb] = fmt.Sprintf(verb, secret.Text(plain))
		shown["struct "+verb] = fmt.Sprintf(verb, h)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", secret.Text(plain), "holder", h)
	shown["slog json"] = log.String()
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "secret", secret.Text(plain), "holder", h)
	shown["slog text"] = text.String()
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	shown["json"] = string(b)
	hex := fmt.Sprintf("%x", plain)
	for how, s := range shown {
		if strings.Contains(s, plain) || strings.Contains(strings.ToLower(s), hex) {
			t.Errorf("%s shows the secret: %s", how, s)
		}
		if !strings.Contains(s, "redacted") && !strings.Contains(s, "5b7265646163746564") {
			t.Errorf("%s does not say that it is redacted: %s", how, s)
		}
	}
}

func TestTextEqualAndReveal(t *testing.T) {
	if !secret.Text("a").Equal("a") || secret.Text("a").Equal("b") || secret.Text("a").Equal("ab") {
		t.Error("Equal does not compare the secrets")
	}
	if got := secret.Text("a").Reveal(); got != "a" {
		t.Errorf("Reveal() = %q", got)
	}
	if got := fmt.Sprint(secret.Text("")); got != "" {
		t.Errorf("an empty secret prints %q, want nothing", got)
	}
}
