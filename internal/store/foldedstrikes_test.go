package store_test

import (
	"context"
	"testing"

	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// TestStressLocksOfUnknownNamesAreKept also trims the folded strikes.
func TestStressLocksOfUnknownNamesAreKept(t *testing.T) {
	db, err := sqlite.Open(t.Context(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	storetest.GuessAtManyNames(t, db.Stores())
	folded, err := store.CountFolded(t.Context(), db.Tables)
	if err != nil || folded < 500 {
		t.Errorf("%d strikes are folded, %v", folded, err)
	}
	for share, most := range map[int]int{folded: folded, 0: folded * 6 / 10} {
		if err := store.TrimFolded(t.Context(), db.Tables, share); err != nil {
			t.Fatal(err)
		}
		if left, err := store.CountFolded(t.Context(), db.Tables); err != nil || left > most || left < folded*4/10 {
			t.Errorf("trimmed to a share of %d, %d of %d are left, %v", share, left, folded, err)
		}
	}
}
