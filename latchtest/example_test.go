package latchtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
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

func (p *program) end() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
}

// A session expires without a wait.
func Example() {
	t := &program{} // in a test, the *testing.T
	defer t.end()
	service := latchtest.NewServer(t)

	ctx := context.Background()
	token, err := service.Client.LogIn(ctx, latchtest.User, latchtest.Password)
	if err != nil {
		log.Fatal(err)
	}
	service.Advance(20 * time.Minute)
	err = service.Client.LogOut(ctx, token)
	fmt.Println("expired:", errors.Is(err, latchkey.ErrSessionExpired))
	for _, event := range service.Events()[2:] {
		fmt.Println(event.Kind, event.User)
	}
	// Output:
	// expired: true
	// login zbeeblebrox
	// expired zbeeblebrox
}

// The answer of a login is lost on its way: the client cannot know what happened,
// but the test can.
func ExampleServer_Inject() {
	t := &program{} // in a test, the *testing.T
	defer t.end()
	service := latchtest.NewServer(t)

	service.Inject(latchtest.LogIn, latchtest.DropAfter(), 1)
	_, err := service.Client.LogIn(context.Background(), latchtest.User, latchtest.Password)
	var transport *latchkey.TransportError
	fmt.Println("maybe:", errors.As(err, &transport) && transport.MaybeSent)
	fmt.Println("logins:", service.Count(latchtest.EventLogIn))
	// Output:
	// maybe: true
	// logins: 1
}
