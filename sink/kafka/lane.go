package kafka

import (
	"context"
	"errors"
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

// lane sends the records of one partition, in order and one flight at a time,
// from a goroutine of its own. Whatever happens to it, no other lane waits.
type lane struct {
	s         *session
	partition int32
	log       *slog.Logger

	mu      sync.Mutex
	queue   []span
	queued  int       // rough bytes in queue
	since   time.Time // when queue ceased to be empty
	flying  bool      // what was taken from queue is not all settled
	closing bool      // no more is coming
	wake    chan struct{}
	landed  chan struct{} // gets a value when flying ends

	trouble atomic.Pointer[trouble]

	// The rest belongs to run.
	transport transport
	flight    []item
	limit     int // most records that are sent together
	attempt   int // failures since the last success
}

// trouble is why a lane makes no progress.
type trouble struct {
	err    error
	since  time.Time
	logged bool
}

func newLane(s *session, partition int32) *lane {
	return &lane{
		s: s, partition: partition, log: s.log.With("partition", partition),
		wake: make(chan struct{}, 1), landed: make(chan struct{}, 1), limit: maxFlight,
	}
}

// put queues spans. Safe for use from several goroutines.
func (l *lane) put(spans ...span) {
	n := 0
	for _, sp := range spans {
		for i := sp.from; i < sp.to; i++ {
			n += len(sp.parcel.batch.Records[i].Value) + recordOverhead
		}
	}
	l.mu.Lock()
	if len(l.queue) == 0 {
		l.since = time.Now()
	}
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

// run sends until the lane is finished and empty, or ctx ends.
func (l *lane) run(ctx context.Context) {
	defer func() {
		if l.transport != nil {
			l.transport.close()
		}
	}()
	for l.gather(ctx) {
		if err := l.deliver(ctx); err != nil {
			return
		}
		clear(l.flight) // keep no batch alive
		l.land()
	}
}

// land notes that a flight is settled.
func (l *lane) land() {
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

// gather waits for records, up to linger for as many as go together, and
// moves them to l.flight. It returns false when there are and will be none.
func (l *lane) gather(ctx context.Context) bool {
	for {
		wait, ok := l.due()
		if !ok {
			return false
		}
		if wait == 0 {
			l.take()
			return true
		}
		if err := l.await(ctx, wait); err != nil {
			return false
		}
	}
}

// due returns how long to wait for more: 0 when a flight is to go, negative
// until there is something. ok is false when nothing will come any more.
func (l *lane) due() (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.queue) == 0:
		return -1, !l.closing
	case l.closing || l.queued >= l.s.flightBytes:
		return 0, true
	}
	return max(0, l.s.cfg.Linger-time.Since(l.since)), true
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

// take moves the next flight from the queue to l.flight.
func (l *lane) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flight, l.flying = l.flight[:0], true
	bytes, done := 0, 0
	for done < len(l.queue) && len(l.flight) < maxFlight {
		sp := &l.queue[done]
		for ; sp.from < sp.to && len(l.flight) < maxFlight; sp.from++ {
			rec := &sp.parcel.batch.Records[sp.from]
			n := recordSize(rec, sp.parcel.keyOf(rec))
			if bytes += n; bytes > l.s.flightBytes && len(l.flight) > 0 {
				l.shift(done, bytes-n)
				return
			}
			l.flight = append(l.flight, item{parcel: sp.parcel, rec: rec})
		}
		if sp.from == sp.to {
			done++
		}
	}
	l.shift(done, bytes)
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

// deliver sends l.flight until each of its records is settled. Records that
// are too large never leave; the others keep their order. It returns an error
// only when ctx ends.
func (l *lane) deliver(ctx context.Context) error {
	rest := l.flight[:0]
	for _, it := range l.flight {
		if n := recordSize(it.rec, it.parcel.keyOf(it.rec)); n > l.s.cfg.MaxMessageBytes {
			if err := l.setAside(ctx, it, tooLarge(n, l.s.cfg.MaxMessageBytes)); err != nil {
				return err
			}
			continue
		}
		rest = append(rest, it)
	}
	for len(rest) > 0 {
		part := rest[:min(l.limit, len(rest))]
		if err := l.sendPart(ctx, part); err != nil {
			return err
		}
		failed, cause := l.settle(part)
		rest = rest[len(part)-failed:]
		if err := l.react(ctx, cause, len(part), rest); err != nil {
			return err
		}
		if poison(cause) != "" && len(part) == 1 {
			rest = rest[1:]
		}
	}
	return nil
}

// sendPart sends part with the lane's transport, which it opens if need be.
// Whatever keeps it from that is the error of all of part's records.
func (l *lane) sendPart(ctx context.Context, part []item) error {
	if l.transport == nil {
		t, err := l.s.openTransport(l.s.route.Topic, l.target(), l.s.route.Create, l.note, l.retried)
		if ctx.Err() != nil {
			if t != nil {
				t.close()
			}
			return ctx.Err()
		}
		if err != nil {
			for i := range part {
				part[i].err = err
			}
			return nil
		}
		l.transport = t
	}
	return l.transport.send(ctx, part)
}

// target is the partition to write to: the lane's own, or another one when the
// topic was made anew with fewer partitions.
func (l *lane) target() int32 {
	n, err := l.s.cluster.partitions(l.s.route.Topic, l.s.route.Create)
	if err != nil || l.partition < n || l.s.route.Partitioner == "manual" {
		return l.partition
	}
	return l.partition % n
}

// settle resolves what was acknowledged and moves the rest, in order, to the
// end of part. cause is the first failure that is one of its own.
func (l *lane) settle(part []item) (failed int, cause error) {
	keep := len(part)
	acked, bytes, run := 0, 0, 0
	for i := len(part) - 1; i >= 0; i-- {
		it := part[i]
		if it.err != nil {
			if cause == nil || !errors.Is(it.err, errOutOfTurn) {
				cause = it.err
			}
			keep--
			part[keep] = it
			continue
		}
		acked++
		bytes += len(it.rec.Value)
		if run++; i == 0 || part[i-1].parcel != it.parcel || part[i-1].err != nil {
			it.parcel.settle(run)
			run = 0
		}
	}
	if acked > 0 {
		l.s.ackedRecords.Add(float64(acked))
		l.s.ackedBytes.Add(float64(bytes))
	}
	return len(part) - keep, cause
}

// react deals with the outcome of sending sent records, of which rest begins
// with those that failed because of cause.
func (l *lane) react(ctx context.Context, cause error, sent int, rest []item) error {
	switch {
	case cause == nil:
		l.limit = min(maxFlight, l.limit*2)
		l.attempt = 0
		l.recovered()
		return nil
	case poison(cause) != "":
		l.s.countError(cause)
		if sent == 1 {
			return l.setAside(ctx, rest[0], cause)
		}
		l.limit = max(1, sent/2)
		return nil
	}
	l.s.countError(cause)
	l.s.retries.Inc()
	l.note(cause)
	if l.transport != nil && (spoilsProducer(cause) || errors.Is(cause, errPartitionGone)) {
		l.transport.close()
		l.transport = nil
	}
	l.attempt++
	return sleep(ctx, backoff(l.s.cfg.RetryBackoff, l.s.cfg.RetryBackoffMax, l.attempt-1))
}

// setAside writes a record that Kafka refuses to the dead letters. It tries
// for as long as it takes.
func (l *lane) setAside(ctx context.Context, it item, cause error) error {
	for attempt := 0; ; attempt++ {
		err := l.s.letters.put(ctx, newLetter(l.s.route, l.partition, it, cause))
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
	l.s.warnDeadLetter(it, cause)
	l.recovered()
	it.parcel.settle(1)
	return nil
}
