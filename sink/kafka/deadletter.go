package kafka

import (
	"context"
	"fmt"
	"time"

	"logferry/sink/kafka/deadletter"
)

// deadLetters is where records go that Kafka will never take: a file or a
// topic. Safe for use from several goroutines.
type deadLetters interface {
	// put returns nil once the letter is durable. After an error nothing is
	// certain, and the caller tries again. The letter's bytes are valid until
	// put returns.
	put(ctx context.Context, l deadletter.Letter) error
	// close waits for what put started. Nobody calls put any more.
	close()
}

func newLetter(r Route, topic string, partition int32, it item, cause error) deadletter.Letter {
	src := it.parcel.batch.Source
	l := deadletter.Letter{
		Time: time.Now(), Cause: poison(cause), Error: cause.Error(),
		Task: r.Task, Cluster: r.Cluster, Topic: topic, Partition: partition,
		Host: src.Host, Path: src.Path, File: src.File, Offset: it.rec.Offset,
		RecordTime: it.parcel.batch.Time, Key: it.parcel.keyOf(it.rec), Value: it.rec.Value,
	}
	if x := it.rec.Extra; x != nil {
		l.Headers = x.Headers
		if !x.Time.IsZero() {
			l.RecordTime = x.Time
		}
	}
	return l
}

// tooLarge is the error of a record of n bytes that is over the limit.
func tooLarge(n, limit int) error {
	return fmt.Errorf("%w: %d > %d bytes", errTooLarge, n, limit)
}
