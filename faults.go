package latchkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// What the gateway and other bystanders say, whatever form it has.
var (
	// ErrUnauthorized: the gateway refused the bearer (fault 900901 or 900902, or
	// any other with status 401). See [Client.InvalidateAccessToken].
	ErrUnauthorized = errors.New("the access token was refused")
	// ErrThrottled: too many requests (status 429 or fault 900800). Wait for
	// RetryAfter.
	ErrThrottled = errors.New("too many requests")
	// ErrUnavailable: the service is overloaded or away (status 503). Wait for
	// RetryAfter.
	ErrUnavailable = errors.New("the service is unavailable")
	// ErrInvalidClient: the API key or its secret is wrong.
	ErrInvalidClient = errors.New("the API key or its secret is wrong")
)

// maxRetryAfter bounds what is believed of a Retry-After header: a longer one is
// a mistake, and would put a client to sleep for good.
const maxRetryAfter = 24 * time.Hour

// FaultError is the answer of the API gateway itself. With a status below 500 no
// service saw the request. With 5xx, a timeout of the gateway's for one, a
// service may have seen it and acted on it.
type FaultError struct {
	StatusCode  int
	Code        string // "900901"
	Message     string // prose, shortened, without control characters and secrets
	Description string // the same
	RetryAfter  time.Duration
	RequestID   string
}

func (e *FaultError) Error() string {
	return describe(e.StatusCode, e.RequestID, "fault", e.Code, e.Message, e.Description)
}

// Is reports whether target is ErrUnauthorized, ErrThrottled or ErrUnavailable,
// and that is what happened.
func (e *FaultError) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.Code == wire.FaultInvalidBearer || e.Code == wire.FaultNoBearer ||
			e.StatusCode == http.StatusUnauthorized
	case ErrThrottled:
		return e.Code == wire.FaultThrottled || e.StatusCode == http.StatusTooManyRequests
	}
	return statusIs(e.StatusCode, target)
}

func isBearerRefused(err error) bool {
	var fault *FaultError
	return errors.As(err, &fault) && fault.Is(ErrUnauthorized)
}

// OAuthError is an error of the form of RFC 6749, section 5.2: from the token
// endpoint, and from services beside the session API, which wrap an expired
// session in it. errors.Is(err, ErrSessionExpired) recognises that.
type OAuthError struct {
	StatusCode  int
	Code        string // "invalid_client"
	Description string // prose, shortened, without control characters and secrets
	Cause       string // the same
	RetryAfter  time.Duration
	RequestID   string

	wrapped error // the sentinel of the session error that is wrapped in it, if any
}

func (e *OAuthError) Error() string {
	return describe(e.StatusCode, e.RequestID, "error", e.Code, e.Description, e.Cause)
}

// Is reports whether target is ErrInvalidClient, ErrSessionExpired,
// ErrSessionTokenInvalid, or the sentinel of the status, and that is what
// happened.
func (e *OAuthError) Is(target error) bool {
	return target == ErrInvalidClient && e.Code == wire.OAuthInvalidClient ||
		e.wrapped != nil && e.wrapped == target || statusIs(e.StatusCode, target)
}

// wrappedError answers which session error a service wrapped into its own, from
// the whole of what it told; nil for none.
func wrappedError(code, told string) error {
	switch {
	case code != wire.OAuthUnauthorized:
		return nil
	case strings.Contains(told, string(wire.CodeTokenInvalid)):
		return ErrSessionTokenInvalid
	case strings.Contains(told, string(wire.CodeTokenExpired)):
		return ErrSessionExpired
	case strings.Contains(told, "UWS") && strings.Contains(told, "[400]"):
		// The vendor's documented form (Cloud Connector, "Expired VZ-M2M token")
		// only says that UWS, the session service, answered 400. Where that
		// answered 401, the bearer was refused.
		return ErrSessionExpired
	}
	return nil
}

// ResponseError is an answer that cannot be understood: an error page of a
// proxy, a redirect (none is followed), or a success that does not hold what it
// should.
type ResponseError struct {
	StatusCode  int
	ContentType string
	Size        int    // bytes of the body that arrived, at most 1 MiB
	Problem     string // what is wrong with it
	RetryAfter  time.Duration
	RequestID   string
	// RawBody is what arrived of the body. After a reset it may hold the only
	// copy of the new password.
	RawBody Secret
	Err     error // why the body ended early; nil if it did not
}

