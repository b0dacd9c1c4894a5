package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/latchtest"
)

// program stands for the *testing.T that a test has and an example has not.
type program struct{ cleanups []func() }

func (p *program) Helper() {}

func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *program) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }

// serveExample starts the service that the examples speak to: the real one.
func serveExample() (service *latchtest.Server, stop func()) {
	p := &program{}
	return latchtest.NewServer(p), func() {
		for _, f := range slices.Backward(p.cleanups) {
			f()
		}
	}
}

// Log in, use the session, log out.
func Example() {
	service, stop := serveExample()
	defer stop()

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
	service, stop := serveExample()
	defer stop()
	client := service.Client

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
	service, stop := serveExample()
	defer stop()
	client := service.Client

	token, err := client.LogIn(context.Background(), "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}
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
	service, stop := serveExample()
	defer stop()
	client := service.Client
	store := func(latchkey.Secret) error { return nil } // durable before it returns

	session, err := client.LogIn(context.Background(), "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.SessionManagement.ResetConnectivityManagementPassword(context.Background(),
		session, &latchkey.SessionResetPasswordRequest{OldPassword: "IMgr8"})
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
	// Output: {StatusCode:200 Header:[Cache-Control Content-Length Content-Type Date X-Request-Id] Data:{NewPassword:[redacted]}}
}

// Any other request of the API, and what its answer means.
func ExampleClient_Do() {
	service, stop := serveExample()
	defer stop()
	client := service.Client

	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		"/api/m2m/v1/accounts/0000123456-00001", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("X-Request-Id", "inventory-7") // names it in logs and errors
	session, err := client.LogIn(context.Background(), "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}
	service.Advance(20 * time.Minute) // nobody uses the session meanwhile
	resp, err := client.Do(req, session)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	err = latchkey.CheckResponse(resp)
	fmt.Println(err)
	fmt.Println("log in again:", errors.Is(err, latchkey.ErrSessionExpired))
	// Output:
	// latchkey: refused UnifiedWebService.REQUEST_FAILED.SessionToken.Expired: The session has ended or was idle for too long. Log in again. (status 400, request id inventory-7)
	// log in again: true
}

// The same program runs against the vendor and against a service of latchkey.
func ExampleConfigFromEnvironment() {
	config, err := latchkey.ConfigFromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	config.APIKey, config.APISecret = "demo-key", "demo-secret" // unless the environment has them
	config.Log = slog.Default()
	client, err := latchkey.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.BaseURL())
}
