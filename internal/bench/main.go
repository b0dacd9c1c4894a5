// Command bench measures latchkey beside what it is compared with, in one run on
// one machine, and prints ratios. Arguments name the parts to measure. It starts
// what it measures, each in a process of its own, on loopback; rounds are
// interleaved and medians are printed. Machines are noisy: differences under a
// tenth mean nothing, and a second run says more than a second digit.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/hashworker"
)

// few is how many live sessions the small database holds.
const few = 1_000

// How long each measurement lasts, how often it is repeated, and how many live
// sessions the large database holds. --full repeats more often.
var (
	rounds   = 5
	duration = time.Second
	many     = 1_000_000
)

// full sets the rounds of the full form.
func full() {
	rounds, transportRounds, scaleRounds, onceRounds = 11, 15, 15, 3
}

// parts are what is measured, in this order.
var parts = []struct {
	name    string
	measure func(context.Context, *databases) error
}{
	{"memory", benchMemory},
	{"checks", benchChecks},
	{"logins", benchLogins},
	{"keeper", benchKeeper},
	{"gateway", benchGateway},
	{"scale", benchScale},
}

func main() {
	hashworker.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) > 1 && arguments[0] == "serve" { // a process that is measured
		return serve(ctx, arguments[1], arguments[2:])
	}
	if len(arguments) > 0 && arguments[0] == "--full" {
		full()
		arguments = arguments[1:]
	}
	if len(arguments) > 0 && arguments[0] == "--json" {
		report.json, arguments = true, arguments[1:]
	}
	var wanted []string
	for _, part := range parts {
		if len(arguments) == 0 || slices.Contains(arguments, part.name) {
			wanted = append(wanted, part.name)
		}
	}
	if len(wanted) < len(arguments) {
		return fmt.Errorf("usage: bench [--full] [--json] [memory] [checks] [logins] [keeper] [gateway] [scale]; " +
			"all without a name")
	}
	all := &databases{}
	defer all.remove()
	for _, part := range parts {
		if !slices.Contains(wanted, part.name) {
			continue
		}
		report.part = part.name
		if err := part.measure(ctx, all); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func median[T int | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of what one figure was beside the other, round by round.
func ratio(these, those []float64) float64 {
	return median(ratios(these, those))
}
