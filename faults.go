package latchkey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// What the gateway and other bystanders say, whatever form it has.
var (
	// ErrUnauthorized: a token was refused. Every error with status 401 matches it,
	// whatever its form, and so do the faults 900901 to 900904. An error that also
	// matches a more specific sentinel (ErrSessionExpired, ErrInvalidClient) is
	// about what that sentinel names. Otherwise it is the access token, or the
	// service did not say which token: see [Client.InvalidateAccessToken].
	ErrUnauthorized = errors.New("the access token was refused")
	// ErrThrottled: too many requests (status 429, or faults 900800 to 900807
	// without 900805). Wait for RetryAfter.
	ErrThrottled = errors.New("too many requests")
	// ErrBlocked: the API client was blocked (fault 900805). Only the operator of
	// the service can change that, so do not retry.
	ErrBlocked = errors.New("the API client is blocked")
	// ErrNoSuchResource: the API gateway knows no resource of this path (faults
	// 900906 and 404).
	ErrNoSuchResource = errors.New("no such resource")
	// ErrUnavailable: the service is overloaded or away (status 503). Wait for
	// RetryAfter.
	ErrUnavailable = errors.New("the service is unavailable")
	// ErrInvalidClient: the API key or its secret is wrong.
	ErrInvalidClient = errors.New("the API key or its secret is wrong")
)

// errorOfMeaning lists the sentinels of what refusals mean.
var errorOfMeaning = map[wire.Meaning]error{
	wire.MeaningSessionExpired: ErrSessionExpired,
	wire.MeaningSessionInvalid: ErrSessionTokenInvalid,
	wire.MeaningSessionMissing: ErrSessionTokenMissing,
	wire.MeaningBearer:         ErrUnauthorized,
	wire.MeaningToken:          ErrUnauthorized,
	wire.MeaningThrottled:      ErrThrottled,
	wire.MeaningBlocked:        ErrBlocked,
	wire.MeaningNoResource:     ErrNoSuchResource,
}

// refusalIs reports whether target is the sentinel of a refusal's meaning or of
// its status.
func refusalIs(meaning wire.Meaning, status int, target error) bool {
	if sentinel := errorOfMeaning[meaning]; sentinel != nil && errors.Is(target, sentinel) {
		return true
	}
	if meaning == wire.MeaningBlocked && errors.Is(target, ErrThrottled) {
		return false // its status says so, and a caller would wait and retry
	}
	return statusIs(status, target)
}

// maxRetryAfter bounds what is believed of a Retry-After header: a longer one is
// a mistake, and would put a client to sleep for good.
const maxRetryAfter = 24 * time.Hour

// FaultError is the answer of the API gateway itself. With a status below 500 no
// service saw the request. With 5xx, a timeout of the gateway's for one, a
// service may have seen it and acted on it.
type FaultError struct {
	StatusCode  int
	Code        string        // "900901"
	Message     string        // prose, shortened, without control characters and secrets
	Description string        // the same
	RetryAfter  time.Duration // 0 with ErrBlocked: do not retry
	RequestID   string
}

func (e *FaultError) Error() string {
	return describe(e.StatusCode, e.RequestID, "fault", e.Code, e.Message, e.Description)
}

// Is reports whether target is the sentinel of e's code or status.
func (e *FaultError) Is(target error) bool {
	return refusalIs(wire.FaultMeaning(e.StatusCode, e.Code), e.StatusCode, target)
}

// isBearerRefused reports whether err means that the access token was refused, or
// may have been.
func isBearerRefused(err error) bool {
	var fault *FaultError
	var result *ConnectivityManagementResultError
	var oauth *OAuthError
	var odd *ResponseError
	var meaning wire.Meaning
	switch {
	case errors.As(err, &fault):
		meaning = wire.FaultMeaning(fault.StatusCode, fault.Code)
	case errors.As(err, &result):
		meaning = result.meaning
	case errors.As(err, &oauth):
		meaning = oauth.meaning
	case errors.As(err, &odd) && odd.StatusCode == http.StatusUnauthorized:
		meaning = wire.MeaningToken
	}
	return meaning == wire.MeaningBearer || meaning == wire.MeaningToken
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

	meaning wire.Meaning // found in the whole of what the service sent
}

func (e *OAuthError) Error() string {
	return describe(e.StatusCode, e.RequestID, "error", e.Code, e.Description, e.Cause)
}

