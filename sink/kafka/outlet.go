package kafka

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
)

// outlet is the way to one topic: a lane for each partition that records went
// to.
type outlet struct {
	s     *session
	topic string
	log   *slog.Logger

	ackedRecords, ackedBytes prometheus.Counter

	lanes map[int32]*lane // guarded by s.mu

	// The rest belongs to dispatch.
	picker  *picker
	spans   map[int32][]span
	width   int32     // how many partitions the last batch was dealt out to; 0: none yet
	whole   int32     // the partition for records of this batch without one of their own
	touched bool      // records of this batch go to it
	gone    time.Time // since when the topic does not exist; zero: it does, or nobody has looked
	asked   time.Time // when that was last found
}

func newOutlet(s *session, topic string) *outlet {
	return &outlet{
		s: s, topic: topic, log: s.log.With("topic", topic),
		ackedRecords: s.m.ackedRecords.WithLabelValues(s.route.Task, topic),
		ackedBytes:   s.m.ackedBytes.WithLabelValues(s.route.Task, topic),
		lanes:        make(map[int32]*lane), picker: newPicker(s.route.Partitioner, s.route.Partition), spans: make(map[int32][]span),
	}
}

// partitions returns how many partitions the topic has, and waits for the lanes
// of those that it no longer has.
func (o *outlet) partitions(ctx context.Context) (int32, error) {
	n, err := o.s.cluster.partitions(o.topic, o.s.route.Create)
	if err != nil {
		return 0, err
	}
	return n, o.narrow(ctx, n)
}

// narrow waits, when the topic was made anew with fewer partitions, for the
// lanes of those that are gone. What they still have goes to partitions that
// are left, and must be there before what follows it in its file.
func (o *outlet) narrow(ctx context.Context, n int32) error {
	for p := n; p < o.width; p++ {
		o.s.mu.Lock()
		l := o.lanes[p]
		o.s.mu.Unlock()
		if l == nil {
			continue
		}
		if err := l.idle(ctx); err != nil {
			return err
		}
	}
	o.width = n
	return nil
}

// missing reports whether records for the topic are to go elsewhere because it
// does not exist and cannot be created. One that existed may come back soon: for
// so long the error is returned. A topic that never existed is looked for again
// when what is known of topics is that old.
func (o *outlet) missing(ctx context.Context) (missing bool, err error) {
	if !o.gone.IsZero() && time.Since(o.asked) < o.s.refresh && o.width == 0 {
		return true, nil
	}
	n, err := o.partitions(ctx)
	if err == nil {
		o.gone = time.Time{}
		return n == 0, nil
	}
	if !isAbsent(err) {
		return false, err
	}
	if o.asked = time.Now(); o.gone.IsZero() {
		o.gone = o.asked
	}
	if o.mayComeBack() {
		return false, err
	}
	o.width = 0
	return true, nil
}

// mayComeBack reports whether the topic existed until a moment ago.
func (o *outlet) mayComeBack() bool {
	return o.width > 0 && time.Since(o.gone) < o.s.cfg.RequestTimeout
}

// isAbsent reports whether err says that a topic does not exist, or that this
// client may not know of it or create it. Time alone does not heal that.
func isAbsent(err error) bool {
	for _, e := range []error{
		sarama.ErrUnknownTopicOrPartition, sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
		sarama.ErrInvalidTopic, sarama.ErrPolicyViolation, sarama.ErrInvalidPartitions, sarama.ErrInvalidReplicationFactor,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// deal deals out records of a batch, once whole is set; flush sends them.
func (o *outlet) deal(p *parcel, from, to int32) {
	if !o.picker.each() {
		o.add(o.whole, p, from, to)
		return
	}
	for i := from; i < to; i++ {
		o.add(o.picker.record(p.keyOf(&p.batch.Records[i]), o.width, o.whole, o.healthy), p, i, i+1)
	}
}

func (o *outlet) add(at int32, p *parcel, from, to int32) {
	spans := o.spans[at]
	if k := len(spans); k > 0 && spans[k-1].to == from {
		spans[k-1].to = to
		return
	}
	o.spans[at] = append(spans, span{p, from, to})
}

// flush hands what was dealt out to the lanes.
func (o *outlet) flush(ctx context.Context) {
	for at, spans := range o.spans {
		if len(spans) > 0 {
			o.lane(ctx, at).put(spans...)
			clear(spans)
			o.spans[at] = spans[:0]
		}
	}
}

// lane returns the lane of a partition, and starts it if need be.
func (o *outlet) lane(ctx context.Context, partition int32) *lane {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	l := o.lanes[partition]
	if l == nil {
		l = newLane(o, partition)
		o.lanes[partition] = l
		o.s.wg.Go(func() { o.s.runLane(ctx, l) })
	}
	return l
}

func (o *outlet) healthy(partition int32) bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	l := o.lanes[partition]
	return l == nil || l.healthy()
}
