package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A stamped line says when it was appended; its number tells it from the
// others.
const stampedPrefix = "at="

func stamp(at time.Time, number int, text string) string {
	return fmt.Sprintf("%s%d n=%d %s\n", stampedPrefix, at.UnixNano(), number, text)
}

func parseStamp(line []byte) (at time.Time, number int, ok bool) {
	fields := strings.SplitN(string(line), " ", 3)
	if len(fields) < 2 {
		return at, 0, false
	}
	nanos, okAt := strings.CutPrefix(fields[0], stampedPrefix)
	n, okN := strings.CutPrefix(fields[1], "n=")
	ns, err1 := strconv.ParseInt(nanos, 10, 64)
	number, err2 := strconv.Atoi(n)
	return time.Unix(0, ns), number, okAt && okN && err1 == nil && err2 == nil
}

// arrivals reads a topic as it grows and notes for each stamped line how long
// it was on its way. It may be used from several goroutines.
type arrivals struct {
	consumer sarama.Consumer
	parts    []sarama.PartitionConsumer
	readers  sync.WaitGroup

	mu     sync.Mutex
	took   map[int]time.Duration // by number; the first arrival counts
	newest time.Time             // when the last one arrived
	more   chan struct{}         // replaced and closed at each arrival
}

// consumeNew reads what is added to a topic from now on, over connections of
// its own: a broker answers the requests of one connection in turn, and this
// one's wait for lines.
func consumeNew(brokers []string, topic string) (*arrivals, error) {
	consumer, err := sarama.NewConsumer(brokers, clientConfig())
	if err != nil {
		return nil, fmt.Errorf("consume topic %s: %w", topic, err)
	}
	a := &arrivals{consumer: consumer, took: map[int]time.Duration{}, more: make(chan struct{})}
	partitions, err := consumer.Partitions(topic)
	for _, p := range partitions {
		var pc sarama.PartitionConsumer
		if pc, err = consumer.ConsumePartition(topic, p, sarama.OffsetNewest); err != nil {
			break
		}
		a.parts = append(a.parts, pc)
		a.readers.Go(func() {
			for m := range pc.Messages() {
				a.note(m.Value, time.Now())
			}
		})
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("consume topic %s: %w", topic, err)
	}
	return a, nil
}

func (a *arrivals) note(line []byte, now time.Time) {
	at, n, ok := parseStamp(line)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.took[n]; known {
		return
	}
	a.took[n] = now.Sub(at)
	a.newest = now
	close(a.more)
	a.more = make(chan struct{})
}

// await returns whether all numbers from first on, below end, have arrived,
// and waits for it at most for patience.
func (a *arrivals) await(first, end int, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		a.mu.Lock()
		more, missing := a.more, 0
		for n := first; n < end; n++ {
			if _, ok := a.took[n]; !ok {
				missing++
			}
		}
		a.mu.Unlock()
		if missing == 0 {
			return true
		}
		select {
		case <-more:
		case <-timer.C:
			return false
		}
	}
}

// milliseconds returns how long the numbers [first, end) were on their way,
// as far as they arrived, and when the last arrival was.
func (a *arrivals) milliseconds(first, end int) (took []float64, newest time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n := first; n < end; n++ {
		if d, ok := a.took[n]; ok {
			took = append(took, float64(d)/float64(time.Millisecond))
		}
	}
	return took, a.newest
}

func (a *arrivals) close() {
	for _, p := range a.parts {
		_ = p.Close() // what it could not read shows as missing
	}
	a.readers.Wait()
	_ = a.consumer.Close()
}
