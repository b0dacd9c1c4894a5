package redisstate_test

import (
	"context"
	"testing"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/replicatest"
	"github.com/latchkey/latchkey/keeper/redisstate"
)

func TestMain(m *testing.M) {
	replicatest.Main(m, func(ctx context.Context, address string) (keeper.State, error) {
		client, err := rueidis.NewClient(at(address))
		if err != nil {
			return nil, err
		}
		return redisstate.New(ctx, client, config)
	})
}

var (
	key    = []byte("a key of the tests: 32 bytes long")
	config = redisstate.Config{Name: "zbeeblebrox", Key: key}
)

const redisKey = "latchkey:keeper:zbeeblebrox"

// connect is a client that ends with the test.
func connect(t testing.TB, option rueidis.ClientOption) rueidis.Client {
	t.Helper()
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func at(addresses ...string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: addresses}
}

// open is the state of a replica, which has a client of its own.
func open(t testing.TB, option rueidis.ClientOption) *redisstate.State {
	t.Helper()
	state, err := redisstate.New(t.Context(), connect(t, option), config)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// do is done by hand to Redis.
func do(t testing.TB, client rueidis.Client, command string, arguments ...string) string {
	t.Helper()
	answer := client.Do(context.Background(), client.B().Arbitrary(command).Keys(redisKey).Args(arguments...).Build())
	if err := answer.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	text, _ := answer.ToString()
	return text
}
