package wire

import (
	"encoding/xml"
	"strings"
)

// Code is an errorCode without the service name before its first dot, the part
// that stays the same across the vendor's services: "REQUEST_FAILED.SessionToken.Expired".
type Code string

// The codes of the session API. docs/contract.md says which of them the vendor
// publishes and which are this project's own choice.
const (
	CodeRequestUndefined   Code = "INPUT_INVALID.RequestUndefined"
	CodeInvalidCharacter   Code = "INPUT_INVALID.Request.InvalidCharacter"
	CodeUnexpected         Code = "REQUEST_FAILED.UnexpectedError"
	CodeDeserialization    Code = "DeserializationFailed"
	CodeTokenMissing       Code = "REQUEST_FAILED.SessionToken.Format"
	CodeTokenInvalid       Code = "INPUT_INVALID.SessionToken.Invalid"
	CodeTokenExpired       Code = "REQUEST_FAILED.SessionToken.Expired"
	CodeInvalidCredentials Code = "REQUEST_FAILED.Login.InvalidCredentials"
	CodeAccountLocked      Code = "REQUEST_FAILED.Login.AccountLocked"
	CodePasswordMismatch   Code = "REQUEST_FAILED.Password.Mismatch"
	CodeRepeatKeyReused    Code = "INPUT_INVALID.IdempotencyKey.Reused"
)

// In returns the full errorCode of c as the given service spells it.
func (c Code) In(service string) string { return service + "." + string(c) }

// codes are those of the session API. None is the end of another.
var codes = []Code{
	CodeRequestUndefined, CodeInvalidCharacter, CodeUnexpected, CodeDeserialization, CodeTokenMissing, CodeTokenInvalid,
	CodeTokenExpired, CodeInvalidCredentials, CodeAccountLocked, CodePasswordMismatch, CodeRepeatKeyReused,
}

// CodeOf cuts the service name off an errorCode. A code of the session API is found
// in any case, behind any number of names, and without one. Of any other code the part
// after the first dot is returned, or the whole if it has none.
func CodeOf(errorCode string) Code {
	errorCode = strings.TrimSpace(errorCode)
	for _, code := range codes {
		at := len(errorCode) - len(code)
		if at >= 0 && strings.EqualFold(errorCode[at:], string(code)) && (at == 0 || errorCode[at-1] == '.') {
			return code
		}
	}
	if _, after, ok := strings.Cut(errorCode, "."); ok {
		return Code(after)
	}
	return Code(errorCode)
}

// Result is the body of every HTTP 400 of the API.
type Result struct {
	ErrorCode    string `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
}

// Fault codes of the API gateway in front of the vendor's services.
const (
	FaultNoBearer      = "900902"
	FaultInvalidBearer = "900901"
	FaultNotFound      = "404"
	FaultMethod        = "405"
	FaultThrottled     = "900800"
	FaultHeaders       = "431"
	FaultUnavailable   = "900503"
	FaultLatched       = "900423" // the gateway does not log in to the upstream until an operator has looked
	FaultForbidden     = "900908"
	FaultBadRequest    = "400"
	FaultBadGateway    = "502"
	FaultTimeout       = "504"
	FaultCallerLeft    = "499"
	FaultLate          = "408"
	FaultEncoding      = "415"
)

// StatusCallerLeft is recorded for a request whose caller left before the whole of the
// response was there. nginx uses the same number.
const StatusCallerLeft = 499

// Fault is an error of the API gateway: the request did not reach the service.
type Fault struct {
	XMLName     xml.Name `json:"-" xml:"fault"`
	Code        string   `json:"code" xml:"code"`
	Message     string   `json:"message" xml:"message"`
	Description string   `json:"description" xml:"description"`
}

// FaultBody is the JSON body of a Fault.
type FaultBody struct {
	Fault Fault `json:"fault"`
}

// NewFault returns the JSON body of a fault.
func NewFault(code, message, description string) FaultBody {
	return FaultBody{Fault{Code: code, Message: message, Description: description}}
}

// OAuthError is the error body of the token endpoint (RFC 6749, section 5.2) and
// the form in which services beside the session API wrap an expired session;
// those put the original response in Cause.
type OAuthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Cause       string `json:"cause,omitempty"`
}

// OAuth error codes (RFC 6749, section 5.2).
const (
	OAuthInvalidRequest       = "invalid_request"
	OAuthInvalidClient        = "invalid_client"
	OAuthInvalidScope         = "invalid_scope"
	OAuthUnsupportedGrantType = "unsupported_grant_type"
	OAuthUnauthorized         = "unauthorized"          // the wrapped form of an expired session
	OAuthInternal             = "internal_server_error" // the wrapped form of a refused access token
)
