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

// program is the latchtest.T of an example, which has no *testing.T.
type program struct{ cleanups []func() }

func (p *program) Helper() {}

func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *program) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }

// serveExample starts the service that the examples use: the real one.
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
	session, err := client.LogIn(ctx, "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in with token", session)

	if err := client.LogOut(ctx, session); err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged out")
	// Output:
	// logged in with token [redacted]
	// logged out
}

// An error determines whether another attempt is safe.
func ExampleClient_LogIn() {
	service, stop := serveExample()
	defer stop()
	client := service.Client

	session, err := client.LogIn(context.Background(), "zbeeblebrox", "IMgr8")
	switch {
	case errors.Is(err, latchkey.ErrInvalidCredentials), errors.Is(err, latchkey.ErrAccountLocked):
		log.Fatal(err) // a person has to look: another attempt is another strike
	case errors.Is(err, latchkey.ErrNotSent):
		log.Fatal(err) // it is safe to try again
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(len(session.Reveal()))
	// Output: 36
}

// OnResponse stores the response before it is parsed.
func ExampleClient_ResetPassword() {
	service, stop := serveExample()
	defer stop()
	client := service.Client
	store := func(latchkey.Secret) { fmt.Println("stored") } // durable when it returns

	ctx := context.Background()
	session, err := client.LogIn(ctx, "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}
	newPassword, err := client.ResetPassword(ctx, session, "IMgr8", latchkey.ResetOptions{OnResponse: store})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the new password is", newPassword)
	// Output:
	// stored
	// the new password is [redacted]
}

// Send any other request of the API, and check its response.
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
	service.Advance(20 * time.Minute) // the session is idle
	resp, err := client.Do(req, session)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	err = latchkey.CheckResponse(resp)
	var refused *latchkey.ConnectivityManagementResultError
	if errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.ErrorCode, refused.RequestID)
	}
	fmt.Println("log in again:", errors.Is(err, latchkey.ErrSessionExpired))
	// Output:
	// 400 UnifiedWebService.REQUEST_FAILED.SessionToken.Expired inventory-7
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
