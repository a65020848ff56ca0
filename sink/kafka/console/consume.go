// Package console sends lines to a topic and reads records from one, for
// people at a terminal and for scripts.
//
// It promises an answer for each line that was sent, in the order of the
// lines, and that reading stops cleanly: records are handled one at a time,
// and a consumer group's commit covers exactly those that were handled.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
)

// Where reading can begin besides at an offset.
const (
	FromOldest int64 = sarama.OffsetOldest // the first record that the brokers still have
	FromNewest int64 = sarama.OffsetNewest // records that come after the start
)

// fetchWait is how long a broker holds a fetch that has no data; it bounds
// how long stopping takes.
const fetchWait = 250 * time.Millisecond

// errEnough ends reading from inside: all that was asked for was handled.
var errEnough = errors.New("all records were read")

// ParseFrom reads "oldest", "newest" or an offset.
func ParseFrom(s string) (int64, error) {
	switch s {
	case "oldest", "beginning":
		return FromOldest, nil
	case "newest", "end":
		return FromNewest, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not oldest, newest or an offset", s)
	}
	return n, nil
}

// ConsumeOptions says what to read.
type ConsumeOptions struct {
	Topic      string
	Partitions []int32 // nil: all; not with Group
	From       int64   // FromOldest, FromNewest or an offset; a group begins there only when it has no commit, and takes no offset
	Group      string  // read as a member of this consumer group; empty: alone, without commits
	NoCommit   bool    // with Group: leave its offsets as they are
	Max        int64   // stop after this many records; 0: never
	UntilEnd   bool    // stop at the end that the partitions had at the start; not with Group
}

// Validate says what cannot go together.
func (o ConsumeOptions) Validate() error {
	switch {
	case o.Topic == "":
		return errors.New("a topic is needed")
	case o.Group != "" && len(o.Partitions) > 0:
		return errors.New("a group's partitions are assigned by Kafka: choose either a group or partitions")
	case o.Group != "" && o.From >= 0:
		return errors.New("a group goes on where it committed: with a group, reading begins at oldest or newest")
	case o.Group != "" && o.UntilEnd:
		return errors.New("a group has no end to stop at: take a number of records instead")
	}
	return nil
}

// Message is one record as it was read. Its bytes belong to the receiver.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte // nil: none
	Value     []byte // nil: a tombstone
	Headers   []Header
}

// Consume reads records and calls handle for each, one at a time, and within
// a partition in order. It returns nil when ctx ends or what the options ask
// for has been read, and handle's error when it fails. In a group the records
// that handle took are committed, at the latest before Consume returns.
func Consume(ctx context.Context, cfg kafka.Config, opts ConsumeOptions, handle func(Message) error, log *slog.Logger) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	client, err := admin.Connect(ctx, cfg, func(c *sarama.Config) {
		c.Consumer.Return.Errors = true
		c.Consumer.MaxWaitTime = fetchWait
		if opts.Group != "" {
			c.Consumer.Offsets.Initial = opts.From
			c.Consumer.Offsets.AutoCommit.Enable = !opts.NoCommit
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	parts, err := partitionsOf(client, opts.Topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &desk{opts: opts, handle: handle, end: cancel}
	if opts.Group != "" {
		err = consumeGroup(ctx, client, d, log)
	} else {
		err = consumePartitions(ctx, client, d, parts, log)
	}
	if cause := context.Cause(ctx); ctx.Err() != nil && d.failed(cause) {
		return cause
	}
	return err
}

// desk is where the records of all partitions are handled, one at a time. It
// is used by one goroutine a partition.
type desk struct {
	opts   ConsumeOptions
	handle func(Message) error
	end    context.CancelCauseFunc

	mu    sync.Mutex
	count int64
	err   error
	over  bool
}

// take handles one record; false means that it was not taken, because
// reading is over.
func (d *desk) take(m *sarama.ConsumerMessage) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	if err := d.handle(message(m)); err != nil {
		d.over, d.err = true, err
		d.end(err)
		return false
	}
	d.count++
	if d.opts.Max > 0 && d.count >= d.opts.Max {
		d.over = true
		d.end(errEnough)
	}
	return true
}

// failed tells handle's error from an ordinary end.
func (d *desk) failed(cause error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err != nil && errors.Is(cause, d.err)
}

func message(m *sarama.ConsumerMessage) Message {
	out := Message{
		Topic: m.Topic, Partition: m.Partition, Offset: m.Offset,
		Time: m.Timestamp, Key: m.Key, Value: m.Value,
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, Header{Key: string(h.Key), Value: string(h.Value)})
	}
	return out
}
