package postgres_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, enginetest.Leaks()...) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
