package redisstate_test

import (
	"context"
	"encoding/hex"
	"log"
	"os"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/redisstate"
)

// The state of keepers on several hosts, in a Redis of which one replica has to
// confirm what is saved.
func Example() {
	ctx := context.Background()
	option, err := rueidis.ParseURL(os.Getenv("REDIS_URL")) // redis://, also of a Cluster or Sentinels
	if err != nil {
		log.Fatal(err)
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	// Made once, with openssl rand -hex 32, and given to every host.
	key, err := hex.DecodeString(os.Getenv("STATE_KEY"))
	if err != nil {
		log.Fatal("STATE_KEY is not hexadecimal")
	}
	state, err := redisstate.New(ctx, client, redisstate.Config{Name: "zbeeblebrox", Key: key, Replicas: 1})
	if err != nil {
		log.Fatal(err)
	}
	_ = keeper.Config{State: state} // and the rest of it
}
