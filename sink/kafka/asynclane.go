package kafka

import (
	"context"
	"errors"
	"time"
)

// asyncLane sends the records of a lane through a transport, one flight at a
// time: the next one leaves when each record of the last is settled.
type asyncLane struct {
	*lane
	transport transport
	to        int32 // the partition that transport writes to
	flight    []item
	limit     int // most records that are sent together
	attempt   int // failures since the last success
}

func newAsyncLane(l *lane) *asyncLane { return &asyncLane{lane: l, limit: maxFlight} }

// run sends until the lane is finished and empty, or ctx ends.
func (l *asyncLane) run(ctx context.Context) {
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
		l.emptied()
	}
}

// gather waits for records, up to linger for as many as go together, and
// moves them to l.flight. It returns false when there are and will be none.
func (l *asyncLane) gather(ctx context.Context) bool {
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
func (l *asyncLane) due() (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.queue) == 0:
		return -1, !l.closing
	case l.closing || l.queued >= l.s.flightBytes:
		return 0, true
	}
	return l.linger(), true
}

// take moves the next flight from the queue to l.flight.
func (l *asyncLane) take() {
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

// deliver sends l.flight until each of its records is settled. Records that
// are too large never leave; the others keep their order. It returns an error
// only when ctx ends.
func (l *asyncLane) deliver(ctx context.Context) error {
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
func (l *asyncLane) sendPart(ctx context.Context, part []item) error {
	if l.transport != nil && l.to != l.partition && l.home() {
		l.transport.close()
		l.transport = nil
	}
	if l.transport == nil {
		l.to = l.target()
		t, err := l.s.openTransport(laneConfig{topic: l.out.topic, partition: l.to, create: l.s.route.Create, note: l.note, retried: l.retried})
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

// settle resolves what was acknowledged and moves the rest, in order, to the
// end of part. cause is the first failure that is one of its own.
func (l *asyncLane) settle(part []item) (failed int, cause error) {
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
		l.out.ackedRecords.Add(float64(acked))
		l.out.ackedBytes.Add(float64(bytes))
	}
	return len(part) - keep, cause
}

// react deals with the outcome of sending sent records, of which rest begins
// with those that failed because of cause.
func (l *asyncLane) react(ctx context.Context, cause error, sent int, rest []item) error {
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
