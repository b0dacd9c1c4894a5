// Package vault keeps the credential of an upstream in HashiCorp Vault or OpenBao, in a KV
// store of version 2.
//
//	store, err := vault.New(vault.Config{
//		Address: "https://vault.example:8200",
//		Path:    "thingspace/zbeeblebrox",
//		Login:   vault.AppRole("…role id…", secretID),
//	})
//
// The package sends the three requests that it needs itself. HashiCorp's library would
// repeat a write whose response was lost, and so turn a success into a conflict.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/internal/document"
	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	// requestLimit is the maximum time of each request, in addition to the context's.
	requestLimit = 15 * time.Second
	// maxResponse is the maximum size of a response that is read.
	maxResponse = 1 << 20
	// defaultMount is the default mount of KV version 2.
	defaultMount = "secret"
)

// Config is the configuration of a Store. Address, Path and Login are required.
type Config struct {
	// Address is like https://vault.example:8200. http:// is allowed for this machine
	// only.
	Address string
	// Mount is the mount of the KV store. Default: secret.
	Mount string
	// Path is the path of the secret in the mount. Fields of the secret other than
	// username and password are kept.
	Path string
	// Namespace is the namespace, in Vault Enterprise and OpenBao.
	Namespace string
	Login     Login
	// HTTPClient sends the requests. Default: a client of the Store's own. Redirects are
	// not followed.
	HTTPClient *http.Client
}

// Store is a credential.Store in a secret of KV version 2. Its versions are those of the
// secret, and Save is a check-and-set. The Store keeps the token of a login until it is
// refused, and then logs in again once.
type Store struct {
	base      *url.URL
	mount     string
	path      string
	namespace string
	login     Login
	http      *http.Client

	mu    sync.Mutex // guards token; held while logging in
	token latchkey.Secret
}

var _ credential.Store = (*Store)(nil)

// New returns the Store, or an error if the configuration is not valid. It sends nothing.
func New(config Config) (*Store, error) {
	base, err := url.Parse(config.Address)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.User != nil {
		return nil, errors.New("credential: vault: Address must look like https://vault.example:8200")
	}
	if base.Scheme == "http" && !wire.IsLoopback(base.Hostname()) {
		return nil, errors.New("credential: vault: Address is http:// to another machine, " +
			"so that the password would be sent in the clear")
	}
	path := strings.Trim(config.Path, "/")
	if path == "" || strings.Contains("/"+path+"/", "/../") {
		return nil, errors.New("credential: vault: Path is empty or not a path")
	}
	if config.Login == nil {
		return nil, errors.New("credential: vault: Login is missing: Token, AppRole or Kubernetes")
	}
	mount := strings.Trim(config.Mount, "/")
	if mount == "" {
		mount = defaultMount
	}
	client := http.Client{Timeout: requestLimit}
	if config.HTTPClient != nil {
		client.Transport = config.HTTPClient.Transport
	} else if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport := standard.Clone()
		outbound.LoseDeadConnections(transport)
		client.Transport = outbound.Renew(transport)
	}
	if err := outbound.CheckProxies(client.Transport); err != nil {
		return nil, fmt.Errorf("credential: vault: %w", err)
	}
	// A redirect would send the token to another host.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Store{
		base: base, mount: mount, path: path, namespace: config.Namespace, login: config.Login, http: &client,
	}, nil
}

// secret is the data of a response about a secret.
type secret struct {
	Data     json.RawMessage `json:"data"`
	Metadata struct {
		Version int `json:"version"`
	} `json:"metadata"`
}

// Load implements credential.Store.
func (s *Store) Load(ctx context.Context) (credential.Credential, error) {
	kept, version, err := s.read(ctx)
	if err != nil {
		return credential.Credential{}, err
	}
	user, password, err := kept.Get()
	if err != nil {
		return credential.Credential{}, s.failed("", err)
	}
	return credential.Credential{User: user, Password: password, Version: strconv.Itoa(version)}, nil
}

// read returns the secret and its version. If the secret was deleted, the version comes with
// ErrNotFound.
func (s *Store) read(ctx context.Context) (document.Document, int, error) {
	var found secret
	status, err := s.request(ctx, http.MethodGet, s.dataPath(), nil, &found)
	switch {
	case err != nil:
		return nil, 0, s.failed("", err)
	case status == http.StatusNotFound:
		return nil, found.Metadata.Version, fmt.Errorf("credential: vault %s: %w", s.name(), credential.ErrNotFound)
	}
	kept, err := document.Parse(found.Data)
	if err != nil {
		return nil, 0, s.failed("", err)
	}
	return kept, found.Metadata.Version, nil
}

// Save implements credential.Store.
func (s *Store) Save(ctx context.Context, next credential.Credential) (string, error) {
	const unchanged = "nothing was saved: "
	if err := next.Check(); err != nil {
		return "", s.failed(unchanged, err)
	}
	kept, version, err := s.read(ctx)
	now := strconv.Itoa(version)
	if errors.Is(err, credential.ErrNotFound) {
		kept, now, err = document.Document{}, "", nil
	}
	if err != nil {
		return "", err
	}
	if now != next.Version {
		return "", fmt.Errorf("credential: vault %s: %w", s.name(), credential.ErrConflict)
	}
	kept.Set(next.User, next.Password)
	body := map[string]any{"options": map[string]int{"cas": version}, "data": kept}
	var saved struct {
		Version int `json:"version"`
	}
	_, err = s.request(ctx, http.MethodPost, s.dataPath(), body, &saved)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && refused.isConflict():
		return "", fmt.Errorf("credential: vault %s: %w", s.name(), credential.ErrConflict)
	case errors.As(err, &refused):
		return "", s.failed(unchanged, err)
	case err != nil:
		return "", s.failed("it may or may not have been saved: ", err)
	}
	return strconv.Itoa(saved.Version), nil
}

func (s *Store) dataPath() string { return s.mount + "/data/" + s.path }

func (s *Store) name() string { return s.base.Host + " " + s.mount + "/" + s.path }

func (s *Store) failed(what string, err error) error {
	return fmt.Errorf("credential: vault %s: %s%w", s.name(), what, err)
}

// Format implements fmt.Formatter. It hides the token for every verb.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "vault.Store("+s.name()+")")
}
