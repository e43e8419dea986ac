package ldap

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measure is what almost every operation counts in, found once.
type measure struct {
	success prometheus.Counter
	latency prometheus.Observer
}

type metrics struct {
	of          map[string]measure // by operation
	operations  *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	entries     prometheus.Counter
	connections prometheus.Gauge
	refused     prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_ldap_operations_total",
			Help: "LDAP operations by name and result.",
		}, []string{"cmd", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "waypost_ldap_operation_seconds",
			Help:    "Time from a request's last byte to its result; persistent searches are left out.",
			Buckets: prometheus.ExponentialBuckets(0.00001, 4, 11),
		}, []string{"cmd"}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waypost_ldap_entries_total",
			Help: "Entries that LDAP searches returned.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waypost_ldap_connections",
			Help: "Open LDAP connections.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waypost_ldap_refused_total",
			Help: "LDAP connections refused because there were too many.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waypost_ldap_panics_total",
			Help: "LDAP connections that ended in a panic.",
		}),
	}
	m.of = map[string]measure{}
	for _, table := range []map[string]*operation{byTag(), extensions} {
		for _, kind := range table {
			m.of[kind.name] = measure{m.operations.WithLabelValues(kind.name, codeSuccess.String()), m.latency.WithLabelValues(kind.name)}
		}
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.operations, m.latency, m.entries, m.connections, m.refused, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// byTag are the operations that have a request of their own, by name.
func byTag() map[string]*operation {
	all := make(map[string]*operation, len(operations))
	for _, kind := range operations {
		all[kind.name] = kind
	}
	return all
}

// count counts an operation that has ended.
func (m *metrics) count(o *op, took time.Duration) {
	of := m.of[o.kind.name]
	if o.code == codeSuccess {
		of.success.Inc()
	} else {
		m.operations.WithLabelValues(o.kind.name, o.code.String()).Inc()
	}
	if !o.watch {
		of.latency.Observe(took.Seconds())
	}
	if o.entries > 0 {
		m.entries.Add(float64(o.entries))
	}
}
