package kafka

import (
	"context"
	"errors"
	"time"
)

// maxWindow is the most flights of one partition in the air: brokers remember
// the last five batches of a producer, and recognise only those.
const maxWindow = 5

// batchLane sends the records of a lane as record batches of its own making,
// several in the air at a time. docs/architecture.md has its states.
//
// It belongs to run's goroutine, but for what lane.mu guards and land.
type batchLane struct {
	*lane
	w       *batchWriter
	flights []*flight // cut from the queue and not settled, in order
	limit   int       // most records of a new flight
	attempt int       // failures since the last acknowledgement

	sender *sender  // of the leader; nil when it must be looked up
	to     int32    // the partition to write to; changes only with nothing in the air
	id     identity // of the partition's flights
	known  bool     // id is valid
	proven bool     // a flight was acknowledged since the last failure or pause, under this id
}

func newBatchLane(l *lane, w *batchWriter) *batchLane {
	return &batchLane{lane: l, w: w, limit: maxFlight, id: anonymous, to: l.partition}
}

// run sends until the lane is finished and empty, or ctx ends.
func (l *batchLane) run(ctx context.Context) {
	for {
		if head := l.harvest(); head != nil {
			if l.recover(ctx, head) != nil {
				return
			}
			continue
		}
		wait, over := l.cut()
		if over || l.launch(ctx) != nil || l.await(ctx, wait) != nil {
			return
		}
	}
}

// cut makes flights of what waits in the queue, as far as they are due and
// there is room, and has them pressed. wait is how long until the next one is
// due, negative when something else must happen first; over says that nothing
// is left and nothing will come.
func (l *batchLane) cut() (wait time.Duration, over bool) {
	l.mu.Lock()
	if len(l.queue) == 0 && len(l.flights) == 0 {
		l.proven = false // who sends nothing may be forgotten
	}
	var fresh []*flight
	for wait = -1; len(l.flights) < max(2, l.w.window); {
		if wait = l.due(); wait != 0 {
			break
		}
		f := l.take()
		l.flights, l.flying = append(l.flights, f), true
		if f.state == pressing {
			fresh = append(fresh, f)
		} else {
			l.signal() // it has failed already, and nobody will say so again
		}
		wait = -1
	}
	over = l.closing && len(l.flights) == 0
	l.mu.Unlock()
	for _, f := range fresh {
		l.press(f)
	}
	return wait, over
}

// due returns how long the next flight may wait for more records: 0 when it
// is due, negative when there are none. A partition with nothing under way
// waits for nothing. l.mu is held.
func (l *batchLane) due() time.Duration {
	switch {
	case len(l.queue) == 0:
		return -1
	case l.closing || len(l.flights) == 0 || l.queued >= l.s.flightBytes:
		return 0
	}
	return l.linger()
}

// take moves the next flight's records out of the queue. A record that is too
// large for any request makes a flight of its own, which has failed already.
// l.mu is held, and the queue is not empty.
func (l *batchLane) take() *flight {
	var spans []span
	bytes, records, done := 0, 0, 0
	for ; done < len(l.queue); done++ {
		sp := &l.queue[done]
		from := sp.from
		for ; sp.from < sp.to; sp.from++ {
			rec := &sp.parcel.batch.Records[sp.from]
			n := recordSize(rec, sp.parcel.keyOf(rec))
			if n > l.s.cfg.MaxMessageBytes && records == 0 {
				return l.reject(done, n)
			}
			if records == l.limit || records > 0 && (bytes+n > l.s.flightBytes || n > l.s.cfg.MaxMessageBytes) {
				break
			}
			bytes += n
			records++
		}
		if sp.from > from {
			spans = append(spans, span{sp.parcel, from, sp.from})
		}
		if sp.from < sp.to {
			break
		}
	}
	l.shift(done, bytes)
	return newFlight(l, spans)
}

// reject takes the first record of the queue's span at, which has n bytes and
// is too large. l.mu is held.
func (l *batchLane) reject(at, n int) *flight {
	sp := &l.queue[at]
	f := newFlight(l, []span{{sp.parcel, sp.from, sp.from + 1}})
	f.state, f.err = failed, tooLarge(n, l.s.cfg.MaxMessageBytes)
	if sp.from++; sp.from == sp.to {
		at++
	}
	l.shift(at, n)
	return f
}

// press has a flight encoded and compressed: here when it is small, otherwise
// beside others.
func (l *batchLane) press(f *flight) {
	if f.bytes <= smallFlight {
		l.pressed(f, l.w.press.run(f))
		return
	}
	l.w.wg.Go(func() {
		l.pressed(f, l.w.press.run(f))
		l.signal()
	})
}

// smallFlight is up to how many bytes compressing takes less time than
// handing it to another goroutine is worth.
const smallFlight = 16 << 10

func (l *batchLane) pressed(f *flight, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.state = ready; err != nil {
		f.state, f.err, f.failedAt, f.batch = failed, err, time.Now(), nil
		l.signal()
	}
}

// launch sends the flights whose turn it is. It fails only when ctx ends.
func (l *batchLane) launch(ctx context.Context) error {
	handed, err := l.hand(ctx)
	if handed {
		l.sender.flush()
	}
	return err
}

// hand hands the flights whose turn it is to the sender. It fails only when
// ctx ends.
func (l *batchLane) hand(ctx context.Context) (handed bool, err error) {
	airborne := 0
	for _, f := range l.flights {
		l.mu.Lock()
		state := f.state
		l.mu.Unlock()
		switch {
		case state == flying, state == acked:
			airborne++
			continue
		case state != ready, airborne >= l.window():
			return handed, nil
		}
		if l.to != l.partition && l.home() {
			if airborne > 0 {
				return handed, nil
			}
			l.sender = nil // connect looks where to
		}
		if err := l.connect(ctx); err != nil {
			return handed, err
		}
		if !f.numbered {
			l.id.number(f)
		}
		l.mu.Lock()
		f.state = flying
		l.mu.Unlock()
		airborne++
		l.sender.add(f)
		handed = true
	}
	return handed, nil
}