// Is reports whether target is ErrInvalidClient, the sentinel of what is wrapped in
// e, or that of the status.
func (e *OAuthError) Is(target error) bool {
	return target == ErrInvalidClient && e.Code == wire.OAuthInvalidClient || refusalIs(e.meaning, e.StatusCode, target)
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

// Is reports whether target is the sentinel of the status: ErrUnauthorized,
// ErrThrottled or ErrUnavailable.
func (e *ResponseError) Is(target error) bool { return statusIs(e.StatusCode, target) }

func newResponseError(
	status int, header http.Header, body []byte, problem string, cause error, sent []Secret,
) *ResponseError {
	return &ResponseError{
		StatusCode: status, ContentType: sanitize(header.Get("Content-Type"), maxWord, sent),
		Size: len(body), Problem: problem, RetryAfter: retryAfter(header),
		RequestID: sanitize(header.Get(wire.HeaderRequestID), maxWord, sent),
		RawBody:   Secret(body), Err: cause,
	}
}

// CheckResponse returns nil if resp has a 2xx status. Otherwise it reads the body and
// returns a [ConnectivityManagementResultError], [FaultError] or [OAuthError] if the
// body has that form, and a [ResponseError] if it has none of them. docs/contract.md
// lists the published forms. The body may be in the content coding that its header names
// (gzip or deflate), may begin with a byte order mark, and may be cut off after its
// code.
//
// CheckResponse reads at most 1 MiB. resp.Body can still be read from its beginning, and
// the caller closes it.
//
// If the server echoes a secret of the request, the error does not show it. That
// includes the tokens in the headers of resp.Request; sent names further secrets. A
// secret that could be an ordinary word is not searched for, because the gap would
// reveal it: the error then does not show the service's message at all.
func CheckResponse(resp *http.Response, sent ...Secret) error {
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	sent = append(tokensOf(resp.Request), sent...)
	if resp.Body == nil {
		return classify(resp.StatusCode, resp.Header, nil, nil, sent)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failingReader{err}
		if !quotesNothing(err) {
			err = errNotHTTP
		}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), resp.Body}
	if len(body) > maxBody {
		body, err = body[:maxBody], errBodyTooLong
	}
	return classify(resp.StatusCode, resp.Header, body, err, sent)
}

// failingReader is the end of a body that could not be read.
type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// tokensOf returns the tokens in the headers of req, which may be nil.
func tokensOf(req *http.Request) (tokens []Secret) {
	if req == nil {
		return nil
	}
	for _, name := range []string{"Authorization", wire.HeaderSessionToken, wire.HeaderSessionTokenIMP} {
		for _, value := range req.Header.Values(name) {
			if _, credentials, ok := strings.Cut(value, " "); ok {
				value = credentials
			}
			tokens = append(tokens, Secret(value))
		}
	}
	return tokens
}

// classify returns the error of a response; nil for a success. broken is why the body
// ended early, if it did.
func classify(status int, header http.Header, body []byte, broken error, sent []Secret) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	id := sanitize(header.Get(wire.HeaderRequestID), maxWord, sent)
	text, _ := wire.Decode(header, body, maxBody) // what cannot be decoded has no form
	refusal := wire.ParseRefusal(status, text)
	code, message := errorCode(refusal.Code, sent), message(refusal.Code, refusal.Message, sent)
	switch refusal.Form {
	case wire.FormFault:
		fault := &FaultError{
			StatusCode: status, Code: code, Message: message, Description: detail(refusal.Description, sent),
			RetryAfter: retryAfter(header), RequestID: id,
		}
		if refusal.Meaning == wire.MeaningBlocked {
			fault.RetryAfter = 0
		}
		return fault
	case wire.FormResult:
		return &ConnectivityManagementResultError{
			StatusCode: status, ErrorCode: code, ErrorMessage: message, RequestID: id, meaning: refusal.Meaning,
		}
	case wire.FormOAuth:
		return &OAuthError{
			StatusCode: status, Code: code, Description: message, Cause: detail(refusal.Cause, sent),
			RetryAfter: retryAfter(header), RequestID: id, meaning: refusal.Meaning,
		}
	}
	problem := "it is no error of this API"
	if status >= 300 && status <= 399 {
		problem = "it is a redirect, and none is followed, because it would take the credentials elsewhere"
	}
	return newResponseError(status, header, body, problem, broken, sent)
}

// statusIs matches the sentinels that a status stands for in every form of error.
func statusIs(status int, target error) bool {
	switch status {
	case http.StatusUnauthorized:
		return errors.Is(target, ErrUnauthorized)
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
