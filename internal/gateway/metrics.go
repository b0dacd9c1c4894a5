package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/wire"
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
		"Failed logins in a row that the upstream may have counted, which lock the account after some more.", nil, nil)
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

const (
	latchedNotice = "The gateway does not log in to the upstream until an operator has looked: " +
		"latchkey guard status tells why, latchkey guard reset lets logins be made again. "
	liveNotice = "Its session there is live, so requests are carried as long as that lasts.\n"
	deadNotice = "It has no session there, so requests to the upstream get 503 with the fault " + wire.FaultLatched + ".\n"
)

// Notice returns what the readiness probe says of the gateway; "" if that is nothing.
// A latched gateway stays ready: it carries requests while its session lives, the
// replicas that share its state are latched as well, and the session API works.
func (g *Gateway) Notice(ctx context.Context) string {
	status, err := g.keeper.Status(ctx)
	switch {
	case err != nil:
		g.log.WarnContext(ctx, "the state of the upstream's session cannot be read", "error", err)
		return ""
	case status.Latched == nil:
		return ""
	case status.Live:
		return latchedNotice + liveNotice
	}
	return latchedNotice + deadNotice
}
