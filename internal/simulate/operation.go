package simulate

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// Operation names what a request is for.
type Operation string

// The operations that faults can be for.
const (
	Any     Operation = ""
	Token   Operation = "token"   // getting an access token
	Revoke  Operation = "revoke"  // ending it
	LogIn   Operation = "login"   // starting a session
	LogOut  Operation = "logout"  // ending it
	Reset   Operation = "reset"   // resetting the password
	Verify  Operation = "verify"  // the session check for proxies
	Session Operation = "session" // asking about one's own session
	API     Operation = "api"     // anything else under /api/
)

var operations = []Operation{Any, Token, Revoke, LogIn, LogOut, Reset, Verify, Session, API}

var operationOfPath = map[string]Operation{
	wire.PathToken: Token, wire.PathTokenAlias: Token, wire.PathRevoke: Revoke,
	wire.PathLogIn: LogIn, wire.PathLogInAlias: LogIn, wire.PathLogOut: LogOut, wire.PathLogOutAlias: LogOut,
	wire.PathResetPassword: Reset, wire.PathResetPasswordAlias: Reset, wire.PathVerify: Verify, wire.PathSession: Session,
}

// operationOf returns false for requests that no fault ever meets: probes, metrics,
// documents and the controls.
func operationOf(path string) (Operation, bool) {
	if operation, ok := operationOfPath[path]; ok {
		return operation, true
	}
	return API, strings.HasPrefix(path, "/api/")
}

func (o Operation) known() bool { return slices.Contains(operations, o) }

// carriesBearer reports whether requests of the operation carry an access token,
// and with it a user: in the body of a login, behind the session token of others.
func (o Operation) carriesBearer() bool { return o != Token && o != Revoke }
