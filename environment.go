package latchkey

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxSecretFile bounds the file of an API secret.
const maxSecretFile = 64 << 10

// ConfigFromEnvironment returns a Config from the environment variables:
//
//   - LATCHKEY_URL, LATCHKEY_API_KEY, LATCHKEY_API_SECRET or LATCHKEY_API_SECRET_FILE,
//     and LATCHKEY_ALLOW_PLAINTEXT, as the command line reads them;
//   - if LATCHKEY_API_KEY is not set, THINGSPACE_OAUTH_OAUTH_CLIENT_ID and
//     THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET, and ENVIRONMENT (production, staging, dev,
//     qa or the mock server) unless LATCHKEY_URL is set, as the vendor's SDKs read them.
//
// An empty variable counts as not set. The key and the secret always come from the same pair
// of names. NewClient reports what is missing. A value that cannot be parsed is an error,
// which does not show the value.
func ConfigFromEnvironment() (Config, error) {
	config := Config{
		BaseURL: os.Getenv("LATCHKEY_URL"),
		APIKey:  os.Getenv("LATCHKEY_API_KEY"), APISecret: Secret(os.Getenv("LATCHKEY_API_SECRET")),
	}
	if text := os.Getenv("LATCHKEY_ALLOW_PLAINTEXT"); text != "" {
		allow, err := strconv.ParseBool(text)
		if err != nil {
			return Config{}, fmt.Errorf("latchkey: LATCHKEY_ALLOW_PLAINTEXT is neither true nor false")
		}
		config.AllowPlaintext = allow
	}
	if path := os.Getenv("LATCHKEY_API_SECRET_FILE"); path != "" && config.APISecret == "" {
		secret, err := readSecretFile(path)
		if err != nil {
			return Config{}, fmt.Errorf("latchkey: LATCHKEY_API_SECRET_FILE: %w", err)
		}
		config.APISecret = secret
	}
	if config.APIKey != "" || os.Getenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID") == "" {
		return config, nil
	}
	config.APIKey = os.Getenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID")
	config.APISecret = Secret(os.Getenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"))
	if name := os.Getenv("ENVIRONMENT"); name != "" && config.BaseURL == "" {
		if config.BaseURL = vendorEnvironment(name); config.BaseURL == "" {
			return Config{}, fmt.Errorf("latchkey: ENVIRONMENT is none of the vendor's " +
				"(production, staging, dev, qa, the mock server); name the service in LATCHKEY_URL")
		}
	}
	return config, nil
}

// readSecretFile returns the content of the file at path, without the line break at its end.
func readSecretFile(path string) (Secret, error) {
	file, err := os.Open(path) //nolint:gosec // the environment names the file
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecretFile {
		return "", fmt.Errorf("the file is longer than %d bytes", maxSecretFile)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("the file is empty")
	}
	return Secret(text), nil
}
