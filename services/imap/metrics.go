package imap

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	commands    *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	connections prometheus.Gauge
	refused     prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_imap_commands_total",
			Help: "IMAP commands by name and result (ok, no, bad, gone).",
		}, []string{"cmd", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "waypost_imap_command_seconds",
			Help:    "Time from a command's line to its tagged reply; IDLE is left out.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"cmd"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waypost_imap_connections",
			Help: "Open IMAP connections.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waypost_imap_refused_total",
			Help: "IMAP connections refused because there were too many.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waypost_imap_panics_total",
			Help: "IMAP connections that ended in a panic.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.commands, m.latency, m.connections, m.refused, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
