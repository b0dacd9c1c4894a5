package server

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// storeFailures holds what fails in a store that serves session checks nevertheless. It
// is safe for concurrent use.
type storeFailures struct {
	write func() error // see Config.WriteFailure
	sweep atomic.Bool  // whether the last sweep failed
}

// The tasks that may fail, as the metrics name them.
const (
	taskWrite = "write"
	taskSweep = "sweep"
)

// failingTasks holds the text of the readiness probe for each failing task.
var failingTasks = map[string]string{
	taskWrite: "the database cannot be written: logins, logouts and resets fail, and session checks continue",
	taskSweep: "sweeping fails: expired sessions are refused, but not removed",
}

// tasks returns the tasks that fail now.
func (f *storeFailures) tasks() (failing []string) {
	if f.write != nil && f.write() != nil {
		failing = append(failing, taskWrite)
	}
	if f.sweep.Load() {
		failing = append(failing, taskSweep)
	}
	return failing
}

// Describe implements prometheus.Collector.
func (f *storeFailures) Describe(all chan<- *prometheus.Desc) { all <- failingDesc }

// Collect implements prometheus.Collector.
func (f *storeFailures) Collect(all chan<- prometheus.Metric) {
	failing := f.tasks()
	for task := range failingTasks {
		value := 0.0
		if slices.Contains(failing, task) {
			value = 1
		}
		all <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, value, task)
	}
}

var failingDesc = prometheus.NewDesc("latchkey_store_failing",
	"Whether the last attempt failed, by task: write (a change, or the last use of a session, in the embedded database) "+
		"or sweep (the removal of expired data).",
	[]string{"task"}, nil)
