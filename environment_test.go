package latchkey_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
)

func TestConfigFromEnvironment(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "secret")
	for name, content := range map[string]string{"secret": apiSecret + "\r\n", "empty": "\n",
		"long": strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const id, secret = "THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"
	for name, test := range map[string]struct {
		environment      map[string]string
		url, key, secret string
		plaintext        bool
		fault            string // in the error; "": none
	}{
		"nothing": {},
		"ours": {environment: map[string]string{"LATCHKEY_URL": "http://x", "LATCHKEY_API_KEY": "k",
			"LATCHKEY_API_SECRET": apiSecret, "LATCHKEY_ALLOW_PLAINTEXT": "true"},
			url: "http://x", key: "k", secret: apiSecret, plaintext: true},
		"ours in a file": {environment: map[string]string{"LATCHKEY_API_KEY": "k", "LATCHKEY_API_SECRET_FILE": file},
			key: "k", secret: apiSecret},
		"the variable counts": {environment: map[string]string{"LATCHKEY_API_KEY": "k", "LATCHKEY_API_SECRET": "v",
			"LATCHKEY_API_SECRET_FILE": file}, key: "k", secret: "v"},
		"the vendor's": {environment: map[string]string{id: "i", secret: apiSecret}, key: "i", secret: apiSecret},
		"the vendor's staging": {environment: map[string]string{id: "i", secret: apiSecret, "ENVIRONMENT": "Staging"},
			url: latchkey.StagingURL, key: "i", secret: apiSecret},
		"the vendor's mock, from Python": {environment: map[string]string{id: "i", secret: "s",
			"ENVIRONMENT": "MOCK_SERVER_FOR_LIMITED_AVAILABILITY_SEE_QUICK_START"},
			url: latchkey.MockURL, key: "i", secret: "s"},
		"the vendor's mock, from TypeScript": {environment: map[string]string{id: "i", secret: "s",
			"ENVIRONMENT": "Mock server for limited availability, see quick start"},
			url: latchkey.MockURL, key: "i", secret: "s"},
		"the vendor's with our URL": {environment: map[string]string{id: "i", secret: "s", "ENVIRONMENT": "prod",
			"LATCHKEY_URL": "https://x"}, url: "https://x", key: "i", secret: "s"},
		"ours before the vendor's": {environment: map[string]string{id: "i", secret: "s", "LATCHKEY_API_KEY": "k",
			"ENVIRONMENT": "qa"}, key: "k"},
		"never one's key for another": {environment: map[string]string{id: "i", "LATCHKEY_API_SECRET": apiSecret}, key: "i"},
		"an unknown environment": {environment: map[string]string{id: "i", secret: apiSecret, "ENVIRONMENT": "prod"},
			fault: "ENVIRONMENT"},
		"no truth value": {environment: map[string]string{"LATCHKEY_ALLOW_PLAINTEXT": "yes please"},
			fault: "LATCHKEY_ALLOW_PLAINTEXT"},
		"no such file": {environment: map[string]string{"LATCHKEY_API_SECRET_FILE": file + "x"},
			fault: "LATCHKEY_API_SECRET_FILE"},
		"an empty file": {environment: map[string]string{"LATCHKEY_API_SECRET_FILE": filepath.Join(directory,
			"empty")}, fault: "is empty"},
		"a long file": {environment: map[string]string{"LATCHKEY_API_SECRET_FILE": filepath.Join(directory,
			"long")}, fault: "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"LATCHKEY_URL", "LATCHKEY_API_KEY", "LATCHKEY_API_SECRET",
				"LATCHKEY_API_SECRET_FILE", "LATCHKEY_ALLOW_PLAINTEXT", id, secret, "ENVIRONMENT"} {
				t.Setenv(variable, test.environment[variable])
			}
			config, err := latchkey.ConfigFromEnvironment()
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) || config.APISecret != "" {
					t.Errorf("error %v, want one about %s", err, test.fault)
				}
				return
			}
			if err != nil || config.BaseURL != test.url || config.APIKey != test.key ||
				config.APISecret.Reveal() != test.secret || config.AllowPlaintext != test.plaintext {
				t.Errorf("got %+v, %v", config, err)
			}
		})
	}
}
