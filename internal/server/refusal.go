package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// refusal is an answer that is not a success. It is an error, so that operations
// return it as one. Its message is this project's own prose, and never repeats
// what the caller sent.
type refusal struct {
	status    int
	code      string // for logs and metrics
	body      []byte
	challenge string // WWW-Authenticate
	retry     bool   // Retry-After
	coding    bool   // Accept-Encoding: only bodies without one are read
	last      bool   // Connection: close
}

func (f *refusal) Error() string { return f.code }

// result makes a refusal of the session API.
func result(status int, code wire.Code, message string) *refusal {
	body := encode(wire.Result{ErrorCode: code.In(wire.ServiceSession), ErrorMessage: message})
	return &refusal{status: status, code: string(code), body: body}
}

// fault makes a refusal of the gateway that stands before the API.
func fault(status int, code, message, description string) *refusal {
	f := &refusal{status: status, code: code, body: faultBody(code, message, description), retry: status == http.StatusServiceUnavailable}
	if status == http.StatusUnauthorized {
		f.challenge = bearerChallenge
	}
	return f
}

func faultBody(code, message, description string) []byte {
	return encode(wire.FaultBody{Fault: wire.Fault{Code: code, Message: message, Description: description}})
}

// oauth makes a refusal of the token endpoint (RFC 6749, section 5.2).
func oauth(status int, code, description string) *refusal {
	f := &refusal{status: status, code: code, body: encode(wire.OAuthError{Error: code, Description: description})}
	if status == http.StatusUnauthorized {
		f.challenge = basicChallenge
	}
	return f
}

const (
	bearerChallenge = `Bearer realm="latchkey"` //nolint:gosec // no credential
	basicChallenge  = `Basic realm="latchkey", charset="UTF-8"`
)

// The refusals that are the same for everybody.
var (
	noBearer         = fault(http.StatusUnauthorized, wire.FaultNoBearer, "Missing Credentials", "The request carries no access token. Send it as: Authorization: Bearer TOKEN")
	localRefused     = fault(http.StatusUnauthorized, wire.FaultNoBearer, "Missing Credentials", "The request carries no access token, and its header for --trust-local is not accepted. That needs the same name, and the Unix socket, or a request of this machine, to a loopback address, over HTTP/1.1, not sent on by a proxy or made by a browser. Otherwise send: Authorization: Bearer TOKEN")
	invalidBearer    = fault(http.StatusUnauthorized, wire.FaultInvalidBearer, "Invalid Credentials", "The access token is wrong, has expired or was revoked. Get another one from "+wire.PathToken)
	notAllowed       = fault(http.StatusForbidden, wire.FaultForbidden, "Forbidden", "This user may not send this request to the upstream: no rule allows it, or the user was disabled or removed. For the operator: latchkey user show NAME.")
	notFound         = fault(http.StatusNotFound, wire.FaultNotFound, "Not Found", "No resource of the API has this path.")
	methodNotAllowed = fault(http.StatusMethodNotAllowed, wire.FaultMethod, "Method Not Allowed", "The resource does not take this method; the Allow header lists those that it takes.")
	tooManyHeaders   = fault(http.StatusRequestHeaderFieldsTooLarge, wire.FaultHeaders, "Request Header Fields Too Large", "The request has more than "+strconv.Itoa(maxHeaderFields)+" header fields.")
	encodingRefused  = &refusal{coding: true, status: http.StatusUnsupportedMediaType, code: wire.FaultEncoding, body: faultBody(wire.FaultEncoding, "Unsupported Media Type", "The body is compressed, or encoded in another way; nothing was counted. Send it as it is, without Content-Encoding.")}
	bodyLate         = &refusal{last: true, status: http.StatusRequestTimeout, code: wire.FaultLate, body: faultBody(wire.FaultLate, "Request Timeout", "The body did not come within "+requestTimeout.String()+"; nothing was counted.")}
	overloaded       = fault(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable", "Too many logins are waiting. Nothing was counted against the account; try again after the time in Retry-After.")
	unavailable      = fault(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable", "The service cannot tell right now. The tokens may well be good; try again after the time in Retry-After.")

	requestUndefined = result(http.StatusBadRequest, wire.CodeRequestUndefined, "The request needs a JSON body and has none.")
	unreadable       = result(http.StatusBadRequest, wire.CodeDeserialization, "The body is not a JSON object of the form that this operation takes, with every name once.")
	tokenMissing     = result(http.StatusBadRequest, wire.CodeTokenMissing, "The "+wire.HeaderSessionToken+" header is missing. Log in, and send the session token in it.")
	tokenInvalid     = result(http.StatusBadRequest, wire.CodeTokenInvalid, "The "+wire.HeaderSessionToken+" header does not hold one session token, which is a GUID.")
	tokenExpired     = result(http.StatusBadRequest, wire.CodeTokenExpired, "The session has ended or was idle for too long. Log in again.")
	badCredentials   = result(http.StatusBadRequest, wire.CodeInvalidCredentials, "The user name or the password is wrong. Further attempts may lock the account.")
	accountLocked    = result(http.StatusBadRequest, wire.CodeAccountLocked, "The account is locked after too many failed logins in a row. An operator has to unlock it.")
	passwordMismatch = result(http.StatusBadRequest, wire.CodePasswordMismatch, "The old password is wrong; this request changed nothing. Further attempts may lock the account.")
	passwordReplaced = result(http.StatusBadRequest, wire.CodePasswordMismatch, "The old password was right, but another session or an operator replaced it less than two minutes ago. Use the new password; further attempts may lock the account.")
	keyEmpty         = result(http.StatusBadRequest, wire.CodeUnexpected, "The "+wire.HeaderIdempotency+" header is empty; nothing was changed. Send a key that can be repeated, or no such header.")
	repeatKeyReused  = result(http.StatusBadRequest, wire.CodeRepeatKeyReused, "The "+wire.HeaderIdempotency+" is that of a reset of another password; nothing was changed. Make a new key for each reset, and repeat it for the same one only.")
	internalError    = result(http.StatusInternalServerError, wire.CodeUnexpected, "The service failed to handle the request, and logged why under the request's ID.")

	badClient      = oauth(http.StatusUnauthorized, wire.OAuthInvalidClient, "The API key and its secret are needed, as HTTP Basic credentials; they are missing or wrong, or the key is revoked.")
	badForm        = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest, "The body has to be a form of the type "+wire.MediaTypeForm+" that names every parameter once.")
	noGrantType    = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest, "The parameter grant_type is missing.")
	badGrantType   = oauth(http.StatusBadRequest, wire.OAuthUnsupportedGrantType, "The only grant_type here is "+wire.GrantTypeClient+".")
	badScope       = oauth(http.StatusBadRequest, wire.OAuthInvalidScope, "The scope is not a list of scope tokens with one space between them.")
	noTokenToEnd   = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest, "The parameter token is missing.")
	retryAfterText = []string{strconv.Itoa(int(authority.RetryAfter / time.Second))}
)

