package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/IBM/sarama"

	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
)

const (
	// window bounds the lines that are sent and not yet answered.
	window = 4096
	// Tries for one record: long enough for an election, short for a person.
	sendRetries = 10
	sendBackoff = 250 * time.Millisecond
	// stopGrace is how long answers are awaited after the context ended.
	stopGrace = 5 * time.Second
)

// ProduceOptions says how lines become records. Acks and compression are
// those of the kafka.Config.
type ProduceOptions struct {
	Topic        string
	Partitioner  string   // one of Partitioners; empty: hash, or manual when Partition is set
	Partition    *int32   // the partition for "manual"
	Key          string   // key of every record; empty: none
	KeySeparator string   // what stands between key and value in a line; empty: lines have no key
	Headers      []Header // put on every record
}

// Header is one record header.
type Header struct{ Key, Value string }

// Sent is the answer to one line.
type Sent struct {
	Line      int64 // counted from 1
	Partition int32
	Offset    int64 // -1 with acks 0: the broker does not say
	Err       error // why it was not delivered; nil when it was
}

// Produce sends each line of in as a record and calls report for each, in
// the order of the lines, once the broker has answered. A line ends with \n
// or \r\n, which are not sent; the last one may go without.
//
// It returns nil when every line was delivered. A line that is too large is
// reported and the next one is sent; any other failure ends reading. When ctx
// ends no further line is read, and the answers to those sent are awaited for
// a few seconds. A Read that blocks at that moment is not interrupted: its
// goroutine ends when the Read does.
func Produce(ctx context.Context, cfg kafka.Config, opts ProduceOptions, in io.Reader, report func(Sent) error) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	constructor, err := newPartitioner(&opts)
	if err != nil {
		return err
	}
	client, err := admin.Connect(ctx, cfg, func(c *sarama.Config) {
		c.Producer.Return.Successes, c.Producer.Return.Errors = true, true
		c.Producer.Partitioner = constructor
		c.Producer.Flush.Bytes, c.Producer.Flush.Messages, c.Producer.Flush.Frequency = 0, 0, 0
		c.Producer.Retry.Max, c.Producer.Retry.Backoff, c.Producer.Retry.BackoffFunc = sendRetries, sendBackoff, nil
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if err := checkPartition(client, opts.Topic, opts.Partition); err != nil {
		return err
	}
	p, err := sarama.NewAsyncProducerFromClient(client)
	if err != nil {
		return fmt.Errorf("start the producer: %w", err)
	}
	f := &feeder{
		opts: opts, producer: p, report: report,
		acked:   client.Config().Producer.RequiredAcks != sarama.NoResponse,
		maxSize: client.Config().Producer.MaxMessageBytes,
	}
	return f.run(ctx, in, client)
}

// checkPartition refuses a topic or a partition that does not exist before
// anything is sent.
func checkPartition(client sarama.Client, topic string, partition *int32) error {
	parts, err := partitionsOf(client, topic)
	if err != nil || partition == nil {
		return err
	}
	for _, id := range parts {
		if id == *partition {
			return nil
		}
	}
	return fmt.Errorf("topic %q has no partition %d: it has %d, counted from 0", topic, *partition, len(parts))
}

func partitionsOf(client sarama.Client, topic string) ([]int32, error) {
	parts, err := client.Partitions(topic)
	switch {
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
		return nil, admin.UnknownTopic(topic)
	case err != nil:
		return nil, fmt.Errorf("look up topic %q: %s", topic, admin.Words(err))
	}
	return parts, nil
}

// feeder is the state of one Produce. Its loop is the only goroutine that
// touches it.
type feeder struct {
	opts     ProduceOptions
	producer sarama.AsyncProducer
	report   func(Sent) error
	acked    bool
	maxSize  int

	pending  []*entry // sent and not yet reported, in line order
	lines    int64
	failed   int64
	firstErr error // of the first line that was not delivered
	stopErr  error // what ended reading early
}

type entry struct {
	sent Sent
	done bool
}

// run feeds the producer until in ends, ctx ends or sending fails, and then
// takes the last answers.
func (f *feeder) run(ctx context.Context, in io.Reader, client *admin.Client) error {
	stop := make(chan struct{})
	lines := readLines(in, f.maxSize, stop)
	f.feed(ctx, lines)
	close(stop)

	// A producer that is closed does not try again what fails meanwhile: the
	// answers come first.
	f.await(ctx)
	cut := time.AfterFunc(stopGrace, client.Cut)
	defer cut.Stop()
	f.producer.AsyncClose()
	f.drain()
	switch {
	case f.stopErr != nil:
		return f.stopErr
	case f.failed > 0:
		return fmt.Errorf("%d of %d lines were not delivered; the first: %w", f.failed, f.lines, f.firstErr)
	case ctx.Err() != nil && len(f.pending) > 0:
		return fmt.Errorf("%d lines were not answered before the end", len(f.pending))
	}
	return nil
}

func (f *feeder) feed(ctx context.Context, lines <-chan line) {
	var next *sarama.ProducerMessage
	for {
		var input chan<- *sarama.ProducerMessage
		source := lines
		if next != nil {
			input = f.producer.Input()
		}
		if next != nil || len(f.pending) >= window {
			source = nil
		}
		select {
		case <-ctx.Done():
			f.forget(next)
			return
		case input <- next:
			next = nil
		case m := <-f.producer.Successes():
			f.answer(m, nil)
		case e := <-f.producer.Errors():
			f.answer(e.Msg, e.Err)
		case l, open := <-source:
			if !open {
				return
			}
			next = f.take(l)
		}
		if f.stopErr != nil {
			f.forget(next)
			return
		}
	}
}

// forget drops a line that was read and never handed to the producer; it is
// the last one pending.
func (f *feeder) forget(next *sarama.ProducerMessage) {
	if next != nil {
		f.pending = f.pending[:len(f.pending)-1]
		f.lines--
	}
}

// await takes the answers to all that was sent. Once ctx has ended it gives up
// after the grace.
func (f *feeder) await(ctx context.Context) {
	done, ended := ctx.Done(), (<-chan time.Time)(nil)
	for len(f.pending) > 0 {
		select {
		case m := <-f.producer.Successes():
			f.answer(m, nil)
		case e := <-f.producer.Errors():
			f.answer(e.Msg, e.Err)
		case <-done:
			done, ended = nil, time.After(stopGrace)
		case <-ended:
			return
		}
	}
}

// take makes a record of a line; nil when it cannot be sent.
func (f *feeder) take(l line) *sarama.ProducerMessage {
	if l.err != nil {
		f.stopErr = fmt.Errorf("read the input: %w", l.err)
		return nil
	}
	f.lines++
	e := &entry{sent: Sent{Line: f.lines, Partition: -1, Offset: -1}}
	f.pending = append(f.pending, e)
	if l.size > len(l.text) {
		f.settle(e, fmt.Errorf("%d bytes are more than max_message_bytes (%d)", l.size, f.maxSize))
		return nil
	}
	key, value, err := split(l.text, f.opts)
	if err != nil {
		f.settle(e, err)
		f.stopErr = fmt.Errorf("line %d: %w", f.lines, err)
		return nil
	}
	m := &sarama.ProducerMessage{Topic: f.opts.Topic, Value: sarama.ByteEncoder(value), Metadata: e}
	if key != nil {
		m.Key = sarama.ByteEncoder(key)
	}
	if f.opts.Partition != nil {
		m.Partition = *f.opts.Partition
	}
	for _, h := range f.opts.Headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: []byte(h.Value)})
	}
	return m
}

