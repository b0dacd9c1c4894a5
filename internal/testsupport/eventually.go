package testsupport

import (
	"testing"
	"time"
)

// Eventually returns when a condition holds, which something that runs beside the test
// fulfills soon. Only a test that fails takes as long as the limit of a minute.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("it does not hold within a minute: %s", what)
		}
	}
}