func (e *ResponseError) Error() string {
	text := fmt.Sprintf("latchkey: unexpected answer (status %d, content type %q, %d bytes%s): %s",
		e.StatusCode, e.ContentType, e.Size, requestID(e.RequestID), e.Problem)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap answers why the body ended early, if it did.
func (e *ResponseError) Unwrap() error { return e.Err }

// Is reports whether target is ErrThrottled or ErrUnavailable, and that is what
// the status says.
func (e *ResponseError) Is(target error) bool { return statusIs(e.StatusCode, target) }

func newResponseError(
	status int, header http.Header, body []byte, problem string, cause error, sent []Secret,
) *ResponseError {
	return &ResponseError{
		StatusCode: status, ContentType: prose(header.Get("Content-Type"), maxWord, sent),
		Size: len(body), Problem: problem, RetryAfter: retryAfter(header),
		RequestID: prose(header.Get(wire.HeaderRequestID), maxWord, sent),
		RawBody:   Secret(body), Err: cause,
	}
}

// ErrorFromResponse classifies an answer of any service of the API: nil for a
// 2xx status, and otherwise a [ConnectivityManagementResultError], [FaultError]
// or [OAuthError] where the body has that form, and a [ResponseError] where it
// has none of them. sent names the secrets that the request carried; if the
// server echoes one, it is redacted. A secret that could be an ordinary word is not
// searched for, because the gap would tell it: the service's message is then not
// shown at all, whatever is in it.
func ErrorFromResponse(status int, header http.Header, body []byte, sent ...Secret) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	id := prose(header.Get(wire.HeaderRequestID), maxWord, sent)
	if fault, ok := wire.ParseFault(body); ok {
		return &FaultError{
			StatusCode: status, Code: errorCode(fault.Code, sent),
			Message: message(fault.Code, fault.Message, sent), Description: detail(fault.Description, sent),
			RetryAfter: retryAfter(header), RequestID: id,
		}
	}
	// The prose is kept raw at first: a service that puts an object where a
	// string belongs must not hide its code.
	var told struct {
		ErrorCode    string          `json:"errorCode"`
		ErrorMessage json.RawMessage `json:"errorMessage"`
		Error        string          `json:"error"`
		Description  json.RawMessage `json:"error_description"`
		Cause        json.RawMessage `json:"cause"`
	}
	err := json.Unmarshal(body, &told)
	switch {
	case err == nil && told.ErrorCode != "":
		return &ConnectivityManagementResultError{
			StatusCode: status, ErrorCode: errorCode(told.ErrorCode, sent),
			ErrorMessage: message(told.ErrorCode, unquote(told.ErrorMessage), sent), RequestID: id,
		}
	case err == nil && told.Error != "":
		description, cause := unquote(told.Description), unquote(told.Cause)
		return &OAuthError{
			StatusCode: status, Code: errorCode(told.Error, sent),
			Description: message(told.Error, description, sent), Cause: detail(cause, sent),
			RetryAfter: retryAfter(header), RequestID: id,
			wrapped: wrappedError(told.Error, description+"\n"+cause),
		}
	}
	problem := "it is no error of this API"
	if status >= 300 && status <= 399 {
		problem = "it is a redirect, and none is followed, because it would take the credentials elsewhere"
	}
	return newResponseError(status, header, body, problem, nil, sent)
}

// unquote answers the string that raw is, or raw itself where it is no string.
func unquote(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// statusIs matches the sentinels that a status stands for in every form of error.
func statusIs(status int, target error) bool {
	switch status {
	case http.StatusTooManyRequests:
		return errors.Is(target, ErrThrottled)
	case http.StatusServiceUnavailable:
		return errors.Is(target, ErrUnavailable)
	}
	return false
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3), a number of seconds
// or a date. A date is judged by the server's clock where it tells it. 0 means
// none, or now.
func retryAfter(header http.Header) time.Duration {
	value := strings.TrimSpace(header.Get(wire.HeaderRetryAfter))
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
