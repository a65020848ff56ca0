package kafka

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the sinks of all tasks deliver. Safe for use from
// several goroutines.
type Metrics struct {
	ackedRecords   *prometheus.CounterVec
	ackedBytes     *prometheus.CounterVec
	deadLetters    *prometheus.CounterVec
	lettersDropped *prometheus.CounterVec
	errors         *prometheus.CounterVec
	retries        *prometheus.CounterVec
	fallbacks      *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them with reg; with a nil reg
// they count for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "logferry", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		ackedRecords:   counter("acked_records_total", "Records that Kafka acknowledged.", "task", "topic"),
		ackedBytes:     counter("acked_bytes_total", "Bytes of record values that Kafka acknowledged, before compression.", "task", "topic"),
		deadLetters:    counter("dead_letters_total", "Records that Kafka will never take and that were set aside.", "task", "cause"),
		lettersDropped: counter("dead_letters_dropped_total", "Dead letters that were never replayed and had to make room in their file for newer ones.", "task"),
		errors:         counter("produce_errors_total", "Failed attempts to produce, by error.", "task", "error"),
		retries:        counter("retries_total", "Attempts to produce again after an error that time heals.", "task"),
		fallbacks:      counter("topic_fallback_records_total", "Records that went to topic_fallback, by reason: missing_field (their text lacks a field that the topic names), invalid (no name of a topic), not_allowed, limit (max_topics are in use) or no_topic (it does not exist).", "task", "reason"),
	}
	if reg != nil {
		reg.MustRegister(m.ackedRecords, m.ackedBytes, m.deadLetters, m.lettersDropped, m.errors, m.retries, m.fallbacks)
	}
	return m
}

// Forget deletes the series of a task that is gone.
func (m *Metrics) Forget(task string) {
	for _, v := range []*prometheus.CounterVec{m.ackedRecords, m.ackedBytes, m.deadLetters, m.lettersDropped, m.errors, m.retries, m.fallbacks} {
		v.DeletePartialMatch(prometheus.Labels{"task": task})
	}
}
