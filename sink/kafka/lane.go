package kafka

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFlight is the most records that one flight holds.
	maxFlight = 8192
	// quietTrouble is how long an error may last before it is logged: a
	// partition that changes its leader is nobody's business.
	quietTrouble = time.Second
)

// lane is the way of one partition's records: what waits for its turn, and why
// it has to. An asyncLane or a batchLane sends it, in order, from a goroutine
// of its own. Whatever happens to it, no other lane waits.
type lane struct {
	s         *session
	out       *outlet
	partition int32
	log       *slog.Logger

	mu      sync.Mutex
	queue   []span
	queued  int  // rough bytes in queue
	flying  bool // what was taken from queue is not all settled
	closing bool // no more is coming
	wake    chan struct{}
	landed  chan struct{} // gets a value when flying ends

	trouble atomic.Pointer[trouble]
}

// trouble is why a lane makes no progress.
type trouble struct {
	err    error
	since  time.Time
	logged bool
}

func newLane(o *outlet, partition int32) *lane {
	return &lane{
		s: o.s, out: o, partition: partition, log: o.log.With("partition", partition),
		wake: make(chan struct{}, 1), landed: make(chan struct{}, 1),
	}
}

// put queues spans. Safe for use from several goroutines.
func (l *lane) put(spans ...span) {
	n := 0
	for _, sp := range spans {
		for i := sp.from; i < sp.to; i++ {
			rec := &sp.parcel.batch.Records[i]
			n += recordSize(rec, sp.parcel.keyOf(rec))
		}
	}
	l.mu.Lock()
	l.queue = append(l.queue, spans...)
	l.queued += n
	l.mu.Unlock()
	l.signal()
}

// finish says that no more is coming.
func (l *lane) finish() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.signal()
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// emptied notes that all that was taken from the queue is settled.
func (l *lane) emptied() {
	l.mu.Lock()
	l.flying = false
	l.mu.Unlock()
	select {
	case l.landed <- struct{}{}:
	default:
	}
}

// idle waits until the lane has delivered all that it got, or ctx ends. Only
// who puts may call it.
func (l *lane) idle(ctx context.Context) error {
	for {
		l.mu.Lock()
		busy := l.flying || len(l.queue) > 0
		l.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-l.landed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// await waits for a signal, or for d when it is not negative.
func (l *lane) await(ctx context.Context, d time.Duration) error {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-l.wake:
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// shift drops the first n spans from the queue. l.mu is held.
func (l *lane) shift(n, bytes int) {
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	l.queued = max(0, l.queued-bytes)
	if rest == 0 {
		l.queued = 0
	}
}

// linger is for how much longer what is queued may wait for more. l.mu is held,
// and the queue is not empty.
func (l *lane) linger() time.Duration {
	return max(0, l.s.cfg.Linger-time.Since(l.queue[0].parcel.came))
}

// target is the partition to write to: the lane's own, or another one when the
// topic was made anew with fewer partitions.
func (l *lane) target() int32 {
	n, err := l.s.cluster.partitions(l.out.topic, l.s.route.Create)
	if err != nil || l.partition < n || l.s.route.Partitioner == "manual" {
		return l.partition
	}
	return l.partition % n
}

// home says whether the topic has the lane's own partition. A lane that writes
// to another one goes back then: by now the partition's records come to it.
func (l *lane) home() bool {
	n, err := l.s.cluster.partitions(l.out.topic, l.s.route.Create)
	return err == nil && l.partition < n
}

// setAside writes a record that Kafka refuses to the dead letters. It tries
// for as long as it takes.
func (l *lane) setAside(ctx context.Context, it item, cause error) error {
	letter := newLetter(l.s.route, l.out.topic, l.partition, it, cause)
	for attempt := 0; ; attempt++ {
		err := l.s.letters.put(ctx, letter)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.setTrouble(deadLetterTrouble(err))
		if err := sleep(ctx, backoff(l.s.cfg.RetryBackoff, l.s.cfg.RetryBackoffMax, attempt)); err != nil {
			return err
		}
	}
	l.s.m.deadLetters.WithLabelValues(l.s.route.Task, poison(cause)).Inc()
	l.s.warnDeadLetter(l.out, it, cause)
	l.recovered()
	it.parcel.settle(1)
	return nil
}
