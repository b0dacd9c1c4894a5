package latchkey

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/wire"
)

// The vendor's environments, for Config.BaseURL. A service of latchkey has a URL of its own.
const (
	ProductionURL  = wire.ProductionBaseURL // the default
	StagingURL     = "https://staging.thingspace.verizon.com"
	DevelopmentURL = "https://devmanagement-staging.thingspace.verizon.com"
	QAURL          = "https://tsd-nginx-qa-us-east-1.thingspace.verizon.com"
	MockURL        = "https://mock-staging.thingspace.verizon.com"
)

const vendorsHost = "thingspace.verizon.com" // of ProductionURL

// vendorHosts returns the further hosts of the vendor's production that need the session.
func vendorHosts() map[string]string {
	return map[string]string{
		"imp.thingspace.verizon.com": wire.HeaderSessionTokenIMP,
		"5gedge.verizon.com":         wire.HeaderSessionToken,
	}
}

// vendorEnvironment returns the URL of an environment by the name that it has in the
// vendor's SDKs, whose spellings differ from language to language; "" for no such name.
func vendorEnvironment(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	switch {
	case name == "production":
		return ProductionURL
	case name == "staging":
		return StagingURL
	case name == "dev":
		return DevelopmentURL
	case name == "qa":
		return QAURL
	case strings.HasPrefix(name, "mockserver"):
		return MockURL
	}
	return ""
}

// SessionManagementController has the operations of the session API under the names of
// the vendor's SDKs. Each returns the whole response; the methods of [Client] return the
// result alone. Get it from [Client.SessionManagement]. It is safe for concurrent use.
type SessionManagementController struct {
	client *Client
}

// StartConnectivityManagementSession is [Client.LogIn]. A nil body sends none, which the
// API permits and its services refuse ([ErrRequestUndefined]).
func (s *SessionManagementController) StartConnectivityManagementSession(
	ctx context.Context, body *LogInRequest,
) (*ApiResponse[LogInResult], error) {
	token, resp, err := s.client.logIn(ctx, body)
	return apiResponse(resp, LogInResult{SessionToken: token}, err)
}

// EndConnectivityManagementSession is [Client.LogOut]. Its result holds the token of the
// session that ended.
func (s *SessionManagementController) EndConnectivityManagementSession(
	ctx context.Context, sessionToken Secret,
) (*ApiResponse[LogOutRequest], error) {
	token, resp, err := s.client.logOut(ctx, sessionToken)
	return apiResponse(resp, LogOutRequest{SessionToken: token}, err)
}

// ResetConnectivityManagementPassword is [Client.ResetPassword].
func (s *SessionManagementController) ResetConnectivityManagementPassword(
	ctx context.Context, sessionToken Secret, body *SessionResetPasswordRequest,
) (*ApiResponse[SessionResetPasswordResult], error) {
	if body == nil {
		body = &SessionResetPasswordRequest{}
	}
	password, resp, err := s.client.resetPassword(ctx, sessionToken, body.OldPassword,
		ResetOptions{IdempotencyKey: body.IdempotencyKey})
	return apiResponse(resp, SessionResetPasswordResult{NewPassword: password}, err)
}

// LogInRequest is the user name and the password of a login; see [Client.LogIn].
type LogInRequest struct {
	Username string
	Password Secret
}

// problem returns why a login with r cannot succeed; "" if it can.
func (r *LogInRequest) problem() string {
	switch {
	case r.Username == "":
		return "the user name is empty"
	case r.Password == "":
		return "the password is empty"
	case !utf8.ValidString(r.Username):
		return "the user name is not valid UTF-8"
	case !utf8.ValidString(r.Password.Reveal()):
		return "the password is not valid UTF-8"
	}
	return ""
}

// LogInResult is the result of a login.
type LogInResult struct {
	// SessionToken belongs in the VZ-M2M-Token header of every further request.
	SessionToken Secret
}

// LogOutRequest is the result of a logout, under the name that the API gives it.
type LogOutRequest struct {
	// SessionToken is the token of the session that ended.
	SessionToken Secret
}

// SessionResetPasswordRequest is the password to replace; see [Client.ResetPassword].
type SessionResetPasswordRequest struct {
	OldPassword    Secret
	IdempotencyKey string // see ResetOptions
}

// SessionResetPasswordResult is the result of a password reset.
type SessionResetPasswordResult struct {
	// NewPassword is effective already and appears nowhere else: store it durably.
	NewPassword Secret
}

// ApiResponse is the response to an operation that succeeded.
//
// It prints, marshals and logs without secrets and without the values of headers. Header
// by itself is an ordinary map, which prints its values.
type ApiResponse[T any] struct {
	StatusCode int
	Header     http.Header `json:"-"`
	// RawBody is the body as it arrived, without a content coding.
	RawBody Secret `json:"-"`
	Data    T
}

func apiResponse[T any](resp *response, data T, err error) (*ApiResponse[T], error) {
	if err != nil {
		return nil, err
	}
	return &ApiResponse[T]{
		StatusCode: resp.status, Header: resp.header, RawBody: Secret(resp.body), Data: data,
	}, nil
}

// Format implements fmt.Formatter. It writes the status, the names of the headers, and
// Data, whatever the verb.
func (r ApiResponse[T]) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{StatusCode:%d Header:%v Data:%+v}",
		r.StatusCode, slices.Sorted(maps.Keys(r.Header)), r.Data)
}
