// Package wire defines the ThingSpace Connectivity Management session API on the wire:
// paths, header names, JSON bodies, error codes and fault codes. The client and the server
// both use it, so that they cannot differ. It builds and parses these forms and does
// nothing else. docs/contract.md describes them.
package wire

// Paths of the API that the vendor documents.
const (
	PathAPI           = "/api/"
	PathToken         = "/api/ts/v1/oauth2/token"
	PathRevoke        = "/api/ts/v1/oauth2/revoke"
	PathLogIn         = "/api/m2m/v1/session/login"
	PathLogOut        = "/api/m2m/v1/session/logout"
	PathResetPassword = "/api/m2m/v1/session/password/actions/reset"
)

// Other paths of the same operations, which some of the vendor's clients and
// pages use. A path is compared whole: PathTokenAlias ends in a slash.
const (
	PathTokenAlias         = "/api/ts/v1/"
	PathLogInAlias         = "/api/auth/v1/m2m/v1/session/login"
	PathLogOutAlias        = "/api/auth/v1/m2m/v1/session/logout"
	PathResetPasswordAlias = "/api/auth/v1/m2m/v1/session/password/actions/reset"
)

// Paths that are latchkey's own. Nothing of ours is added under /api/.
const (
	PathVerify   = "/latchkey/v1/verify"
	PathSession  = "/latchkey/v1/session"
	PathOpenAPI  = "/latchkey/v1/openapi.yaml"
	PathAdmin    = "/latchkey/v1/admin/"
	PathSimulate = "/latchkey/v1/simulate/" // see simulate.go
	PathHosts    = "/latchkey/hosts/"       // a gateway's further hosts: NAME/path at the host
	PathHealth   = "/healthz"
	PathReady    = "/readyz"
	PathMetrics  = "/metrics"
)

// Header names, in the spelling of the contract. HTTP compares them without
// regard to case.
const (
	HeaderSessionToken = "VZ-M2M-Token"
	// HeaderSessionTokenIMP replaces it at imp.thingspace.verizon.com.
	HeaderSessionTokenIMP = "SessionToken"

	HeaderRevokedToken = "RevokedAccessToken"
	HeaderIdempotency  = "Idempotency-Key"
	HeaderRequestID    = "X-Request-Id"
	HeaderUser         = "Latchkey-User"
	HeaderSessionID    = "Latchkey-Session"
	HeaderSessionAge   = "Latchkey-Session-Age"
	HeaderClient       = "Latchkey-Client"
	HeaderLocal        = "Latchkey-Local"
	HeaderRetryAfter   = "Retry-After"
)

// Media types and OAuth words (RFC 6749).
const (
	MediaTypeJSON   = "application/json"
	MediaTypeForm   = "application/x-www-form-urlencoded"
	GrantTypeClient = "client_credentials"
	TokenTypeBearer = "Bearer"
	DefaultScope    = "default"
)

// ProductionBaseURL is the vendor's production host.
const ProductionBaseURL = "https://thingspace.verizon.com"

// ServiceSession is the service name before the first dot of the session API's
// error codes.
const ServiceSession = "UnifiedWebService"

// MaxRequestBodyBytes bounds what a request to the session API may carry.
const MaxRequestBodyBytes = 16 << 10

// OperatorAddress returns the address that the audit trail has for an operator who uses
// the admin socket; uid is the operator's user ID, or "" if the system does not report it.
func OperatorAddress(uid string) string {
	if uid == "" {
		return "admin socket"
	}
	return "admin socket, uid " + uid
}
