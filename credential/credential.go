package credential

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential/internal/document"
)

// What stores answer. Test with errors.Is; the text of the error itself names
// the place and says what to do.
var (
	// ErrNotFound means that the store can be reached and holds no credential.
	ErrNotFound = errors.New("there is no credential")
	// ErrConflict means that the store holds another version than the one that
	// was to be replaced. Nothing was changed: load again, and look.
	ErrConflict = errors.New("the credential was changed meanwhile, so nothing was saved")
	// ErrReadOnly means that the store never saves. Nothing was changed.
	ErrReadOnly = errors.New("this store cannot be written, so nothing was saved")
)

// Credential is a user name and its password.
type Credential struct {
	User     string
	Password latchkey.Secret
	// Version names this state of the store, for Save. It is opaque, tells
	// nothing about the password, and differs after every change, by whomever.
	// It is empty in a store that cannot be written.
	Version string
}

// Store is where a credential lives. Stores are safe for concurrent use, heed
// ctx, and bound their time by themselves as well.
type Store interface {
	// Load answers the credential, or ErrNotFound.
	Load(ctx context.Context) (Credential, error)
	// Save replaces the credential whose version is next.Version, and answers
	// the new version; an empty one means that there is none yet. When it
	// returns without an error, next is durable, and every Load from then on
	// answers it until the next change. Of several at once on one version,
	// exactly one succeeds.
	//
	// ErrConflict and ErrReadOnly mean that nothing was changed. After any other
	// error, next may have been saved or not, never half of it: Load tells.
	Save(ctx context.Context, next Credential) (version string, err error)
}

// Check answers what is wrong with the user name or the password: one is empty,
// too long, not UTF-8, or holds a NUL. A store refuses such a credential when it
// saves, and when it finds one. The error shows neither of the two.
func (c Credential) Check() error { return document.Check(c.User, c.Password) }