// answer takes what the producer says about one message. A failure that
// would meet every further line too ends reading.
func (f *feeder) answer(m *sarama.ProducerMessage, err error) {
	e := m.Metadata.(*entry)
	if err == nil {
		e.sent.Partition = m.Partition
		if f.acked {
			e.sent.Offset = m.Offset
		}
		f.settle(e, nil)
		return
	}
	e.sent.Partition = m.Partition
	said := errors.New(admin.Words(err))
	f.settle(e, said)
	if !tooLarge(err) && f.stopErr == nil {
		f.stopErr = fmt.Errorf("line %d was not delivered: %w", e.sent.Line, said)
	}
}

func tooLarge(err error) bool {
	var conf sarama.ConfigurationError
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.As(err, &conf)
}

// settle marks an entry and reports all that is settled at the head of the
// queue, so that reports come in line order.
func (f *feeder) settle(e *entry, err error) {
	e.done, e.sent.Err = true, err
	if err != nil {
		f.failed++
		if f.firstErr == nil {
			f.firstErr = fmt.Errorf("line %d: %w", e.sent.Line, err)
		}
	}
	n := 0
	for n < len(f.pending) && f.pending[n].done {
		if err := f.report(f.pending[n].sent); err != nil && f.stopErr == nil {
			f.stopErr = fmt.Errorf("report line %d: %w", f.pending[n].sent.Line, err)
		}
		n++
	}
	f.pending = f.pending[n:]
}

// drain takes answers until the producer has closed both channels.
func (f *feeder) drain() {
	successes, failures := f.producer.Successes(), f.producer.Errors()
	for successes != nil || failures != nil {
		select {
		case m, open := <-successes:
			if !open {
				successes = nil
				continue
			}
			f.answer(m, nil)
		case e, open := <-failures:
			if !open {
				failures = nil
				continue
			}
			f.answer(e.Msg, e.Err)
		}
	}
}
