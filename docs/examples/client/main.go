// Command client logs in to the demo service and logs out again.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/latchkey/latchkey"
)

func main() {
	ctx := context.Background()
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL:   "http://127.0.0.1:8080", // omit it for the vendor's production service
		APIKey:    "demo-key",
		APISecret: "demo-secret",
	})
	if err != nil {
		log.Fatal(err)
	}
	session, err := client.LogIn(ctx, "zbeeblebrox", "IMgr8")
	if errors.Is(err, latchkey.ErrAccountLocked) {
		log.Fatal("the account is locked: do not try again, ask the operator")
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in with the token", session)
	if err := client.LogOut(ctx, session); err != nil {
		log.Fatal(err)
	}
}
