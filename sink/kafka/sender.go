package kafka

import (
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	// maxRequest is how many bytes of pressed flights go into one request; a
	// larger flight goes by itself.
	maxRequest = 8 << 20
	// zstdRequest is the first version of the produce request that may hold
	// zstd; plainRequest is the first one with record batches.
	zstdRequest, plainRequest = 7, 3
)

// sender writes the flights for one broker, over one connection: all that wait
// go into one request, at most one a partition. It lives until its connection
// fails, and ends with everything that it was given landed.
type sender struct {
	w      *batchWriter
	broker *sarama.Broker

	mu    sync.Mutex
	queue []*flight
	dead  error // why the connection is of no use any more
	wake  chan struct{}

	sending sync.Mutex     // held from taking flights to having written them
	seen    map[place]bool // those that the next request is past; guarded by sending
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (f *flight) place() place { return place{f.lane.out.topic, f.lane.to} }

// add takes a flight, which goes out with flush. Safe for use from several
// goroutines.
func (s *sender) add(f *flight) {
	s.mu.Lock()
	dead := s.dead
	if dead == nil {
		s.queue = append(s.queue, f)
	}
	s.mu.Unlock()
	if dead != nil {
		f.lane.land(f, dead)
	}
}

// flush sees to it that what was added goes out: in one request from here when
// nobody is sending, as waking another goroutine costs more than a small
// request; what is left, and what waits for others, from run. Safe for use from
// several goroutines; it blocks for as long as the broker takes no request.
func (s *sender) flush() {
	if s.sending.TryLock() {
		if fs, dead := s.next(); dead == nil && len(fs) > 0 {
			s.send(fs)
		}
		s.sending.Unlock()
	}
	s.mu.Lock()
	rest := len(s.queue) > 0
	s.mu.Unlock()
	if rest {
		s.signal()
	}
}

func (s *sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fail notes that the connection is lost. Callbacks use it: they must call no
// method of the broker.
func (s *sender) fail(err error) {
	s.mu.Lock()
	if s.dead == nil {
		s.dead = err
	}
	s.mu.Unlock()
	s.signal()
}

// run sends until the connection fails or the writer stops.
func (s *sender) run() {
	for {
		s.sending.Lock()
		fs, dead := s.next()
		if dead == nil && len(fs) > 0 {
			s.send(fs)
		}
		s.sending.Unlock()
		if dead != nil {
			break
		}
		if len(fs) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-s.w.stop:
			s.fail(errStopped)
		}
	}
	_ = s.broker.Close() // lands what was sent
	s.w.forget(s)
	for _, f := range s.queue { // nobody adds to it any more
		f.lane.land(f, s.dead)
	}
}

// next takes the flights of the next request from the queue: the first one of
// each partition, as long as there is room.
func (s *sender) next() ([]*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil || len(s.queue) == 0 {
		return nil, s.dead
	}
	var fs []*flight
	clear(s.seen)
	rest := s.queue[:0]
	size := 0
	for _, f := range s.queue {
		if taken := s.seen[f.place()]; taken || len(fs) > 0 && size+f.size > maxRequest {
			s.seen[f.place()] = true // nothing of a partition overtakes what is left of it
			rest = append(rest, f)
			continue
		}
		s.seen[f.place()] = true
		fs = append(fs, f)
		size += f.size
	}
	clear(s.queue[len(rest):])
	s.queue = rest
	return fs, nil
}

// send writes one request.
func (s *sender) send(fs []*flight) {
	w := s.w
	req := &sarama.ProduceRequest{Version: w.version, RequiredAcks: w.acks, Timeout: w.timeout}
	for _, f := range fs {
		req.AddBatch(f.lane.out.topic, f.lane.to, f.batch)
	}
	err := s.broker.AsyncProduce(req, func(res *sarama.ProduceResponse, err error) { s.answered(fs, res, err) })
	switch {
	case err != nil: // there will be no callback
		s.fail(err)
		landAll(fs, err)
	case w.acks == sarama.NoResponse:
		landAll(fs, nil)
	}
}

// answered lands the flights of one request. It runs inside the broker.
func (s *sender) answered(fs []*flight, res *sarama.ProduceResponse, err error) {
	if err != nil {
		s.fail(err)
		landAll(fs, err)
		return
	}
	for _, f := range fs {
		f.lane.land(f, outcome(res.GetBlock(f.lane.out.topic, f.lane.to)))
	}
}

// outcome is what a broker's answer means for one flight.
func outcome(b *sarama.ProduceResponseBlock) error {
	switch {
	case b == nil:
		return sarama.ErrIncompleteResponse
	case b.Err == sarama.ErrNoError, b.Err == sarama.ErrDuplicateSequenceNumber: // it has the flight already
		return nil
	}
	return b.Err
}

func landAll(fs []*flight, err error) {
	for _, f := range fs {
		f.lane.land(f, err)
	}
}

// batchWriter is what the batch lanes of a session share: the press, and a
// sender for each broker that leads one of their partitions.
type batchWriter struct {
	cluster *cluster
	press   *press
	version int16
	acks    sarama.RequiredAcks
	timeout int32 // how long a broker waits for its replicas, in milliseconds
	window  int   // most flights of one partition in the air

	mu      sync.Mutex
	senders map[*sarama.Broker]*sender
	stop    chan struct{}  // closed by close
	wg      sync.WaitGroup // senders and presses
}

func newBatchWriter(c *cluster) (*batchWriter, error) {
	sc := c.client.Config()
	p, err := newPress(sc.Producer.Compression, sc.Producer.CompressionLevel)
	if err != nil {
		return nil, err
	}
	w := &batchWriter{
		cluster: c, press: p, senders: make(map[*sarama.Broker]*sender), stop: make(chan struct{}),
		version: plainRequest, acks: sc.Producer.RequiredAcks,
		timeout: int32(sc.Producer.Timeout / time.Millisecond), window: 1,
	}
	if sc.Version.IsAtLeast(sarama.V2_1_0_0) {
		w.version = zstdRequest
	}
	if c.cfg.idempotent() {
		w.window = maxWindow
	}
	return w, nil
}

// sender returns the sender for a broker.
func (w *batchWriter) sender(b *sarama.Broker) *sender {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.senders[b]
	if s == nil {
		s = &sender{w: w, broker: b, wake: make(chan struct{}, 1), seen: make(map[place]bool)}
		w.senders[b] = s
		w.wg.Go(func() { s.run() })
	}
	return s
}

func (w *batchWriter) forget(s *sender) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.senders, s.broker)
}

// close ends the senders. The lanes have ended, and the cluster
// is aborted, so nothing here waits for a broker.
func (w *batchWriter) close() {
	close(w.stop)
	w.wg.Wait()
}

// identify fetches a new producer id.
func (w *batchWriter) identify() (identity, error) {
	res, err := w.cluster.client.InitProducerID()
	if err != nil {
		return anonymous, err
	}
	if res.Err != sarama.ErrNoError {
		return anonymous, res.Err
	}
	return identity{id: res.ProducerID, epoch: res.ProducerEpoch}, nil
}
