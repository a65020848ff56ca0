package kafka

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"logferry/internal/record"
)

// deadLetters is where records go that Kafka will never take: a file or a
// topic. Safe for use from several goroutines.
type deadLetters interface {
	// put returns nil once the letter is durable. After an error nothing is
	// certain, and the caller tries again.
	put(ctx context.Context, l letter) error
	// close waits for what put started. Nobody calls put any more.
	close()
}

// letter is a record with the reason why it was set aside.
type letter struct {
	cause string // bounded set: see poison
	err   error
	route Route
	part  int32

	source  *record.Source
	offset  int64
	key     []byte
	headers []record.Header
	value   []byte // valid until put returns
	time    time.Time
}

func newLetter(r Route, partition int32, it item, cause error) letter {
	l := letter{
		cause: poison(cause), err: cause, route: r, part: partition,
		source: it.parcel.batch.Source, offset: it.rec.Offset,
		key: it.parcel.keyOf(it.rec), value: it.rec.Value, time: it.parcel.batch.Time,
	}
	if x := it.rec.Extra; x != nil {
		l.headers = x.Headers
		if !x.Time.IsZero() {
			l.time = x.Time
		}
	}
	return l
}

// tooLarge is the error of a record of n bytes that is over the limit.
func tooLarge(n, limit int) error {
	return fmt.Errorf("%w: %d > %d bytes", errTooLarge, n, limit)
}

// The headers that a record carries into the dead-letter topic, besides its own.
const (
	headerCause     = "logferry.cause"
	headerError     = "logferry.error"
	headerTask      = "logferry.task"
	headerTopic     = "logferry.topic"
	headerPartition = "logferry.partition"
	headerHost      = "logferry.host"
	headerPath      = "logferry.path"
	headerFile      = "logferry.file"
	headerOffset    = "logferry.offset"
)

func (l letter) trace() []record.Header {
	h := func(k, v string) record.Header { return record.Header{Key: k, Value: []byte(v)} }
	return []record.Header{
		h(headerCause, l.cause), h(headerError, l.err.Error()),
		h(headerTask, l.route.Task), h(headerTopic, l.route.Topic), h(headerPartition, strconv.Itoa(int(l.part))),
		h(headerHost, l.source.Host), h(headerPath, l.source.Path), h(headerFile, l.source.File),
		h(headerOffset, strconv.FormatInt(l.offset, 10)),
	}
}
