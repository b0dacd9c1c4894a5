package postgres_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

func BenchmarkLogIns(b *testing.B) {
	db, err := postgres.Open(b.Context(), postgres.Options{URL: enginetest.Postgres(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close(b.Context()) }()
	storetest.BenchmarkLogIns(b, db.Stores())
}
