package redisstore

import "github.com/prometheus/client_golang/prometheus"

var (
	checksMetric = prometheus.NewDesc("latchkey_session_answers_total",
		"Session checks by what answered them: this process's memory, redis, or the database.", []string{"from"}, nil)
	reliedMetric = prometheus.NewDesc("latchkey_redis_relied_on",
		"Whether copies of sessions in redis are relied on; if not, the database answers all checks.", nil, nil)
)

var _ prometheus.Collector = (*Store)(nil)

// Describe implements prometheus.Collector.
func (s *Store) Describe(into chan<- *prometheus.Desc) {
	into <- checksMetric
	into <- reliedMetric
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(into chan<- prometheus.Metric) {
	for from, n := range map[string]int64{"memory": s.fromLocal.Load(), "redis": s.fromRedis.Load(), "database": s.fromBelow.Load()} {
		into <- prometheus.MustNewConstMetric(checksMetric, prometheus.CounterValue, float64(n), from)
	}
	relied := 0.0
	if s.relied.Load() {
		relied = 1
	}
	into <- prometheus.MustNewConstMetric(reliedMetric, prometheus.GaugeValue, relied)
}
