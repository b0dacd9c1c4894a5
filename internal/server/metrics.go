package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are those of /metrics, in their own registry. Every label has a bounded set of
// values, and none holds what a caller sent.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	verified  prometheus.Counter // one series of requests, looked up in advance
	page      http.Handler
}

func newMetrics(s *Server, version string, more []prometheus.Collector) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_requests_total",
			Help: "Requests by operation and by the code of the response (ok, or the error's). " +
				"The operation login counts logins by outcome.",
		}, []string{"operation", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "latchkey_request_duration_seconds",
			Help:    "Time from a request's header to its response, by operation. Session checks are counted, not timed.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"operation"}),
	}
	m.verified = m.requests.WithLabelValues("verify", "ok")
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.durations, &s.failures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_audit_failures_total",
			Help: "Audit events that could not be stored. They are only in the log.",
		}, func() float64 { return float64(s.authority.AuditFailures()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_audit_dropped_total",
			Help: "Forwarded requests missing from the audit trail because they arrived faster than it could be written.",
		}, func() float64 { return float64(s.audit.dropped.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_audit_waiting",
			Help: "Forwarded requests that wait to be written to the audit trail.",
		}, func() float64 { return float64(len(s.audit.queue)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_connections",
			Help: "Open connections.",
		}, func() float64 { return float64(s.conns.count() + s.sockets.count()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_connections_evicted_total",
			Help: "Idle connections that were closed to make room for new ones.",
		}, func() float64 { return float64(s.conns.evicted.Load() + s.sockets.evicted.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_connections_refused_total",
			Help: "Connections that were closed at once because their address had too many.",
		}, func() float64 { return float64(s.conns.refused.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_passwords_hashing",
			Help: "Passwords being hashed.",
		}, func() float64 { return float64(s.authority.Load().Hashing) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_passwords_waiting",
			Help: "Logins and resets that wait for a hash slot, or for another login of the same user name.",
		}, func() float64 { return float64(s.authority.Load().Waiting) }),
		refusedLogins("client", func() int64 { return s.authority.Load().RefusedClient }),
		refusedLogins("name", func() int64 { return s.authority.Load().RefusedName }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "latchkey_build_info",
			Help:        "Always 1. The label holds the version.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	)
	registry.MustRegister(more...)
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		ErrorHandling:       promhttp.ContinueOnError, // the failure of one collector must not hide the others
	})
	return m
}

// refusedLogins counts the logins and resets that exceeded a bound of those that wait.
func refusedLogins(reason string, count func() int64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "latchkey_passwords_refused_total",
		Help: "Logins and resets that were refused because too many of their API client waited: " +
			"in all (client), or with the same user name (name).",
		ConstLabels: prometheus.Labels{"reason": reason},
	}, func() float64 { return float64(count()) })
}

func (m *metrics) count(operation, code string) { m.requests.WithLabelValues(operation, code).Inc() }

func (m *metrics) observe(operation, code string, took time.Duration) {
	m.count(operation, code)
	m.durations.WithLabelValues(operation).Observe(took.Seconds())
}

func (s *Server) showMetrics(w http.ResponseWriter, r *http.Request) { s.metrics.page.ServeHTTP(w, r) }
