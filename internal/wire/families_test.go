package wire_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

func TestFamilyOfAllocatesNothing(t *testing.T) {
	for _, name := range []string{"Accept", "X-Kept", "X-Forwarded-For", "Vz_m2m_token", "Strict-Transport-Security"} {
		if n := testing.AllocsPerRun(100, func() { wire.FamilyOf(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkFamilyOf(b *testing.B) {
	for _, name := range []string{"Content-Type", "X-Kept", "Vz_m2m_token"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				wire.FamilyOf(name)
			}
		})
	}
}
