package checkpoint

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the store does.
type Metrics struct {
	flushes, errors, damaged prometheus.Counter
}

// NewMetrics registers the store's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		flushes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "logferry_checkpoint_flushes_total", Help: "Transactions that wrote committed offsets to disk.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "logferry_checkpoint_errors_total", Help: "Attempts to write committed offsets that failed; they are tried again.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "logferry_checkpoint_damaged_total", Help: "Checkpoint databases that were damaged and set aside.",
		}),
	}
	reg.MustRegister(m.flushes, m.errors, m.damaged)
	return m
}
