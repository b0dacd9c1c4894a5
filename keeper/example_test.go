package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

// A program whose every request carries two live tokens.
func Example() {
	client, err := latchkey.NewClient(latchkey.Config{
		APIKey:    os.Getenv("LATCHKEY_API_KEY"),
		APISecret: latchkey.Secret(os.Getenv("LATCHKEY_API_SECRET")),
	})
	if err != nil {
		log.Fatal(err)
	}
	state, err := keeper.NewFileState("/var/lib/myapp/upstream")
	if err != nil {
		log.Fatal(err)
	}
	k, err := keeper.New(keeper.Config{
		Upstream:   client,
		Credential: keeper.Static("zbeeblebrox", latchkey.Secret(os.Getenv("LATCHKEY_PASSWORD"))),
		State:      state,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() { _ = k.Close(ctx) }()

	resp, err := k.HTTPClient().Post(client.BaseURL()+"api/m2m/v1/devices/actions/list",
		"application/json", strings.NewReader(`{"accountName":"0000123456-00001"}`))
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
}

// What to do when the password is wrong, before five failures lock the account.
func ExampleLatchedError() {
	var k *keeper.Keeper // as in the example of the package
	_, err := k.HTTPClient().Get("https://thingspace.verizon.com/api/m2m/v1/accounts/0000123456-00001")
	var latched *keeper.LatchedError
	if errors.As(err, &latched) {
		fmt.Printf("no login since %v: %s\n", latched.Since, latched.Reason)
		// A person looks into it; a corrected password is found by itself.
		// If it was right all along:
		err = k.ResetGuard(context.Background())
	}
	if err != nil {
		log.Print(err)
	}
}

// The password is read again before each login, from wherever it is kept.
func ExampleConfig_credential() {
	_ = keeper.Config{Credential: passwordFile("/run/secrets/thingspace")}
}

type passwordFile string

func (path passwordFile) Load(context.Context) (credential.Credential, error) {
	password, err := os.ReadFile(string(path))
	return credential.Credential{User: "zbeeblebrox", Password: latchkey.Secret(strings.TrimSpace(string(password)))}, err
}

// Changes as they happen, for an alarm or a metric.
func ExampleConfig_onEvent() {
	_ = keeper.Config{OnEvent: func(e keeper.Event) {
		if e.Kind == keeper.EventLatched {
			fmt.Println("wake an operator:", e.Err)
		}
	}}
}
