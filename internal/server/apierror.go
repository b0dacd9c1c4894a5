package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// apiError is an error response. Operations return it as an error. Its message is this
// project's own text and never repeats what the caller sent.
type apiError struct {
	status    int
	code      string // for logs and metrics
	body      []byte
	challenge string // WWW-Authenticate
	retry     bool   // Retry-After
	coding    bool   // Accept-Encoding: only bodies without a content coding are accepted
	last      bool   // Connection: close
}

func (e *apiError) Error() string { return e.code }

// result returns an error of the session API.
func result(code wire.Code, message string) *apiError {
	return resultWith(http.StatusBadRequest, code, message)
}

func resultWith(status int, code wire.Code, message string) *apiError {
	body := encode(wire.Result{ErrorCode: code.In(wire.ServiceSession), ErrorMessage: message})
	return &apiError{status: status, code: string(code), body: body}
}

// fault returns an error of the gateway in front of the API.
func fault(status int, code, message, description string) *apiError {
	e := &apiError{status: status, code: code, retry: status == http.StatusServiceUnavailable}
	e.body = encode(wire.NewFault(code, message, description))
	switch status {
	case http.StatusUnauthorized:
		e.challenge = bearerChallenge
	case http.StatusUnsupportedMediaType:
		e.coding = true
	case http.StatusRequestTimeout:
		e.last = true
	}
	return e
}

// oauth returns an error of the token endpoint (RFC 6749, section 5.2).
func oauth(status int, code, description string) *apiError {
	body := encode(wire.OAuthError{Error: code, Description: description})
	e := &apiError{status: status, code: code, body: body}
	if status == http.StatusUnauthorized {
		e.challenge = basicChallenge
	}
	return e
}

const (
	bearerChallenge = `Bearer realm="latchkey"` //nolint:gosec // no credential
	basicChallenge  = `Basic realm="latchkey", charset="UTF-8"`
)

// Errors in front of the API.
var (
	noBearer = fault(http.StatusUnauthorized, wire.FaultNoBearer, "Missing Credentials",
		"The request carries no access token. Send it as: Authorization: Bearer TOKEN")
	localRefused = fault(http.StatusUnauthorized, wire.FaultNoBearer, "Missing Credentials",
		"The request carries no access token, and its header for --trust-local is not accepted. "+
			"The header must hold the same name. The request must come over the Unix socket, or from this machine "+
			"to a loopback address over HTTP/1.1, and not from a proxy or a browser. "+
			"Otherwise send: Authorization: Bearer TOKEN")
	invalidBearer = fault(http.StatusUnauthorized, wire.FaultInvalidBearer, "Invalid Credentials",
		"The access token is wrong, has expired or was revoked. Get another one from "+wire.PathToken)
	notAllowed = fault(http.StatusForbidden, wire.FaultForbidden, "Forbidden",
		"This user may not send this request to the upstream: no rule allows it, or the user was disabled or removed. "+
			"For the operator: latchkey user show NAME.")
	notFound = fault(http.StatusNotFound, wire.FaultNotFound, "Not Found",
		"No resource of the API has this path.")
	methodNotAllowed = fault(http.StatusMethodNotAllowed, wire.FaultMethod, "Method Not Allowed",
		"The resource does not support this method. The Allow header lists the methods that it supports.")
	tooManyHeaders = fault(http.StatusRequestHeaderFieldsTooLarge, wire.FaultHeaders, "Request Header Fields Too Large",
		"The request has more than "+strconv.Itoa(maxHeaderFields)+" header fields.")
	encodingRefused = fault(http.StatusUnsupportedMediaType, wire.FaultEncoding, "Unsupported Media Type",
		"The body is compressed or encoded in another way. No login attempt was counted. "+
			"Send the body without Content-Encoding.")
	bodyLate = fault(http.StatusRequestTimeout, wire.FaultLate, "Request Timeout",
		"The body did not arrive within "+requestTimeout.String()+". No login attempt was counted.")
	overloaded = fault(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable",
		"Too many logins are waiting. No login attempt was counted. Try again after the time in Retry-After.")
	unavailable = fault(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable",
		"The service cannot check the tokens now. They may still be valid. Try again after the time in Retry-After.")
)

