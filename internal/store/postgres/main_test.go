package postgres_test

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// TestMain runs more tests at a time than there are processors: most of their time, they wait
// for the database. The flag -parallel overrides it.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, enginetest.Leaks()...)
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
