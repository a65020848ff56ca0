package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

const (
	// sizeSlack is how much larger than our own limits sarama's is, so that a
	// flight never outgrows one of its batches.
	sizeSlack = 4096
	// cellChunk is how many messages are allocated together.
	cellChunk = 256
	// retryMax is how often sarama sends a batch again before it returns it.
	// It reserves 32 bytes a partition for each; with retry_backoff_max at 5s
	// they last for an hour and a half. Waiting for a leader uses up none.
	retryMax = 1000
)

// errMarker is returned for the message that ends a flight, errOutOfTurn for a
// record whose forerunner was refused: neither is ever sent.
var (
	errMarker    = errors.New("end of flight")
	errOutOfTurn = errors.New("a record before this one was not sent")
)

// asyncTransport is a transport on a sarama.AsyncProducer of its own.
//
// sarama cuts its batches where its timers happen to fire, and begins the next
// one while the last is under way; when a broker then refuses the last, the
// next one overtakes it. So here a flight is one sarama batch, exactly: all of
// sarama's own triggers are off, and a marker message ends the flight. The
// marker claims to be as long as a batch may be, so sarama closes the batch
// before it; then it refuses to be encoded, so it comes back as an error.
type asyncTransport struct {
	topic      string
	partition  int32
	producer   sarama.AsyncProducer
	markerSize int           // what the marker claims, in bytes
	stop       chan struct{} // closed by close; ends waiting inside the producer
	drained    sync.WaitGroup

	chunks  []*[cellChunk]cell
	marker  *cell
	open    bool          // a flight was begun and has no marker yet
	failed  bool          // a message of the flight came back as an error; read when settled
	turn    atomic.Int64  // index of the record that may be encoded next
	left    atomic.Int64  // messages of the flight that did not come back yet
	settled chan struct{} // gets a value when left reaches 0
}

// cell is one message with what it points to, so that a chunk of cells is one
// allocation and a record costs none.
type cell struct {
	msg  sarama.ProducerMessage
	body body
	key  keyBytes
	item *item
}

var cellPool = sync.Pool{New: func() any { return new([cellChunk]cell) }}

// laneConfig is what one partition's producer needs.
type laneConfig struct {
	topic     string
	partition int32
	create    *CreateTopics
	acked     bool        // each record is acknowledged, also with acks 0
	note      func(error) // told why there is no progress
	retried   func(error) // told before each attempt to send again; the error may be nil
}

// newAsyncTransport makes a producer for one partition. It fails while no
// broker can be reached.
func newAsyncTransport(c *cluster, lc laneConfig) (*asyncTransport, error) {
	t := &asyncTransport{topic: lc.topic, partition: lc.partition, stop: make(chan struct{}), settled: make(chan struct{}, 1)}
	client := &laneClient{
		Client: c.client, cluster: c, conf: t.config(c, lc), partitions: []int32{lc.partition},
		create: lc.create, stop: t.stop, note: lc.note,
	}
	p, err := sarama.NewAsyncProducerFromClient(client)
	for i := 0; i < settleTries && errors.Is(err, sarama.ErrNotConnected) && c.wait(settlePause, nil); i++ {
		p, err = sarama.NewAsyncProducerFromClient(client) // see cluster.settle
	}
	if err != nil {
		return nil, fmt.Errorf("start a producer: %w", err)
	}
	t.producer = p
	t.markerSize = client.conf.Producer.MaxMessageBytes - 64
	t.drained.Add(2)
	go t.drainSuccesses()
	go t.drainErrors()
	return t, nil
}

// config derives the producer's configuration from the client's. A flight's
// messages all fit into one channel, so no goroutine of sarama's ever waits
// for another partition's.
func (t *asyncTransport) config(c *cluster, lc laneConfig) *sarama.Config {
	sc := *c.client.Config()
	p := &sc.Producer
	p.Idempotent = c.cfg.idempotent()
	if lc.acked && p.RequiredAcks == sarama.NoResponse {
		p.RequiredAcks = sarama.WaitForAll
	}
	p.Partitioner = func(string) sarama.Partitioner { return only{} }
	p.MaxMessageBytes = max(c.cfg.MaxMessageBytes, c.cfg.BatchBytes) + sizeSlack
	p.Flush.Frequency, p.Flush.Bytes, p.Flush.Messages = 0, 0, math.MaxInt32
	p.Retry.Max = retryMax
	// These functions do the waiting themselves: sarama would sleep on after close.
	p.Retry.BackoffFunc = func(retries, _ int) time.Duration {
		if retries == 0 {
			return 0 // sarama gave the record back; the lane waits
		}
		lc.retried(causes.take(lc.topic, lc.partition))
		c.pause(retries-1, t.stop)
		return 0
	}
	p.Transaction.Retry.Max = 0
	p.Transaction.Retry.BackoffFunc = func(int, int) time.Duration { return 0 }
	return &sc
}

