package kafka

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Acked is what Kafka has acknowledged for one task.
type Acked struct {
	Records uint64
	Bytes   uint64 // of the records' values
}

// Acked returns what was acknowledged since the start, by task.
func (m *Metrics) Acked() map[string]Acked {
	out := map[string]Acked{}
	tally(m.ackedRecords, out, func(a *Acked) *uint64 { return &a.Records })
	tally(m.ackedBytes, out, func(a *Acked) *uint64 { return &a.Bytes })
	return out
}

// Produced is what became of one task's records.
type Produced struct {
	Acked
	Errors      uint64 // failed attempts to produce
	DeadLetters uint64
}

// Produced returns what became of records since the start, by task.
func (m *Metrics) Produced() map[string]Produced {
	out := map[string]Produced{}
	for task, a := range m.Acked() {
		out[task] = Produced{Acked: a}
	}
	tally(m.errors, out, func(p *Produced) *uint64 { return &p.Errors })
	tally(m.deadLetters, out, func(p *Produced) *uint64 { return &p.DeadLetters })
	return out
}

// tally adds the counters of all tasks to what a field of out is by then.
func tally[T any](v *prometheus.CounterVec, out map[string]T, field func(*T) *uint64) {
	each(v, func(task string, n uint64) {
		t := out[task]
		*field(&t) += n
		out[task] = t
	})
}

// each visits the counters of all tasks.
func each(v *prometheus.CounterVec, visit func(task string, n uint64)) {
	series := make(chan prometheus.Metric)
	go func() {
		v.Collect(series)
		close(series)
	}()
	for s := range series {
		var m dto.Metric
		if s.Write(&m) != nil {
			continue
		}
		for _, label := range m.GetLabel() {
			if label.GetName() == "task" {
				visit(label.GetValue(), uint64(m.GetCounter().GetValue()))
			}
		}
	}
}

// DeadLetters returns how many records of a task were set aside since the
// program started.
func (m *Metrics) DeadLetters(task string) (n uint64) {
	each(m.deadLetters, func(of string, count uint64) {
		if of == task {
			n += count
		}
	})
	return n
}
