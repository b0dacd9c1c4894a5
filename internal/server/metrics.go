package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows, in a registry of their own. Every label has a
// bounded set of values: none is made of what a caller sent.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	verified  prometheus.Counter // of requests, looked up once
	page      http.Handler
}

func newMetrics(s *Server, version string, more []prometheus.Collector) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_requests_total",
			Help: "Requests by operation, and by the code that was answered (ok, or the error's). Logins by outcome are those of the operation login.",
		}, []string{"operation", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "latchkey_request_duration_seconds",
			Help:    "Time from the header of a request to its answer, by operation. Session checks are only counted.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"operation"}),
	}
	m.verified = m.requests.WithLabelValues("verify", "ok")
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.durations, &s.trouble,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_audit_failures_total",
			Help: "Audit events that could not be stored. They are in the log only.",
		}, func() float64 { return float64(s.authority.AuditFailures()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_audit_dropped_total",
			Help: "Forwarded requests that are not in the audit trail, because they came faster than it could be written.",
		}, func() float64 { return float64(s.trail.dropped.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_audit_waiting",
			Help: "Forwarded requests that wait to be written to the audit trail.",
		}, func() float64 { return float64(len(s.trail.queue)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_connections",
			Help: "Connections that are open.",
		}, func() float64 { return float64(s.conns.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_passwords_hashing",
			Help: "Passwords that are being hashed.",
		}, func() float64 { return float64(s.authority.Load().Hashing) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "latchkey_passwords_waiting",
			Help: "Logins and resets that wait to have their password hashed, or for their turn on a user name.",
		}, func() float64 { return float64(s.authority.Load().Waiting) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "latchkey_build_info",
			Help:        "Always 1; the label tells the version.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	)
	registry.MustRegister(more...)
	// What a collector cannot tell must not hide the rest.
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError})
	return m
}

func (m *metrics) count(operation, code string) { m.requests.WithLabelValues(operation, code).Inc() }

func (m *metrics) observe(operation, code string, took time.Duration) {
	m.count(operation, code)
	m.durations.WithLabelValues(operation).Observe(took.Seconds())
}

func (s *Server) showMetrics(w http.ResponseWriter, r *http.Request) { s.metrics.page.ServeHTTP(w, r) }