// refusals is the table from what the rules answer to what goes over the wire.
// Input that no account can have is told apart in invalidField; everything that
// is not here means that a store could not answer.
var refusals = []struct {
	err     error
	refusal *refusal
}{
	{authority.ErrSessionExpired, tokenExpired},
	{authority.ErrInvalidBearer, invalidBearer},
	{authority.ErrInvalidCredentials, badCredentials},
	{authority.ErrAccountLocked, accountLocked},
	{authority.ErrPasswordReplaced, passwordReplaced}, // before that which it is as well
	{authority.ErrPasswordMismatch, passwordMismatch},
	{authority.ErrRepeatKeyReused, repeatKeyReused},
	{authority.ErrInvalidClient, badClient},
	{authority.ErrOverloaded, overloaded},
}

// refusalOf finds what an operation's error is on the wire.
func refusalOf(err error) *refusal {
	var f *refusal
	if errors.As(err, &f) {
		return f
	}
	var field *authority.InvalidError
	if errors.As(err, &field) {
		return invalidField(field)
	}
	for _, entry := range refusals {
		if errors.Is(err, entry.err) {
			return entry.refusal
		}
	}
	return unavailable
}

func invalidField(field *authority.InvalidError) *refusal {
	code := wire.CodeUnexpected
	switch field.Kind {
	case authority.TooLong:
		code = wire.CodeDeserialization
	case authority.IllegalCharacter:
		code = wire.CodeInvalidCharacter
	case authority.Missing, authority.Unacceptable:
	}
	return result(http.StatusBadRequest, code, "The field "+field.Error()+".")
}

// write sends the refusal under the given status.
func (f *refusal) write(w http.ResponseWriter, status int) {
	header := w.Header()
	header["Content-Type"] = jsonType
	header["Cache-Control"] = noStore
	if f.retry {
		header["Retry-After"] = retryAfterText
	}
	if f.coding {
		header["Accept-Encoding"] = []string{"identity"}
	}
	if f.last {
		header["Connection"] = []string{"close"}
	}
	if f.challenge != "" {
		header["Www-Authenticate"] = []string{f.challenge}
	}
	w.WriteHeader(status)
	_, _ = w.Write(f.body) // a caller who left needs no answer
}

var (
	jsonType = []string{wire.MediaTypeJSON}
	noStore  = []string{"no-store"}
)

// encode marshals a body of package wire, which cannot fail.
func encode(body any) []byte {
	text, err := wire.Marshal(body)
	if err != nil {
		panic("server: a body of package wire does not marshal: " + err.Error())
	}
	return text
}
