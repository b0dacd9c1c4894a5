// Command bench measures latchkey beside what it is compared with, in one run on
// one machine, and prints ratios. It starts what it measures, each in a process
// of its own, on loopback; rounds are interleaved and medians are printed.
// Machines are noisy: differences under a tenth mean nothing, and a second run
// says more than a second digit.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// How long each measurement lasts, how often it is repeated, and how many live
// sessions the large database holds.
const (
	rounds   = 5
	duration = 3 * time.Second
	few      = 1_000
	many     = 1_000_000
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) > 0 { // a process that is measured
		return serve(ctx, arguments[0], arguments[1:])
	}
	directory, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	fmt.Fprintf(os.Stderr, "making databases with %d and %d sessions (about a minute)\n", few, many)
	if err := seed(ctx, directory+"/few.db", few); err != nil {
		return err
	}
	if err := seed(ctx, directory+"/many.db", many); err != nil {
		return err
	}
	if err := benchMemory(ctx, directory+"/many.db"); err != nil {
		return err
	}
	if err := benchChecks(ctx, directory); err != nil {
		return err
	}
	return benchLogins(ctx, directory+"/few.db")
}

// line prints one result: what it is, the figure, and what it is held to.
func line(what, figure, heldTo string) {
	fmt.Printf("%-58s %16s   %s\n", what, figure, heldTo)
}

func median[T int | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
