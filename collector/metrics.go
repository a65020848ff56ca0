package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/shape"
)

// Metrics is what all collectors of an agent count. Labels are bounded: the
// task, never a path.
type Metrics struct {
	readBytes, records, longLines, rotations, truncations, errors, stale, abandoned, filtered, masked, undecodable, containers, unparsed *prometheus.CounterVec
	ackSeconds                                                                                                                           *prometheus.HistogramVec
}

// NewMetrics registers the collectors' metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"task"}, labels...))
	}
	m := &Metrics{
		readBytes:   counter("logferry_read_bytes_total", "Bytes of whole lines read from files."),
		records:     counter("logferry_records_total", "Records cut from files, without those that were filtered."),
		longLines:   counter("logferry_long_lines_total", "Lines longer than max_line_bytes, by what was done to them: cut or drop.", "action"),
		rotations:   counter("logferry_rotations_total", "Files that were rotated, by kind: rename, delete or missed (a generation that came and went between two looks).", "kind"),
		truncations: counter("logferry_truncations_total", "Files that became shorter than what was read of them."),
		errors:      counter("logferry_file_errors_total", "Files that could not be opened or read; they are tried again."),
		stale:       counter("logferry_stale_handles_total", "File handles that a network file system no longer honoured; the files are opened again."),
		abandoned:   counter("logferry_abandoned_bytes_total", "Bytes that were never read and are lost, by cause: deleted (deleted files held more than deleted_files.max_bytes), stopped (a task ended while a deleted file was not delivered), stale_handle (removed from a file server), or pipe (read of a named pipe and not delivered when its task ended).", "cause"),
		filtered:    counter("logferry_filtered_records_total", "Records that filters left out, by reason: include (matched no include pattern), exclude, empty, where (a field is not as it must be), sample (not chosen) or rate (beyond rate_limit).", "reason"),
		masked:      counter("logferry_masked_records_total", "Records in which masks replaced something."),
		undecodable: counter("logferry_undecodable_records_total", "Records of which something could not be decoded from the task's encoding."),
		unparsed:    counter("logferry_unparsed_times_total", "Records whose timestamp could not be read from their text, and is that of the container's runtime or of the read."),
		containers:  counter("logferry_container_faults_total", "Lines of containers that are not in the format and were sent as they are (foreign), or whose parts could not be sent as one record: they reach over the bound (split), or the rest did not come in time (unfinished).", "kind"),
		ackSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "logferry_append_to_ack_seconds", Help: "From the read of a batch to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"task"}),
	}
	reg.MustRegister(m.readBytes, m.records, m.longLines, m.rotations, m.truncations, m.errors, m.stale, m.abandoned, m.filtered, m.masked, m.undecodable, m.containers, m.unparsed, m.ackSeconds)
	return m
}

// Forget deletes the series of a task that was removed.
func (m *Metrics) Forget(task string) {
	l := prometheus.Labels{"task": task}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.readBytes, m.records, m.longLines, m.rotations, m.truncations, m.errors, m.stale, m.abandoned, m.filtered, m.masked, m.undecodable, m.containers, m.unparsed, m.ackSeconds} {
		v.DeletePartialMatch(l)
	}
}

// taskMetrics is one task's part of Metrics, looked up once.
type taskMetrics struct {
	readBytes, records, cut, dropped, truncations, errors, stale, masked prometheus.Counter
	filteredInclude, filteredExclude, filteredEmpty, undecodable         prometheus.Counter
	foreign, split, unfinished                                           prometheus.Counter
	unparsed                                                             prometheus.Counter
	filtered                                                             *prometheus.CounterVec // by reasons that few tasks have
	rotations, abandoned                                                 *prometheus.CounterVec
	ackSeconds                                                           prometheus.Observer
}

func (m *Metrics) task(name string) taskMetrics {
	return taskMetrics{
		readBytes: m.readBytes.WithLabelValues(name), records: m.records.WithLabelValues(name),
		cut: m.longLines.WithLabelValues(name, "cut"), dropped: m.longLines.WithLabelValues(name, "drop"),
		truncations: m.truncations.WithLabelValues(name), errors: m.errors.WithLabelValues(name),
		stale:     m.stale.WithLabelValues(name),
		abandoned: m.abandoned.MustCurryWith(prometheus.Labels{"task": name}),
		rotations: m.rotations.MustCurryWith(prometheus.Labels{"task": name}),
		masked:    m.masked.WithLabelValues(name), filteredInclude: m.filtered.WithLabelValues(name, string(shape.Include)),
		filteredExclude: m.filtered.WithLabelValues(name, string(shape.Exclude)), filteredEmpty: m.filtered.WithLabelValues(name, string(shape.Empty)),
		undecodable: m.undecodable.WithLabelValues(name),
		unparsed:    m.unparsed.WithLabelValues(name), filtered: m.filtered.MustCurryWith(prometheus.Labels{"task": name}),
		foreign: m.containers.WithLabelValues(name, "foreign"), split: m.containers.WithLabelValues(name, "split"),
		unfinished: m.containers.WithLabelValues(name, "unfinished"),
		ackSeconds: m.ackSeconds.WithLabelValues(name),
	}
}

// shaped counts what filters and masks did.
func (m *taskMetrics) shaped(c shape.Counts) {
	for _, n := range []struct {
		counter prometheus.Counter
		n       int
	}{
		{m.filteredInclude, c.Include}, {m.filteredExclude, c.Exclude}, {m.filteredEmpty, c.Empty},
		{m.undecodable, c.Undecodable}, {m.masked, c.Masked}, {m.cut, c.Cut}, {m.dropped, c.Dropped},
	} {
		if n.n > 0 {
			n.counter.Add(float64(n.n))
		}
	}
}

// dressed counts what fields, chance and rate left out.
func (m *taskMetrics) dressed(c envelope.Counts) {
	for _, n := range []struct {
		reason string
		n      int
	}{{envelope.LeftWhere, c.Where}, {envelope.LeftSample, c.Sample}, {envelope.LeftRate, c.Rate}} {
		if n.n > 0 {
			m.filtered.WithLabelValues(n.reason).Add(float64(n.n))
		}
	}
	m.unparsed.Add(float64(c.Unparsed))
}

// unwrapped counts what became of the lines of containers.
func (m *taskMetrics) unwrapped(c frame.Counts) {
	m.foreign.Add(float64(c.Foreign))
	m.split.Add(float64(c.Split))
	m.unfinished.Add(float64(c.Unfinished))
}
