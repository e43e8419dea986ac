package ldap

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
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
