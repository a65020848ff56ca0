package kafka

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"logferry/internal/record"
	"logferry/sink/kafka/deadletter"
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

func (d *letterTopic) put(ctx context.Context, l deadletter.Letter) error {
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
		err := d.send(ctx, rec)
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
// A time stamp that Kafka refused is left to the story.
func fit(l deadletter.Letter, limit int) *record.Record {
	at := l.RecordTime
	if l.Cause == "invalid_timestamp" {
		at = l.Time
	}
	x := &record.Extra{Time: at, Key: l.Key, Headers: slices.Concat(l.Headers, l.Story())}
	rec := &record.Record{Value: l.Value, Offset: l.Offset, Extra: x}
	if recordSize(rec, x.Key) <= limit {
		return rec
	}
	l.Cut = true
	story := append(l.Story(), record.Header{Key: record.HeaderTruncated, Value: []byte(strconv.Itoa(len(l.Value)))})
	x.Headers = slices.Concat(l.Headers, story)
	rec.Value = nil
	if recordSize(rec, x.Key) > limit/2 {
		x.Key, x.Headers = nil, story
	}
	room := max(0, limit-recordSize(rec, x.Key))
	rec.Value = l.Value[:min(room, len(l.Value))]
	return rec
}

// send delivers one record to the topic.
func (d *letterTopic) send(ctx context.Context, rec *record.Record) error {
	if d.t == nil {
		t, err := d.s.openTransport(laneConfig{topic: d.topic, create: d.s.route.Create, note: d.note, retried: d.note, acked: true})
		if err != nil {
			return d.s.cluster.explain(err, d.topic)
		}
		d.t = t
	}
	flight := []item{{parcel: &parcel{batch: &record.Batch{Time: rec.Extra.Time}}, rec: rec}}
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