// window is how many flights may be in the air. A broker that knows nothing of
// a producer takes any sequence number for its first, so until one flight is
// acknowledged the next one must not be there before it.
func (l *batchLane) window() int {
	if !l.proven {
		return 1
	}
	return l.w.window
}

// connect finds the partition's leader and, for an idempotent lane, an
// identity. It fails only when ctx ends.
func (l *batchLane) connect(ctx context.Context) error {
	for l.sender == nil {
		if to := l.target(); to != l.to {
			l.to, l.known, l.proven = to, false, false
		}
		b, err := l.s.cluster.leader(l.out.topic, l.to, l.s.route.Create, ctx.Done(), l.note)
		if err == nil && !l.known && l.s.cfg.idempotent() {
			err = l.identify()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			l.sender = l.w.sender(b)
			break
		}
		if err := l.pause(ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// identify gives the lane a new identity; its flights are numbered anew.
func (l *batchLane) identify() error {
	id, err := l.w.identify()
	if err != nil {
		return err
	}
	l.id, l.known = id, true
	for _, f := range l.flights {
		f.numbered = false
	}
	return nil
}

// land notes how a flight ended. Safe for use from several goroutines; it
// never blocks, so callbacks may use it.
func (l *batchLane) land(f *flight, err error) {
	l.mu.Lock()
	f.state, f.err = acked, err
	if err != nil {
		f.state, f.failedAt = failed, time.Now()
	}
	l.mu.Unlock()
	l.signal()
}

// harvest settles what is acknowledged. It returns the first flight that is
// left when that one has failed and nothing is in the air any more.
func (l *batchLane) harvest() *flight {
	l.mu.Lock()
	var done []*flight
	kept := l.flights[:0]
	airborne := false
	for _, f := range l.flights {
		if f.state == acked {
			done = append(done, f)
			continue
		}
		airborne = airborne || f.state == flying
		kept = append(kept, f)
	}
	clear(l.flights[len(kept):])
	l.flights = kept
	failing := len(kept) > 0 && kept[0].state == failed && !airborne
	l.mu.Unlock()

	if len(done) > 0 {
		l.settle(done)
	}
	if failing {
		return kept[0]
	}
	return nil
}

// settle resolves flights that are acknowledged.
func (l *batchLane) settle(done []*flight) {
	records, bytes := 0, 0
	for _, f := range done {
		records += int(f.records)
		bytes += f.bytes
		if int(f.records) >= l.limit {
			l.limit = min(maxFlight, l.limit+l.limit/8+1)
		}
		f.settle()
	}
	l.out.ackedRecords.Add(float64(records))
	l.out.ackedBytes.Add(float64(bytes))
	l.attempt, l.proven = 0, true
	l.recovered()
	if len(l.flights) == 0 {
		l.emptied()
	}
}

// recover deals with the failure of head, the lane's first flight; nothing is
// in the air. What failed behind it failed because of it. It fails only when
// ctx ends.
func (l *batchLane) recover(ctx context.Context, head *flight) error {
	l.proven = false
	if poison(head.err) != "" {
		if err := l.refuse(ctx, head); err != nil {
			return err
		}
	} else {
		l.sender = nil
		if spoilsProducer(head.err) {
			l.known = false
		}
		if err := l.pause(ctx, head.err); err != nil {
			return err
		}
		if err := l.s.cluster.refresh(l.out.topic, head.failedAt); err != nil {
			l.note(err)
		}
	}
	l.retry()
	return nil
}

// retry makes every failed flight ready again, but for those that Kafka will
// never take.
func (l *batchLane) retry() {
	var unpressed []*flight
	l.mu.Lock()
	for _, f := range l.flights {
		switch {
		case f.state != failed || f.batch == nil && poison(f.err) != "":
			continue
		case f.batch == nil:
			f.state = pressing
			unpressed = append(unpressed, f)
		default:
			f.state = ready
		}
		f.err = nil
		l.s.retries.Inc()
	}
	l.mu.Unlock()
	for _, f := range unpressed {
		l.press(f)
	}
}

// refuse deals with a flight that Kafka will never take as it is: it is halved
// down to the record to blame, which becomes a dead letter.
func (l *batchLane) refuse(ctx context.Context, head *flight) error {
	if !errors.Is(head.err, errTooLarge) { // that one was never sent
		l.s.countError(head.err)
	}
	if head.numbered { // nothing from here on was written
		l.id.next = head.batch.producer.next
	}
	for _, f := range l.flights {
		f.numbered = false
	}
	if head.records > 1 {
		l.limit = max(1, int(head.records)/2)
		a, b := head.halves()
		l.flights = append([]*flight{a, b}, l.flights[1:]...)
		l.press(a)
		l.press(b)
		return nil
	}
	if err := l.setAside(ctx, head.only(), head.err); err != nil {
		return err
	}
	l.flights = append([]*flight(nil), l.flights[1:]...)
	if len(l.flights) == 0 {
		l.emptied()
	}
	return nil
}

// pause notes a failure that time heals, and waits before the next attempt.
func (l *batchLane) pause(ctx context.Context, cause error) error {
	if !errors.Is(cause, errStopped) && !errors.Is(cause, errAborted) {
		l.s.countError(cause)
		l.note(cause)
	}
	l.attempt++
	return sleep(ctx, backoff(l.s.cfg.RetryBackoff, l.s.cfg.RetryBackoffMax, l.attempt-1))
}
