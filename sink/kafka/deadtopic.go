package kafka

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"logferry/internal/record"
)

// letterTopic puts dead letters into a topic: the value and key as they were,
// the story in headers. A value that is too large for this topic too is cut;
// its full length is in the header record.HeaderTruncated.
type letterTopic struct {
	s     *session
	topic string
	busy  chan struct{} // holds a value while a put is under way
	t     transport     // nil until it is needed
}

func newLetterTopic(s *session, topic string) *letterTopic {
	return &letterTopic{s: s, topic: topic, busy: make(chan struct{}, 1)}
}

func (d *letterTopic) put(ctx context.Context, l letter) error {
	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return ctx.Err() // what another put left in flight is unknown
	}
	limit := d.s.cfg.MaxMessageBytes
	for {
		rec := fit(l, limit)
		err := d.send(ctx, rec, l.time)
		if err == nil {
			d.s.letterTrouble.Store(nil)
		}
		if poison(err) != "too_large" || len(rec.Value) == 0 {
			return err
		}
		limit = recordSize(rec, rec.Extra.Key) / 2
	}
}

// fit makes the record for a letter, cut so that it takes at most limit bytes,
// if that can be: the value gives way first, then key and headers of its own.
func fit(l letter, limit int) *record.Record {
	x := &record.Extra{Time: l.time, Key: l.key, Headers: slices.Concat(l.headers, l.trace())}
	rec := &record.Record{Value: l.value, Offset: l.offset, Extra: x}
	if recordSize(rec, x.Key) <= limit {
		return rec
	}
	mark := record.Header{Key: record.HeaderTruncated, Value: []byte(strconv.Itoa(len(l.value)))}
	x.Headers = append(x.Headers, mark)
	rec.Value = nil
	if recordSize(rec, x.Key) > limit/2 {
		x.Key, x.Headers = nil, append(l.trace(), mark)
	}
	room := max(0, limit-recordSize(rec, x.Key))
	rec.Value = l.value[:min(room, len(l.value))]
	return rec
}

// send delivers one record to the topic.
func (d *letterTopic) send(ctx context.Context, rec *record.Record, at time.Time) error {
	if d.t == nil {
		t, err := d.s.openTransport(d.topic, 0, d.s.route.Create, d.note, d.note)
		if err != nil {
			return d.s.cluster.explain(err, d.topic)
		}
		d.t = t
	}
	flight := []item{{parcel: &parcel{batch: &record.Batch{Time: at}}, rec: rec}}
	if err := d.t.send(ctx, flight); err != nil {
		return err
	}
	err := flight[0].err
	if spoilsProducer(err) {
		d.t.close()
		d.t = nil
	}
	if err == nil || poison(err) != "" {
		return err
	}
	return d.s.cluster.explain(err, d.topic)
}

// note tells the session why there is no progress.
func (d *letterTopic) note(err error) {
	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, errAborted) {
		d.s.letterTrouble.Store(&trouble{err: deadLetterTrouble(d.s.cluster.explain(err, d.topic))})
	}
}

func (d *letterTopic) close() {
	if d.t != nil {
		d.t.close()
	}
}
