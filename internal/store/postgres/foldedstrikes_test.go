package postgres_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

func TestStressLocksOfUnknownNamesAreKept(t *testing.T) {
	t.Parallel()
	db := openPostgres(t, postgres.Options{URL: enginetest.Postgres(t)})
	storetest.GuessAtManyNames(t, db.Stores())
}
