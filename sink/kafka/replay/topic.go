package replay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"logferry/internal/record"
	"logferry/sink/kafka/admin"
	"logferry/sink/kafka/console"
	"logferry/sink/kafka/deadletter"
)

// The headers of a mark: which letter of its partition it is about, by offset.
const (
	headerReplayed = "logferry.replayed"
	headerDropped  = "logferry.dropped"
	headerTo       = "logferry.to" // topic that it was replayed to
)

// place is where a record stands in the topic.
type place struct {
	partition int32
	offset    int64
}

func (t Topic) id(p place) string { return fmt.Sprintf("%s/%d/%d", t.Name, p.partition, p.offset) }

// place is the opposite of id.
func (t Topic) place(id string) (p place, err error) {
	rest, _ := strings.CutPrefix(id, t.Name+"/")
	partition, offset, _ := strings.Cut(rest, "/")
	n, err1 := strconv.ParseInt(partition, 10, 32)
	p.offset, err = strconv.ParseInt(offset, 10, 64)
	p.partition = int32(n)
	return p, errors.Join(err1, err)
}

// marks are what the topic says about its letters.
type marks struct {
	replayed map[place]time.Time
	dropped  map[place]bool
}

// consume hands over all records that the topic holds at this moment, partition
// by partition and in order.
func (t Topic) consume(ctx context.Context, each func(console.Message) error) error {
	client, err := admin.Connect(ctx, t.Config)
	if err != nil {
		return err
	}
	parts, err := client.Partitions(t.Name)
	err = errors.Join(err, client.Close())
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return fmt.Errorf("%w; no letter was written to it yet, or its name is another one", admin.UnknownTopic(t.Name))
	} else if err != nil {
		return fmt.Errorf("look up topic %q: %s", t.Name, admin.Words(err))
	}
	for _, p := range parts {
		opts := console.ConsumeOptions{Topic: t.Name, Partitions: []int32{p}, From: console.FromOldest, UntilEnd: true}
		if err := console.Consume(ctx, t.Config, opts, each, t.Log); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// readMarks goes through the topic for its marks alone: they stand behind the
// letters that they are about.
func (t Topic) readMarks(ctx context.Context) (marks, error) {
	m := marks{replayed: map[place]time.Time{}, dropped: map[place]bool{}}
	err := t.consume(ctx, func(msg console.Message) error {
		if !isMark(msg) {
			return nil
		}
		offset, err := strconv.ParseInt(msg.Headers[0].Value, 10, 64)
		switch p := (place{msg.Partition, offset}); {
		case err != nil:
		case msg.Headers[0].Key == headerReplayed:
			m.replayed[p] = msg.Time
		default:
			m.dropped[p] = true
		}
		return nil
	})
	return m, err
}

// isMark tells a mark from a letter, whose record may have headers of any name.
func isMark(msg console.Message) bool {
	if len(msg.Headers) == 0 || len(msg.Key)+len(msg.Value) > 0 {
		return false
	}
	first := msg.Headers[0].Key
	return len(msg.Headers) <= 2 && (first == headerReplayed || first == headerDropped)
}

// Read calls each with every letter that was not dropped, partition by
// partition and in order. Records that are neither letters nor marks are counted.
func (t Topic) Read(ctx context.Context, each func(deadletter.Letter) error) (unreadable int, err error) {
	m, err := t.readMarks(ctx)
	if err != nil {
		return 0, err
	}
	err = t.consume(ctx, func(msg console.Message) error {
		if isMark(msg) {
			return nil
		}
		l, ok := t.letter(msg, m)
		if !ok {
			unreadable++
			return nil
		}
		if m.dropped[place{msg.Partition, msg.Offset}] {
			return nil
		}
		return each(l)
	})
	return unreadable, err
}

func (t Topic) letter(msg console.Message, m marks) (deadletter.Letter, bool) {
	headers := make([]record.Header, len(msg.Headers))
	for i, h := range msg.Headers {
		headers[i] = record.Header{Key: h.Key, Value: []byte(h.Value)}
	}
	l, ok := deadletter.FromRecord(msg.Key, msg.Value, headers)
	at := place{msg.Partition, msg.Offset}
	l.ID, l.Replayed = t.id(at), m.replayed[at]
	if l.Time.IsZero() {
		l.Time = msg.Time
	}
	if l.RecordTime.IsZero() {
		l.RecordTime = msg.Time
	}
	return l, ok
}

// Replay calls send with every letter that was neither replayed nor dropped,
// and marks those for which send returns the topic that they were sent to.
func (t Topic) Replay(ctx context.Context, send func(deadletter.Letter) (topic string, err error)) (err error) {
	s, err := Open(ctx, t.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = t.Read(ctx, func(l deadletter.Letter) error {
		if !l.Replayed.IsZero() {
			return nil
		}
		to, err := send(l)
		if err != nil || to == "" {
			return err
		}
		at, err := t.place(l.ID)
		if err != nil {
			return err
		}
		if err := t.mark(s, at, headerReplayed, record.Header{Key: headerTo, Value: []byte(to)}); err != nil {
			return fmt.Errorf("%s was sent to topic %q and cannot be marked, so the next replay sends it again: %w", l.ID, to, err)
		}
		return nil
	})
	return err
}

func (t Topic) mark(s *Sender, at place, kind string, more ...record.Header) error {
	h := append([]record.Header{{Key: kind, Value: strconv.AppendInt(nil, at.offset, 10)}}, more...)
	_, _, err := s.send(t.Name, at.partition, nil, nil, h, time.Now())
	return err
}

// Drop removes the letters that match. What stands before the first record that
// stays is deleted from the topic; letters behind it are marked, and deleted
// with those around them some day.
func (t Topic) Drop(ctx context.Context, match func(deadletter.Letter) bool) (dropped int, err error) {
	var gone []place
	first := map[int32]int64{} // that stays, or the end
	m, err := t.readMarks(ctx)
	if err != nil {
		return 0, err
	}
	stays := map[int32]bool{}
	err = t.consume(ctx, func(msg console.Message) error {
		at := place{msg.Partition, msg.Offset}
		l, ok := t.letter(msg, m)
		switch {
		case isMark(msg), m.dropped[at]:
		case ok && match(l):
			gone = append(gone, at)
		default:
			stays[at.partition] = true
			return nil
		}
		if !stays[at.partition] {
			first[at.partition] = at.offset + 1
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), t.remove(ctx, gone, first)
}

// remove deletes the beginning of each partition up to first, and marks what
// is gone behind it, or all of it where deleting is not allowed.
func (t Topic) remove(ctx context.Context, gone []place, first map[int32]int64) (err error) {
	s, err := Open(ctx, t.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	deleted := len(first) == 0
	if !deleted {
		a, err := sarama.NewClusterAdminFromClient(s.client) // closing it would close the client
		if err == nil {
			err = a.DeleteRecords(t.Name, first)
		}
		if deleted = err == nil; !deleted {
			t.Log.Warn("dropped dead letters are marked, but stay in the topic until its retention removes them; grant Delete on it", "topic", t.Name, "err", admin.Words(err))
		}
	}
	for _, at := range gone {
		if deleted && at.offset < first[at.partition] {
			continue
		}
		if err := t.mark(s, at, headerDropped); err != nil {
			return fmt.Errorf("mark a dropped dead letter: %w", err)
		}
	}
	return nil
}
