// Command keeper sends a request in the session that a keeper shares.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

func main() {
	ctx := context.Background()
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: "http://127.0.0.1:8080", APIKey: "demo-key", APISecret: "demo-secret",
	})
	if err != nil {
		log.Fatal(err)
	}
	state, err := keeper.NewFileState("./upstream-state") // the session and the strikes, encrypted
	if err != nil {
		log.Fatal(err)
	}
	k, err := keeper.New(keeper.Config{
		Upstream:   client, // a *latchkey.Client
		Credential: keeper.Static("zbeeblebrox", "IMgr8"),
		State:      state,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = k.Close(ctx) }()

	resp, err := k.HTTPClient().Get("http://127.0.0.1:8080/api/m2m/v1/accounts/0000123456-00001")
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(os.Stdout, resp.Body)
}
