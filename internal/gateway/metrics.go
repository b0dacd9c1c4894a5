package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/keeper"
)

// Metrics returns a Prometheus collector of a keeper's metrics.
func Metrics(k *keeper.Keeper) prometheus.Collector { return collector{k} }

type collector struct{ keeper *keeper.Keeper }

// statusTimeout bounds how long a scrape waits for the keeper's state.
const statusTimeout = 2 * time.Second

var (
	eventsDesc = prometheus.NewDesc("latchkey_upstream_events_total",
		"Events of the session with the upstream, by kind.", []string{"event"}, nil)
	upDesc = prometheus.NewDesc("latchkey_upstream_session",
		"Whether there is a session with the upstream that should be live.", nil, nil)
	latchedDesc = prometheus.NewDesc("latchkey_upstream_latched",
		"Whether the guard is latched: no login is attempted until an operator resets it.", nil, nil)
	strikesDesc = prometheus.NewDesc("latchkey_upstream_strikes",
		"Failed logins in a row that the upstream may have counted. More of them lock the account.", nil, nil)
	ageDesc = prometheus.NewDesc("latchkey_upstream_password_age_seconds",
		"Minimum age of the upstream's password.", nil, nil)
	rotationDesc = prometheus.NewDesc("latchkey_upstream_rotation_unfinished",
		"Whether a rotation of the password is unfinished, by its state.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{eventsDesc, upDesc, latchedDesc, strikesDesc, ageDesc, rotationDesc} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	for kind, n := range c.keeper.Stats() {
		metrics <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(n), string(kind))
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	status, err := c.keeper.Status(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(upDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(upDesc, boolToFloat(status.Live))
	gauge(latchedDesc, boolToFloat(status.Latched != nil))
	gauge(strikesDesc, float64(status.Strikes))
	if !status.PasswordSince.IsZero() {
		gauge(ageDesc, time.Since(status.PasswordSince).Seconds())
	}
	if status.Rotation != keeper.RotationNone {
		gauge(rotationDesc, 1, string(status.Rotation))
	}
}

func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
