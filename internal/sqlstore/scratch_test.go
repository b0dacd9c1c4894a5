package sqlstore_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/sqlstore"
)

func BenchmarkScratch(b *testing.B) {
	db, err := sqlstore.OpenPostgres(b.Context(), sqlstore.PostgresOptions{URL: enginetest.Postgres(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close(b.Context())
	now := db.Now()
	keys := make([]authority.SessionKey, 1000)
	for i := range keys {
		keys[i] = sha256.Sum256([]byte(fmt.Sprint(i)))
		_ = db.CreateSession(b.Context(), authority.Session{Key: keys[i], User: "user", Client: "client", PasswordVersion: 1, CreatedAt: now, LastUsedAt: now.Add(10 * time.Minute)})
	}
	for _, p := range []int{1, 32} {
		b.Run(fmt.Sprint(p*2), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(p)
			b.RunParallel(func(pb *testing.PB) {
				i := 0
				for pb.Next() {
					if _, err := db.UseSession(b.Context(), keys[i%1000], now, time.Hour); err != nil {
						b.Error(err)
					}
					i += 7
				}
			})
		})
	}
}
