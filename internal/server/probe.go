package server

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/api"
)

// readyTimeout is what the stores are given to say that they are there.
const readyTimeout = 2 * time.Second

// health says that the process lives. It asks nobody else, so that a store that
// is away does not get the process restarted.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, "ok\n") }

// readiness says whether requests should be sent here.
func (s *Server) readiness(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		page(w, http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	ctx, cancel := untilLeft(r)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready: the store does not answer", "error", err)
		page(w, http.StatusServiceUnavailable, "the store does not answer\n")
		return
	}
	text := "ready\n"
	for _, task := range s.trouble.tasks() {
		text += failingTasks[task] + "; see the log\n"
	}
	if s.notice != nil {
		text += s.notice(ctx)
	}
	page(w, http.StatusOK, text)
}

// trouble is what fails in a service that is ready all the same. It is safe for
// concurrent use.
type trouble struct {
	writes func() error // see Config.WriteFailure
	sweep  atomic.Bool  // whether the last sweep has failed
}

// What may fail, as the metrics name it, and as the readiness probe says it.
const (
	taskWrite = "write"
	taskSweep = "sweep"
)

var failingTasks = map[string]string{
	taskWrite: "the store cannot be written: logins, logouts and resets fail, and session checks go on",
	taskSweep: "sweeping fails: expired sessions are refused, and not removed",
}

// tasks returns what fails at this moment.
func (t *trouble) tasks() (failing []string) {
	if t.writes != nil && t.writes() != nil {
		failing = append(failing, taskWrite)
	}
	if t.sweep.Load() {
		failing = append(failing, taskSweep)
	}
	return failing
}

// Describe implements prometheus.Collector.
func (t *trouble) Describe(all chan<- *prometheus.Desc) { all <- failingDesc }

// Collect implements prometheus.Collector.
func (t *trouble) Collect(all chan<- prometheus.Metric) {
	failing := t.tasks()
	for task := range failingTasks {
		value := 0.0
		if slices.Contains(failing, task) {
			value = 1
		}
		all <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, value, task)
	}
}

var failingDesc = prometheus.NewDesc("latchkey_store_failing",
	"Whether the last try has failed: write, a change or the last use of a session in the embedded database; sweep, the removal of what has expired.",
	[]string{"task"}, nil)

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a prober who left needs no answer
}

// openAPI shows the contract.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(api.OpenAPI) // a reader who left needs no answer
}
