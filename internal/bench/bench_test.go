package main

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/hashworker"
)

// TestMain serves if a benchmark started this program again as a server.
func TestMain(m *testing.M) {
	hashworker.Main()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestRoundsAlternateTheirOrder proves that what is compared is measured A B, then B A.
func TestRoundsAlternateTheirOrder(t *testing.T) {
	if first, second := order(0, 3), order(1, 3); !slices.Equal(first, []int{0, 1, 2}) ||
		!slices.Equal(second, []int{2, 1, 0}) {
		t.Fatalf("the rounds have the orders %v and %v", first, second)
	}
}

// TestALoadOpensItsConnectionsFirst proves that requests begin when every connection is
// open, and that a server is measured in a process of its own.
func TestALoadOpensItsConnectionsFirst(t *testing.T) {
	p, err := start(t.Context(), "bare")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	opened := 0
	l := checks(p.address, "any", 10)
	l.limit, l.opened = 100, func() { opened++ }
	r, err := l.saturate(t.Context(), time.Minute, 8)
	if err != nil || r.good != 100 || opened != 1 {
		t.Fatalf("%d of 100 requests succeeded, opened was called %d times: %v", r.good, opened, err)
	}
	l.want, l.refusals = 204, []int{200}
	r, err = l.saturate(t.Context(), time.Minute, 8)
	if err != nil || r.good != 0 || r.refused[200] != 100 {
		t.Fatalf("%d good, refused %v: %v", r.good, r.refused, err)
	}
}

// TestSoakParts proves that parts run to their end; the slow ones in the full form.
func TestSoakParts(t *testing.T) {
	rounds, duration, many, transportRounds, transportSends = 1, 50*time.Millisecond, 2*few, 1, 640
	floodUsers = 2
	wanted := []string{"checks", "keeper"}
	if os.Getenv("LATCHKEY_SOAK") != "" {
		wanted = append(wanted, "logins", "gateway")
	}
	if err := run(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
}