// Errors of the session API.
var (
	requestUndefined = result(wire.CodeRequestUndefined, "The request needs a JSON body and has none.")
	unreadable       = result(wire.CodeDeserialization,
		"The body is not a JSON object of the form that this operation accepts, with each name once.")
	tokenMissing = result(wire.CodeTokenMissing,
		"The "+wire.HeaderSessionToken+" header is missing. Log in, and send the session token in it.")
	tokenInvalid = result(wire.CodeTokenInvalid,
		"The "+wire.HeaderSessionToken+" header does not hold exactly one session token, which is a GUID.")
	tokenExpired = result(wire.CodeTokenExpired,
		"The session has ended or was idle for too long. Log in again.")
	badCredentials = result(wire.CodeInvalidCredentials,
		"The user name or the password is wrong. Further attempts may lock the account.")
	accountLocked = result(wire.CodeAccountLocked,
		"The account is locked after too many failed logins in a row. An operator has to unlock it.")
	passwordMismatch = result(wire.CodePasswordMismatch,
		"The old password is wrong. Nothing was changed. Further attempts may lock the account.")
	passwordReplaced = result(wire.CodePasswordMismatch,
		"The old password was correct, but another session or an operator replaced it less than two minutes ago. "+
			"Nothing was changed. Use the new password. Further attempts may lock the account.")
	keyEmpty = result(wire.CodeUnexpected,
		"The "+wire.HeaderIdempotency+" header is empty. Nothing was changed. "+
			"Send a key that you can repeat, or leave the header out.")
	repeatKeyReused = result(wire.CodeRepeatKeyReused,
		"The "+wire.HeaderIdempotency+" belongs to an earlier reset, of another password. Nothing was changed. "+
			"Make a new key for each reset, and repeat a key only for the same reset.")
	internalError = resultWith(http.StatusInternalServerError, wire.CodeUnexpected,
		"The service failed to handle the request. The reason is in its log, under the request's ID.")
)

// Errors of the token endpoint.
var (
	badClient = oauth(http.StatusUnauthorized, wire.OAuthInvalidClient,
		"The API key or its secret is missing or wrong, or the key was revoked. Send both as HTTP Basic credentials.")
	badForm = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest,
		"The body must be a form of the type "+wire.MediaTypeForm+" with each parameter once.")
	noGrantType = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest,
		"The parameter grant_type is missing.")
	badGrantType = oauth(http.StatusBadRequest, wire.OAuthUnsupportedGrantType,
		"The only supported grant_type is "+wire.GrantTypeClient+".")
	badScope = oauth(http.StatusBadRequest, wire.OAuthInvalidScope,
		"The scope is not a list of scope tokens with one space between them.")
	noTokenToEnd = oauth(http.StatusBadRequest, wire.OAuthInvalidRequest,
		"The parameter token is missing.")
)

// apiErrors maps errors of the authority to responses. invalidField handles input that
// no account can have. Every other error means that a store did not respond.
var apiErrors = []struct {
	err      error
	response *apiError
}{
	{authority.ErrSessionExpired, tokenExpired},
	{authority.ErrInvalidBearer, invalidBearer},
	{authority.ErrInvalidCredentials, badCredentials},
	{authority.ErrAccountLocked, accountLocked},
	{authority.ErrPasswordReplaced, passwordReplaced}, // first, because it is also an ErrPasswordMismatch
	{authority.ErrPasswordMismatch, passwordMismatch},
	{authority.ErrIdempotencyKeyReused, repeatKeyReused},
	{authority.ErrInvalidClient, badClient},
	{authority.ErrOverloaded, overloaded},
}

// apiErrorOf returns the response to an error of an operation.
func apiErrorOf(err error) *apiError {
	var e *apiError
	if errors.As(err, &e) {
		return e
	}
	var field *authority.InvalidError
	if errors.As(err, &field) {
		return invalidField(field)
	}
	for _, entry := range apiErrors {
		if errors.Is(err, entry.err) {
			return entry.response
		}
	}
	return unavailable
}

func invalidField(field *authority.InvalidError) *apiError {
	code := wire.CodeUnexpected
	switch field.Kind {
	case authority.TooLong:
		code = wire.CodeDeserialization
	case authority.IllegalCharacter:
		code = wire.CodeInvalidCharacter
	case authority.Missing, authority.Unacceptable:
	}
	return result(code, "The field "+field.Error()+".")
}

var (
	jsonType       = []string{wire.MediaTypeJSON}
	noStore        = []string{"no-store"}
	retryAfterText = []string{strconv.Itoa(int(authority.RetryAfter / time.Second))}
)

// write sends the error with the given status.
func (e *apiError) write(w http.ResponseWriter, status int) {
	header := w.Header()
	header["Content-Type"] = jsonType
	header["Cache-Control"] = noStore
	if e.retry {
		header["Retry-After"] = retryAfterText
	}
	if e.coding {
		header["Accept-Encoding"] = []string{"identity"}
	}
	if e.last {
		header["Connection"] = []string{"close"}
	}
	if e.challenge != "" {
		header["Www-Authenticate"] = []string{e.challenge}
	}
	w.WriteHeader(status)
	_, _ = w.Write(e.body) // an error means that the caller has disconnected
}

// encode marshals a body of package wire, which cannot fail.
func encode(body any) []byte {
	text, err := wire.Marshal(body)
	if err != nil {
		panic("server: a body of package wire does not marshal: " + err.Error())
	}
	return text
}
