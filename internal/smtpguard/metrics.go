package smtpguard

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of all doors, labelled by proto.
type Metrics struct {
	conns    *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	commands *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics makes the figures and registers them with reg, which may be nil.
// Asked twice for the same registry it gives the same figures.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{
		conns: Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waypost_smtp_connections", Help: "Open connections.",
		}, []string{"proto"})),
		refused: Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_smtp_refused_total", Help: "Connections refused.",
		}, []string{"proto"})),
		commands: Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_smtp_commands_total", Help: "Commands by reply code.",
		}, []string{"proto", "cmd", "code"})),
		seconds: Register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waypost_smtp_command_seconds", Help: "Time to answer a command.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"proto", "cmd"})),
	}
}

// Register registers c with reg, or gives the equal collector that was
// registered before it. A nil reg registers nothing.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	var already prometheus.AlreadyRegisteredError
	if errors.As(reg.Register(c), &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old
		}
	}
	return c
}

// observe logs a command that was answered.
func (s *server) observe(c *Conn, code int) {
	d := time.Since(c.begun)
	s.Metrics.commands.WithLabelValues(s.Proto, c.verb, strconv.Itoa(code)).Inc()
	s.Metrics.seconds.WithLabelValues(s.Proto, c.verb).Observe(d.Seconds())
	s.Log.Debug("command", "proto", s.Proto, "cmd", c.verb, "remote", c.remote, "dur", d, "result", code)
}
