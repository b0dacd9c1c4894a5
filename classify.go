package latchkey

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// errorOfCode lists the sentinels of the codes of the session API.
var errorOfCode = map[wire.Code]error{
	wire.CodeTokenExpired:       ErrSessionExpired,
	wire.CodeTokenInvalid:       ErrSessionTokenInvalid,
	wire.CodeTokenMissing:       ErrSessionTokenMissing,
	wire.CodeInvalidCredentials: ErrInvalidCredentials,
	wire.CodeAccountLocked:      ErrAccountLocked,
	wire.CodePasswordMismatch:   ErrPasswordMismatch,
	wire.CodeRepeatKeyReused:    ErrIdempotencyKeyReused,
	wire.CodeRequestUndefined:   ErrRequestUndefined,
	wire.CodeInvalidCharacter:   ErrInvalidCharacter,
	wire.CodeDeserialization:    ErrDeserialization,
	wire.CodeUnexpected:         ErrUnexpected,
}

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
		return false // its status matches, but a caller must not wait and retry
	}
	return statusIs(status, target)
}

// maxRetryAfter bounds a Retry-After header. A longer one is a mistake that would stop a
// client for good.
const maxRetryAfter = 24 * time.Hour

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

// newResponseError returns the error of a response that cannot be understood.
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
	problem := "the body is not an error of this API"
	if status >= 300 && status <= 399 {
		problem = "redirects are not followed, because they would send the credentials elsewhere"
	}
	return newResponseError(status, header, body, problem, broken, sent)
}

// statusIs reports whether target is the sentinel of a status, whatever the form of the
// error.
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

// retryAfter returns the Retry-After header (RFC 9110, section 10.2.3), a number of
// seconds or a date. A date is compared with the server's clock if the response has one.
// It returns 0 if there is no valid header.
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
