// Package vault keeps an upstream's credential in HashiCorp Vault or OpenBao, in a
// KV store of version 2.
//
//	store, err := vault.New(vault.Config{
//		Address: "https://vault.example:8200",
//		Path:    "thingspace/zbeeblebrox",
//		Login:   vault.AppRole("…role id…", secretID),
//	})
//
// It speaks the three requests that it needs by itself: the vendor's library would
// repeat a write whose answer was lost, which makes a conflict of a success.
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
	// requestLimit bounds each request, whatever the caller's context says.
	requestLimit = 15 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
	// standardMount is where KV version 2 is, unless somebody has moved it.
	standardMount = "secret"
)

// Config says where the secret is. Address, Path and Login are required.
type Config struct {
	// Address is like https://vault.example:8200; http:// is for this machine only.
	Address string
	// Mount is that of the KV store. Default: secret.
	Mount string
	// Path is that of the secret within the mount. It has to be all the store's own:
	// fields beside username and password are kept.
	Path string
	// Namespace, for Vault Enterprise and OpenBao.
	Namespace string
	Login     Login
	// HTTPClient carries the requests. Default: one of the Store's own. Redirects
	// are not followed.
	HTTPClient *http.Client
}

// Store is a credential.Store in a secret of KV version 2. Its versions are the
// secret's, and saving is a check-and-set. The token that a Login got is kept until
// it is refused, and then got anew, once.
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

// New answers the Store, or what is wrong with the configuration. It sends nothing.
func New(config Config) (*Store, error) {
	base, err := url.Parse(config.Address)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.User != nil {
		return nil, errors.New("credential: vault: Address must look like https://vault.example:8200")
	}
	if base.Scheme == "http" && !wire.IsLoopback(base.Hostname()) {
		return nil, errors.New("credential: vault: Address is http:// to another machine, so that the password would travel in the clear")
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
		mount = standardMount
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
	// It would take the token to wherever the answer points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Store{base: base, mount: mount, path: path, namespace: config.Namespace, login: config.Login, http: &client}, nil
}

// secret is the data of an answer about a secret.
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

// read answers the secret and its version. That of one that was deleted comes with
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
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.isConflict():
		return "", fmt.Errorf("credential: vault %s: %w", s.name(), credential.ErrConflict)
	case errors.As(err, &refused):
		return "", s.failed(unchanged, err)
	case err != nil:
		return "", s.failed("it may have been saved or not: ", err)
	}
	return strconv.Itoa(saved.Version), nil
}

func (s *Store) dataPath() string { return s.mount + "/data/" + s.path }

func (s *Store) name() string { return s.base.Host + " " + s.mount + "/" + s.path }

func (s *Store) failed(what string, err error) error {
	return fmt.Errorf("credential: vault %s: %s%w", s.name(), what, err)
}

// Format implements fmt.Formatter, whatever the verb: the token is not shown.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "vault.Store("+s.name()+")")
}
