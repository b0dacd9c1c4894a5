package latchtest

import (
	"time"

	"github.com/latchkey/latchkey/internal/simulate"
)

// Operation is the purpose of a request.
type Operation string

// The operations that faults can be for.
const (
	Any      Operation = Operation(simulate.Any)
	GetToken Operation = Operation(simulate.Token)   // getting an access token
	EndToken Operation = Operation(simulate.Revoke)  // revoking it
	LogIn    Operation = Operation(simulate.LogIn)   // starting a session
	LogOut   Operation = Operation(simulate.LogOut)  // ending it
	Reset    Operation = Operation(simulate.Reset)   // resetting the password
	Verify   Operation = Operation(simulate.Verify)  // the session check for proxies
	Session  Operation = Operation(simulate.Session) // the session of the request itself
	API      Operation = Operation(simulate.API)     // any other request to the API
)

// Fault is a failure to inject. The functions that return one describe it.
type Fault struct{ fault simulate.Fault }

// DropAfter executes the request and then cuts the connection instead of responding: the
// client cannot know that the request was executed.
func DropAfter() Fault { return Fault{simulate.Fault{Kind: simulate.DropAfter}} }

// DropBefore cuts the connection instead of executing the request. The client cannot
// distinguish it from DropAfter.
func DropBefore() Fault { return Fault{simulate.Fault{Kind: simulate.DropBefore}} }

// Delay delays the execution of the request by d, in real time. If the client disconnects
// first, the request is executed then. A delay of 0 waits for that, so a client's timeout
// can be tested with a timeout of milliseconds.
func Delay(d time.Duration) Fault { return Fault{simulate.Fault{Kind: simulate.Delay, Delay: d}} }

// Fail responds with a status between 500 and 599. The request is not executed.
func Fail(status int) Fault { return Fault{simulate.Fault{Kind: simulate.Fail, Status: status}} }

// Throttle responds with 429 and a Retry-After of so many whole seconds. The request is not
// executed.
func Throttle(after time.Duration) Fault {
	return Fault{simulate.Fault{Kind: simulate.Throttle, RetryAfter: after}}
}

// ForbidXML responds with 403 and a fault in XML, as the vendor's gateway may. The request
// is not executed.
func ForbidXML() Fault { return Fault{simulate.Fault{Kind: simulate.ForbidXML}} }

// Refusal is a form in which a service of the vendor's API refuses a request.
// docs/contract.md has the table of them.
type Refusal string

// The published forms: of the session API itself, of services that wrap a refused
// session or access token in a form of their own, and of the API gateway in front of
// them all.
const (
	SessionExpired              Refusal = "session-expired"
	SessionInvalid              Refusal = "session-invalid"
	SessionMissing              Refusal = "session-missing"
	LocationRefusal             Refusal = "location"                   // the session
	DiagnosticsRefusal          Refusal = "diagnostics"                // a token; it does not say which
	HyperPreciseRefusal         Refusal = "hyper-precise"              // the access token
	NumericRefusal              Refusal = "numeric"                    // a token: eSIM, SIM actions, reporting, anomalies
	ETXRefusal                  Refusal = "etx"                        // a token
	EdgeRefusal                 Refusal = "edge"                       // a token
	CloudConnectorSession       Refusal = "cloud-connector-session"    // the session
	CloudConnectorBearer        Refusal = "cloud-connector-bearer"     // the access token
	CloudConnectorBearerFailure Refusal = "cloud-connector-bearer-500" // the same with status 500
	BearerInvalid               Refusal = "bearer-invalid"
	BearerMissing               Refusal = "bearer-missing"
	BearerExpired               Refusal = "bearer-expired"
	BearerInactive              Refusal = "bearer-inactive"
	Throttled                   Refusal = "throttled"
	Blocked                     Refusal = "blocked" // the API client is; a retry is futile
	NoResource                  Refusal = "no-resource"
)

// RefuseAs refuses the request in a published form. The request is not executed,
// and the tokens stay valid.
func RefuseAs(form Refusal) Fault {
	return Fault{simulate.Fault{Kind: simulate.RefuseAs, Form: string(form)}}
}

// LockUser locks the request's user just before the request is executed.
func LockUser() Fault { return Fault{simulate.Fault{Kind: simulate.LockUser}} }

// ExpireSessions ends all sessions of the request's user just before the request
// is executed.
func ExpireSessions() Fault { return Fault{simulate.Fault{Kind: simulate.ExpireSessions}} }

// RevokeBearer ends the request's access token just before the request is
// executed.
func RevokeBearer() Fault { return Fault{simulate.Fault{Kind: simulate.RevokeBearer}} }

// Inject makes a fault happen to the next requests of an operation, as many as times. If
// several faults are pending, a request meets the first one for its operation.
func (s *Server) Inject(operation Operation, fault Fault, times int) {
	s.t.Helper()
	if times < 1 {
		s.t.Fatalf("latchtest: inject %s: %d times is not at least once", fault.fault.Kind, times)
	}
	fault.fault.Operation, fault.fault.Times = simulate.Operation(operation), times
	if err := s.service.Inject(fault.fault); err != nil {
		s.t.Fatalf("latchtest: inject %s: %v", fault.fault.Kind, err)
	}
}

// FaultsLeft returns how many requests the pending faults are for. It returns 0 if all have
// happened.
func (s *Server) FaultsLeft() (left int) {
	for _, fault := range s.service.Faults() {
		left += fault.Times
	}
	return left
}

// ClearFaults removes the pending faults.
func (s *Server) ClearFaults() { s.service.ClearFaults() }
