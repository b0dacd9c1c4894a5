package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// row is one result as --json prints it.
type row struct {
	Part   string  `json:"part"`
	What   string  `json:"what"`
	Figure string  `json:"figure"`
	Low    float64 `json:"low,omitempty"`  // the least of all rounds
	High   float64 `json:"high,omitempty"` // the greatest of all rounds
	Target string  `json:"target,omitempty"`
}

// report is what a run prints, and how.
var report struct {
	part string
	json bool
}

// line prints one result: what it is, the figure, and its target.
func line(what, figure, target string) { printRow(row{What: what, Figure: figure, Target: target}) }

// spreadLine prints the median of all rounds with the least and the greatest.
func spreadLine(what, format string, values []float64, target string) {
	printRow(row{What: what, Figure: fmt.Sprintf(format, median(values)), Low: slices.Min(values),
		High: slices.Max(values), Target: target})
}

func printRow(r row) {
	r.Part = report.part
	if report.json {
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return
	}
	figure := r.Figure
	if r.High != 0 {
		figure += fmt.Sprintf(" (%.4g to %.4g)", r.Low, r.High)
	}
	fmt.Printf("%-62s %28s   %s\n", r.What, figure, r.Target)
}

// progress prints to standard error how far a part is.
func progress(round, of int) {
	fmt.Fprintf(os.Stderr, "%s %s: round %d of %d\n", time.Now().Format(time.TimeOnly), report.part, round+1, of)
}

// order returns the indexes of n subjects, backward in every other round (A B B A), so that
// a machine that becomes slower or faster favors none of them.
func order(round, n int) []int {
	indexes := make([]int, n)
	for i := range indexes {
		indexes[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(indexes)
	}
	return indexes
}

// ratios returns one figure divided by the other, round by round.
func ratios(these, those []float64) []float64 {
	divided := make([]float64, len(these))
	for i := range these {
		divided[i] = these[i] / those[i]
	}
	return divided
}

// microseconds converts durations, for a ratio of them.
func microseconds(durations []time.Duration) []float64 {
	converted := make([]float64, len(durations))
	for i, d := range durations {
		converted[i] = float64(d.Nanoseconds()) / 1000
	}
	return converted
}