// only is the partitioner for a producer with one partition.
type only struct{}

func (only) Partition(*sarama.ProducerMessage, int32) (int32, error) { return 0, nil }
func (only) RequiresConsistency() bool                               { return true }

func (t *asyncTransport) send(ctx context.Context, flight []item) error {
	t.turn.Store(0)
	t.left.Store(int64(len(flight)) + 1)
	input := t.producer.Input()
	t.open = true
	for i := range flight {
		m := t.fill(i, &flight[i])
		select {
		case input <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case input <- t.mark():
		t.open = false
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-t.settled:
		t.release()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mark returns the message that ends a flight.
func (t *asyncTransport) mark() *sarama.ProducerMessage {
	if t.marker == nil {
		t.marker = new(cell)
	}
	t.marker.body = body{t: t, size: t.markerSize, turn: -1}
	t.marker.msg = sarama.ProducerMessage{Topic: t.topic, Value: &t.marker.body, Metadata: t.marker}
	return &t.marker.msg
}

// release gives back the chunks that a flight needed, but for the first. After
// a failure they are left to the garbage collector: where sarama finds no
// leader it looks at a message once more after giving it back.
func (t *asyncTransport) release() {
	if t.failed {
		t.failed, t.chunks, t.marker = false, nil, nil
		return
	}
	for _, c := range t.chunks[1:] {
		cellPool.Put(c)
	}
	t.chunks = t.chunks[:1]
}

// fill turns a record into the flight's message number i.
func (t *asyncTransport) fill(i int, it *item) *sarama.ProducerMessage {
	if i/cellChunk == len(t.chunks) {
		t.chunks = append(t.chunks, cellPool.Get().(*[cellChunk]cell))
	}
	c := &t.chunks[i/cellChunk][i%cellChunk]
	it.err = nil
	c.item = it
	c.body = body{t: t, bytes: it.rec.Value, size: len(it.rec.Value), turn: int64(i)}
	c.msg = sarama.ProducerMessage{Topic: t.topic, Value: &c.body, Metadata: c, Timestamp: it.parcel.batch.Time}
	if c.key = it.parcel.keyOf(it.rec); c.key != nil {
		c.msg.Key = &c.key
	}
	if x := it.rec.Extra; x != nil {
		if !x.Time.IsZero() {
			c.msg.Timestamp = x.Time
		}
		for _, h := range x.Headers {
			c.msg.Headers = append(c.msg.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		}
	}
	return &c.msg
}

func (t *asyncTransport) drainSuccesses() {
	defer t.drained.Done()
	for range t.producer.Successes() {
		t.count()
	}
}

func (t *asyncTransport) drainErrors() {
	defer t.drained.Done()
	for e := range t.producer.Errors() {
		if c := e.Msg.Metadata.(*cell); c.item != nil {
			c.item.err = e.Err
			t.failed = true
		}
		t.count()
	}
}

func (t *asyncTransport) count() {
	if t.left.Add(-1) == 0 {
		t.settled <- struct{}{}
	}
}

func (t *asyncTransport) close() {
	close(t.stop)
	if t.open { // without its marker, the flight would stay inside sarama for good
		t.marker = nil
		t.producer.Input() <- t.mark()
	}
	t.producer.AsyncClose()
	t.drained.Wait()
}

// body is the value of one message.
type body struct {
	t     *asyncTransport
	bytes []byte
	size  int
	turn  int64 // the record's place in its flight; -1 for the marker
}

// Length implements sarama.Encoder.
func (b *body) Length() int { return b.size }

// Encode implements sarama.Encoder. sarama calls it when it puts the record
// into a batch, from one goroutine after the other, so this is where order is
// enforced: a record goes in right behind its forerunner or not at all.
func (b *body) Encode() ([]byte, error) {
	if b.turn < 0 {
		return nil, errMarker
	}
	if !b.t.turn.CompareAndSwap(b.turn, b.turn+1) {
		return nil, errOutOfTurn
	}
	return b.bytes, nil
}

// keyBytes is the key of one message.
type keyBytes []byte

// Length implements sarama.Encoder.
func (k *keyBytes) Length() int { return len(*k) }

// Encode implements sarama.Encoder.
func (k *keyBytes) Encode() ([]byte, error) { return *k, nil }
