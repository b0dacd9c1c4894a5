package postgres

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/authority"
)

var (
	lookupsMetric = prometheus.NewDesc("latchkey_session_lookups_total",
		"Session checks by where the session was found: in the cache of this process, or in the database.",
		[]string{"in"}, nil)
	trustedMetric = prometheus.NewDesc("latchkey_session_cache_trusted",
		"Whether cached sessions are trusted at this moment; if not, every check queries the database.", nil, nil)
	roundTripMetric = prometheus.NewDesc("latchkey_session_cache_heartbeat_seconds",
		"How long the newest heartbeat took from this process through the database and back.", nil, nil)
	beatAgeMetric = prometheus.NewDesc("latchkey_session_cache_heartbeat_age_seconds",
		"How long ago the newest heartbeat that came back was sent; cached sessions are trusted below 0.1.", nil, nil)
)

var _ prometheus.Collector = (*DB)(nil)

// Describe implements prometheus.Collector.
func (*DB) Describe(into chan<- *prometheus.Desc) {
	for _, metric := range []*prometheus.Desc{lookupsMetric, trustedMetric, roundTripMetric, beatAgeMetric} {
		into <- metric
	}
}

// Collect implements prometheus.Collector.
func (db *DB) Collect(into chan<- prometheus.Metric) {
	cache := db.cache
	trusted := 0.0
	if cache.settle(context.Background()) {
		trusted = 1
	}
	into <- prometheus.MustNewConstMetric(trustedMetric, prometheus.GaugeValue, trusted)
	for in, n := range map[string]int64{"cache": cache.hits.Load(), "database": cache.misses.Load()} {
		into <- prometheus.MustNewConstMetric(lookupsMetric, prometheus.CounterValue, float64(n), in)
	}
	if beat := cache.beat.Load(); beat != nil {
		into <- prometheus.MustNewConstMetric(roundTripMetric, prometheus.GaugeValue, (beat.back - beat.sent).Seconds())
		into <- prometheus.MustNewConstMetric(beatAgeMetric, prometheus.GaugeValue, (cache.clock() - beat.sent).Seconds())
	}
}

// settle reports whether cached sessions are trusted. If no heartbeats are sent because no
// session is checked, settle waits for one.
func (c *sessionCache) settle(ctx context.Context) bool {
	if c.beat.Load() == nil {
		return false // there is no connection
	}
	c.want()
	ctx, cancel := context.WithTimeout(ctx, authority.MaxStaleness)
	defer cancel()
	tick := time.NewTicker(authority.MaxStaleness / 50)
	defer tick.Stop()
	for !c.trusts(c.beat.Load()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
