package storetest

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// BenchmarkLogIns measures logins with a cheap hash, so that the store is what takes the
// time: 32 at once, by as many users, and then by one.
func BenchmarkLogIns(b *testing.B, stores authority.Stores) {
	rules, err := authority.New(authority.Config{Stores: stores, Key: make([]byte, 32), HashSlots: 32, HashQueue: 1000,
		Hash: authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	const atOnce = 32
	for i := range atOnce {
		if err := rules.AddKnownUser(b.Context(), fmt.Sprint("user ", i), "right", authority.Origin{}); err != nil {
			b.Fatal(err)
		}
	}
	for _, users := range []int64{atOnce, 1} {
		for _, password := range []secret.Text{"right", "wrong"} {
			if password == "wrong" && users == 1 {
				continue // the user would be locked
			}
			b.Run(fmt.Sprintf("users=%d/%s", users, password.Reveal()), func(b *testing.B) {
				b.SetParallelism(atOnce)
				var next atomic.Int64
				b.RunParallel(func(p *testing.PB) {
					name := fmt.Sprint("user ", next.Add(1)%users)
					for p.Next() {
						if password == "wrong" { // a name that no user has
							name = fmt.Sprint("unknown ", next.Add(1))
						}
						_, err := rules.LogIn(b.Context(), name, password, authority.Origin{Client: "key"})
						if (err == nil) != (password == "right") {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
