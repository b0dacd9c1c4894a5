package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/keeper"
)

// Metrics are a keeper's, for Prometheus.
func Metrics(k *keeper.Keeper) prometheus.Collector { return collector{k} }

type collector struct{ keeper *keeper.Keeper }

// statusLimit bounds the look at the state that a scrape takes.
const statusLimit = 2 * time.Second

var (
	eventsDesc = prometheus.NewDesc("latchkey_upstream_events_total",
		"What happened to the session with the upstream, by kind.", []string{"event"}, nil)
	upDesc = prometheus.NewDesc("latchkey_upstream_session",
		"Whether there is a session with the upstream that should be live.", nil, nil)
	latchedDesc = prometheus.NewDesc("latchkey_upstream_latched",
		"Whether no login is made until an operator has looked.", nil, nil)
	strikesDesc = prometheus.NewDesc("latchkey_upstream_strikes",
		"Failed logins in a row that the upstream may have counted; it locks the account at five.", nil, nil)
	ageDesc = prometheus.NewDesc("latchkey_upstream_password_age_seconds",
		"Age of the upstream's password, at least.", nil, nil)
	rotationDesc = prometheus.NewDesc("latchkey_upstream_rotation_unfinished",
		"Whether a rotation of the password was not finished, by its state.", []string{"state"}, nil)
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
	ctx, cancel := context.WithTimeout(context.Background(), statusLimit)
	defer cancel()
	status, err := c.keeper.Status(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(upDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(upDesc, number(status.Live))
	gauge(latchedDesc, number(status.Latched != nil))
	gauge(strikesDesc, float64(status.Strikes))
	if !status.PasswordSince.IsZero() {
		gauge(ageDesc, time.Since(status.PasswordSince).Seconds())
	}
	if status.Rotation != keeper.RotationNone {
		gauge(rotationDesc, 1, string(status.Rotation))
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
