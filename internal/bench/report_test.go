package main

import (
	"slices"
	"testing"
)

// TestRoundsAlternateTheirOrder proves that what is compared is measured A B, then B A.
func TestRoundsAlternateTheirOrder(t *testing.T) {
	if first, second := order(0, 3), order(1, 3); !slices.Equal(first, []int{0, 1, 2}) ||
		!slices.Equal(second, []int{2, 1, 0}) {
		t.Fatalf("the rounds have the orders %v and %v", first, second)
	}
}
