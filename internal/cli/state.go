package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	stateFile     = "logins.json"
	stateVersion  = 1
	maxStateBytes = 1 << 20
	lockRetry     = 20 * time.Millisecond
)

// login is what the client commands remember of one user at one endpoint with
// one API key. The password and the API secret are not among it.
type login struct {
	URL    string `json:"url"`
	APIKey string `json:"apiKey"`
	User   string `json:"user"`

	// SessionToken is the only secret in the file. It gives its holder the access of
	// the user until the session ends.
	SessionToken string    `json:"sessionToken,omitempty"`
	LoggedInAt   time.Time `json:"loggedInAt,omitzero"`
	LastUsedAt   time.Time `json:"lastUsedAt,omitzero"` // by these commands

	APISecretFile string `json:"apiSecretFile,omitempty"`
	CAFile        string `json:"caFile,omitempty"`

	// Failures counts the logins in a row that failed, or may have failed. The service
	// counts those of other programs, too. After two of them `login` refuses to send a
	// password that comes from a pipe: a script would otherwise lock the account. A
	// person who types a password may continue. The keeper's guard is another thing:
	// it stops all callers of a shared session until the password changes.
	Failures          int       `json:"failures,omitempty"`
	PasswordChangedAt time.Time `json:"passwordChangedAt,omitzero"` // by `password reset`
}

func (l *login) token() latchkey.Secret { return latchkey.Secret(l.SessionToken) }

// forget drops the session, and keeps what else is known.
func (l *login) forget() { l.SessionToken, l.LoggedInAt, l.LastUsedAt = "", time.Time{}, time.Time{} }

// state is the file that remembers logins.
type state struct {
	Version int      `json:"version"`
	Logins  []*login `json:"logins"`
}

// find returns the login of an endpoint, API key and user, or nil.
func (s *state) find(url, apiKey, user string) *login {
	for _, l := range s.Logins {
		if l.URL == url && l.APIKey == apiKey && l.User == user {
			return l
		}
	}
	return nil
}

// matching returns the logins that have the given values. An empty value matches all.
func (s *state) matching(url, apiKey, user string) []*login {
	var found []*login
	for _, l := range s.Logins {
		if (url == "" || l.URL == url) && (apiKey == "" || l.APIKey == apiKey) && (user == "" || l.User == user) {
			found = append(found, l)
		}
	}
	return found
}

// withSession keeps those that have a session.
func withSession(logins []*login) []*login {
	return slices.DeleteFunc(logins, func(l *login) bool { return l.SessionToken == "" })
}

// readState reads the file; one that is not there is empty.
func readState() (*state, error) {
	directory, err := stateDirectory()
	if err != nil {
		return nil, fail(exitFailed, "no home directory to store the session in: %w", err).
			hint("set HOME or XDG_STATE_HOME")
	}
	path := filepath.Join(directory, stateFile)
	text, err := readBounded(path, maxStateBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{Version: stateVersion}, nil
	}
	if err != nil {
		return nil, fail(exitFailed, "the stored logins cannot be read: %w", err)
	}
	s := &state{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fail(exitFailed, "the stored logins in %s are damaged: %w; they were not changed", path, err).
			hint("delete the file and log in again")
	}
	if s.Version > stateVersion {
		return nil, fail(exitFailed, "the stored logins in %s were written by a newer latchkey; they were not changed",
			path).hint("use the newer latchkey")
	}
	s.Logins = slices.DeleteFunc(s.Logins, func(l *login) bool { return l == nil })
	return s, nil
}

// readLogins is readState with a warning if other users may read the session tokens.
func (a *app) readLogins() (*state, error) {
	if directory, err := stateDirectory(); err == nil {
		a.warnReadable(filepath.Join(directory, stateFile))
	}
	return readState()
}

// updateLogin changes one stored login and returns the changed login. A lock makes
// concurrent commands take turns.
func updateLogin(ctx context.Context, url, apiKey, user string, change func(*login)) (*login, error) {
	unlock, err := lockState(ctx, "state.lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := readState()
	if err != nil {
		return nil, err
	}
	l := s.find(url, apiKey, user)
	if l == nil {
		l = &login{URL: url, APIKey: apiKey, User: user}
		s.Logins = append(s.Logins, l)
	}
	change(l)
	s.Version = stateVersion
	text, err := wire.Marshal(s)
	if err != nil {
		return nil, err
	}
	directory, err := stateDirectory()
	if err == nil {
		err = atomicfile.Write(filepath.Join(directory, stateFile), append(text, '\n'))
	}
	if err != nil {
		return nil, fail(exitFailed, "the login cannot be stored: %w", err)
	}
	return l, nil
}

// lockState takes a lock that all latchkey commands of this user share.
func lockState(ctx context.Context, name string) (unlock func(), err error) {
	directory, err := stateDirectory()
	if err == nil {
		err = os.MkdirAll(directory, 0o700)
	}
	if err != nil {
		return nil, fail(exitFailed, "no place to store the session: %w; nothing was sent", err).
			hint("set XDG_STATE_HOME to a directory in which you may write")
	}
	lock := flock.New(filepath.Join(directory, name), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return nil, fail(exitFailed, "waiting for another latchkey command: %w; nothing was sent", err)
	}
	return func() { _ = lock.Unlock() }, nil // the lock dies with the process at the latest
}
