package pgdb

import (
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of one pool, read when they are asked for.
type metrics struct {
	pool     *pgxpool.Pool
	reg      prometheus.Registerer
	repeated prometheus.Counter
	unknown  prometheus.Counter
}

var figures = []struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*pgxpool.Stat) float64
}{
	{"connections", "Connections open.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }},
	{"connections_used", "Connections in use.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }},
	{"connections_max", "Largest number of connections allowed.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }},
	{"connections_opened_total", "Connections opened.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) }},
	{"acquires_total", "Times a connection was taken.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }},
	{"acquires_waited_total", "Times a connection was waited for.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }},
	{"acquires_wait_seconds_total", "Time spent waiting for a connection.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() }},
}

func newMetrics(name string, pool *pgxpool.Pool) *metrics {
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "waypost", Subsystem: "db", Name: n, Help: help, ConstLabels: prometheus.Labels{"db": name},
		})
	}
	return &metrics{
		pool:     pool,
		repeated: counter("transactions_repeated_total", "Transactions tried again."),
		unknown:  counter("commits_unknown_total", "Commits whose outcome stayed unknown."),
	}
}

// stat collects the pool's own figures.
type stat struct {
	pool *pgxpool.Pool
	desc []*prometheus.Desc
}

func (s stat) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.desc {
		ch <- d
	}
}

func (s stat) Collect(ch chan<- prometheus.Metric) {
	now := s.pool.Stat()
	for i, f := range figures {
		ch <- prometheus.MustNewConstMetric(s.desc[i], f.kind, f.value(now))
	}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	m.reg = reg
	return errors.Join(reg.Register(m.stat()), reg.Register(m.repeated), reg.Register(m.unknown))
}

func (m *metrics) stat() stat {
	s := stat{pool: m.pool}
	labels := prometheus.Labels{"db": m.name()}
	for _, f := range figures {
		s.desc = append(s.desc, prometheus.NewDesc("waypost_db_"+f.name, f.help, nil, labels))
	}
	return s
}

func (m *metrics) name() string {
	return m.pool.Config().ConnConfig.RuntimeParams["application_name"]
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	m.reg.Unregister(m.stat())
	m.reg.Unregister(m.repeated)
	m.reg.Unregister(m.unknown)
}
