package credential

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential/internal/document"
)

// Errors that Load and Save wrap. Test for them with errors.Is: the text of the returned
// error names the place as well.
var (
	// ErrNotFound means that the place can be read and holds no credential.
	ErrNotFound = errors.New("there is no credential")
	// ErrConflict means that the store holds a different version from the one that was
	// to be replaced. Nothing was changed. Load the credential again before the next Save.
	ErrConflict = errors.New("the credential has been changed since it was loaded, so nothing was saved")
)

// Credential is a user name and its password.
type Credential struct {
	User     string
	Password latchkey.Secret
	// Version identifies this state of a Store, for Save. It is opaque, reveals nothing
	// about the password, and is new after every change, also after one by hand. It is
	// empty if the credential comes from a Source that is not a Store.
	Version string
}

// Source is a place that a credential is loaded from. Sources are safe for concurrent
// use, respect ctx, and limit their own time as well.
type Source interface {
	// Load returns the credential, or ErrNotFound.
	Load(ctx context.Context) (Credential, error)
}

// Store is a Source that can also save a credential, so that the password can be
// rotated.
type Store interface {
	Source
	// Save replaces the credential whose version is next.Version, and returns the new
	// version. An empty next.Version means that there is no credential yet. When Save
	// returns without an error, next is durable, and every later Load returns it until
	// the next change. Of several concurrent calls with the same version exactly one
	// succeeds.
	//
	// ErrConflict means that nothing was changed. After any other error next may have
	// been saved or not, but never in part. A Load shows which.
	Save(ctx context.Context, next Credential) (version string, err error)
}

// Check returns an error if the user name or the password is empty, too long, not UTF-8,
// or contains a NUL. Sources do not load such a credential, and Stores do not save it.
// The error shows neither the user name nor the password.
func (c Credential) Check() error { return document.Check(c.User, c.Password) }
