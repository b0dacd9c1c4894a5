package service

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

// Upstream is the upstream of a gateway, and how to log in there.
type Upstream struct {
	URL       string
	APIKey    string
	APISecret latchkey.Secret
	// Credential is the user name and password. If it is a credential.Store, the password
	// can be rotated.
	Credential credential.Source
	// State is what keepers of the account share. nil: StateFile or, if that is "", the
	// PostgreSQL database of the service.
	State       keeper.State
	StateFile   string
	RotateEvery time.Duration // 0: never

	Hosts []gateway.Host
	// SessionHeaders maps each further host to the header of its session token; "": the
	// usual one.
	SessionHeaders map[string]string

	TLS     *tls.Config      // nil: the system's certificates
	Timeout time.Duration    // until the response begins; 0: none
	Clock   func() time.Time // of the client; nil: the system's, which a keeper reads less often
}

// uplink is the open upstream of a gateway.
type uplink struct {
	keeper  *keeper.Keeper
	gateway *gateway.Gateway
	user    string
	close   func(context.Context) error
}

// open opens the gateway. It sends nothing.
func (u *Upstream) open(ctx context.Context, config *Config, rules *Rules) (*uplink, error) {
	c, err := u.Credential.Load(ctx)
	if err != nil {
		return nil, failed("%w; nothing was started", err)
	}
	trust := u.TLS
	if trust == nil {
		trust = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport := gateway.NewTransport(func(t *http.Transport) {
		t.TLSClientConfig, t.ResponseHeaderTimeout = trust, u.Timeout
	})
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: u.URL, APIKey: u.APIKey, APISecret: u.APISecret, HTTPClient: &http.Client{Transport: transport},
		Hosts: u.SessionHeaders, UserAgent: "latchkey/" + config.Version, Now: u.Clock,
	})
	if err != nil {
		wrong := failed("%w; nothing was started", errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")))
		wrong.misconfigured = true
		return nil, wrong
	}
	state, err := u.openState(ctx, rules, c.User)
	if err != nil {
		return nil, failed("%w; nothing was started", err)
	}
	settings := keeper.Config{Upstream: client, State: state, Log: config.Log}
	if store, ok := u.Credential.(credential.Store); ok {
		settings.Rotation = &keeper.Rotation{Store: store, Upstream: client, Every: u.RotateEvery}
	} else {
		settings.Credential = u.Credential
	}
	k, err := keeper.New(settings)
	if err != nil {
		return nil, failed("%w; nothing was started", err)
	}
	g, err := gateway.New(gateway.Config{
		Keeper: k, URL: u.URL, Hosts: u.Hosts, Transport: transport, Log: config.Log,
	})
	if err != nil {
		return nil, errors.Join(failed("%w; nothing was started", err), k.Close(ctx))
	}
	return &uplink{keeper: k, gateway: g, user: c.User, close: func(ctx context.Context) error {
		defer transport.CloseIdleConnections()
		return k.Close(ctx)
	}}, nil
}

// openState opens what this gateway shares with its replicas, or with other programs.
func (u *Upstream) openState(ctx context.Context, rules *Rules, user string) (keeper.State, error) {
	switch {
	case u.State != nil:
		return u.State, nil
	case u.StateFile != "" || rules.Database.Postgres == nil:
		return keeper.NewFileState(u.StateFile)
	}
	config := pgstate.Config{Name: stateName(u.URL, user), Key: rules.key}
	return pgstate.New(ctx, rules.Database.Postgres.Pool(), config)
}

// stateName returns the name of the state that the replicas of a gateway share for a user
// at an upstream.
func stateName(url, user string) string {
	sum := sha256.Sum256([]byte(url + "\x00" + user))
	return "upstream " + hex.EncodeToString(sum[:])
}

// OpenSharedState opens the state that the replicas of a gateway share in their database,
// for a command. done closes the database.
func (s *Store) OpenSharedState(ctx context.Context, url, user string) (_ keeper.State, done func(), err error) {
	key, err := s.ReadKey()
	if err != nil {
		return nil, nil, err
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: s.Database})
	if err != nil {
		return nil, nil, failed("%w; nothing was done", err)
	}
	done = func() { _ = db.Close(ctx) } // there is nothing to write
	state, err := pgstate.New(ctx, db.Pool(), pgstate.Config{Name: stateName(url, user), Key: key})
	if err != nil {
		done()
		return nil, nil, failed("%w", err)
	}
	return state, done, nil
}
