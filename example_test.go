package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/latchkey/latchkey"
)

// serveExample stands for the service that the examples speak to.
func serveExample() *httptest.Server {
	mux := http.NewServeMux()
	answer := func(pattern string, status int, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { reply(w, status, body) })
	}
	answer("POST /api/ts/v1/oauth2/token", 200, tokenBody("94b1ab5ea3", 3600))
	answer("POST /api/m2m/v1/session/login", 200, `{"sessionToken":"bcce3ea6-fe4f-4952-bacf-eadd80718e83"}`)
	answer("POST /api/m2m/v1/session/logout", 200, `{"sessionToken":"bcce3ea6-fe4f-4952-bacf-eadd80718e83"}`)
	answer("PUT /api/m2m/v1/session/password/actions/reset", 200, `{"newPassword":"Wh0a1545a84d"}`)
	answer("GET /api/m2m/v1/accounts/0000123456-00001", 400,
		`{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired","errorMessage":"The session has expired."}`)
	return httptest.NewServer(mux)
}

func exampleClient(service *httptest.Server) *latchkey.Client {
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL:   service.URL,
		APIKey:    "demo-key",
		APISecret: "demo-secret",
	})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// Log in, use the session, log out.
func Example() {
	service := serveExample()
	defer service.Close()

	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL:   service.URL, // leave it out for the vendor's production service
		APIKey:    "demo-key",
		APISecret: "demo-secret",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdleConnections()

	ctx := context.Background()
	session, err := client.SessionManagement.StartConnectivityManagementSession(ctx,
		&latchkey.LogInRequest{Username: "zbeeblebrox", Password: "IMgr8"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in with token", session.Data.SessionToken)

	if _, err := client.SessionManagement.EndConnectivityManagementSession(ctx, session.Data.SessionToken); err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged out")
	// Output:
	// logged in with token [redacted]
	// logged out
}

func ExampleSessionManagementController_StartConnectivityManagementSession() {
	service := serveExample()
	defer service.Close()
	client := exampleClient(service)
	defer client.CloseIdleConnections()

	result, err := client.SessionManagement.StartConnectivityManagementSession(context.Background(),
		&latchkey.LogInRequest{Username: "zbeeblebrox", Password: "IMgr8"})
	switch {
	case errors.Is(err, latchkey.ErrInvalidCredentials), errors.Is(err, latchkey.ErrAccountLocked):
		log.Fatal(err) // a person has to look; trying again costs strikes
	case errors.Is(err, latchkey.ErrNotSent):
		log.Fatal(err) // safe to try again
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(len(result.Data.SessionToken.Reveal()))
	// Output: 36
}

func ExampleSessionManagementController_EndConnectivityManagementSession() {
	service := serveExample()
	defer service.Close()
	client := exampleClient(service)
	defer client.CloseIdleConnections()

	token := latchkey.Secret("bcce3ea6-fe4f-4952-bacf-eadd80718e83")
	result, err := client.SessionManagement.EndConnectivityManagementSession(context.Background(), token)
	if errors.Is(err, latchkey.ErrSessionExpired) {
		return // it has ended already: just as well
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.StatusCode, result.Data.SessionToken.Equal(token))
	// Output: 200 true
}

func ExampleSessionManagementController_ResetConnectivityManagementPassword() {
	service := serveExample()
	defer service.Close()
	client := exampleClient(service)
	defer client.CloseIdleConnections()
	store := func(latchkey.Secret) error { return nil } // durable before it returns

	result, err := client.SessionManagement.ResetConnectivityManagementPassword(context.Background(),
		"bcce3ea6-fe4f-4952-bacf-eadd80718e83",
		&latchkey.SessionResetPasswordRequest{OldPassword: "grflbk"})
	var unreadable *latchkey.ResponseError
	if errors.As(err, &unreadable) {
		_ = store(unreadable.RawBody) // the new password may be in there, and nowhere else
	}
	if err != nil {
		log.Fatal(err)
	}
	if err := store(result.Data.NewPassword); err != nil {
		log.Fatal(err)
	}
	fmt.Println(result)
	// Output: {StatusCode:200 Header:[Content-Length Content-Type Date] Data:{NewPassword:[redacted]}}
}

// Any other request of the API, and what its answer means.
func ExampleClient_Do() {
	service := serveExample()
	defer service.Close()
	client := exampleClient(service)
	defer client.CloseIdleConnections()

	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		"/api/m2m/v1/accounts/0000123456-00001", nil)
	if err != nil {
		log.Fatal(err)
	}
	session := latchkey.Secret("bcce3ea6-fe4f-4952-bacf-eadd80718e83")
	resp, err := client.Do(req, session)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		log.Fatal(err)
	}
	err = latchkey.ErrorFromResponse(resp.StatusCode, resp.Header, body, session)
	fmt.Println(err)
	fmt.Println("log in again:", errors.Is(err, latchkey.ErrSessionExpired))
	// Output:
	// latchkey: refused UnifiedWebService.REQUEST_FAILED.SessionToken.Expired: The session has expired. (status 400)
	// log in again: true
}
