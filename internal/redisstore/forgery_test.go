package redisstore_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/storetest"
)

// TestWhoWritesToRedisMakesNoSession holds that a copy counts only where a replica
// put it, as it made it.
func TestWhoWritesToRedisMakesNoSession(t *testing.T) {
	redis := enginetest.Redis(t)
	r := open(t, enginetest.Postgres(t), redis)
	create(t, 1, r)
	option, err := rueidis.ParseURL(redis)
	must(t, err)
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	must(t, err)
	defer client.Close()
	key := storetest.Key(1)
	places, err := client.Do(t.Context(), client.B().Keys().Pattern("latchkey:*:"+hex.EncodeToString(key[:])).Build()).AsStrSlice()
	if err != nil || len(places) != 1 {
		t.Fatalf("the copy is in %v (%v)", places, err)
	}
	copied, err := client.Do(t.Context(), client.B().Get().Key(places[0]).Build()).ToString()
	must(t, err)
	if strings.Contains(copied, hex.EncodeToString(key[:])) {
		t.Error("the copy holds its own key")
	}
	wait(t, r, true)
	for i, forged := range []string{copied, copied[32:], strings.Repeat("x", 32) + copied[32:], "x", "{}"} {
		other := storetest.Key(100 + i)
		where := strings.TrimSuffix(places[0], hex.EncodeToString(key[:])) + hex.EncodeToString(other[:])
		must(t, client.Do(t.Context(), client.B().Set().Key(where).Value(forged).Build()).Error())
		if err := use(t, r, 100+i); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("forgery %d is answered with %v", i, err)
		}
	}
}
