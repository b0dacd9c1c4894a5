package pgstate_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

// A program that runs on several hosts, all of which use one session.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	// Made once, with openssl rand -hex 32, and given to every host.
	key, err := hex.DecodeString(os.Getenv("STATE_KEY"))
	if err != nil {
		log.Fatal("STATE_KEY is not hexadecimal")
	}
	state, err := pgstate.New(ctx, pool, pgstate.Config{Name: "zbeeblebrox", Key: key})
	if err != nil {
		log.Fatal(err)
	}
	client, err := latchkey.NewClient(latchkey.Config{
		APIKey:    os.Getenv("LATCHKEY_API_KEY"),
		APISecret: latchkey.Secret(os.Getenv("LATCHKEY_API_SECRET")),
	})
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
	defer func() { _ = k.Close(ctx) }() // before the pool is

	resp, err := k.HTTPClient().Get(client.BaseURL() + "api/m2m/v1/accounts/0000123456-00001")
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
}
