package kafka

import (
	"io"
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
	w    *batchWriter
	addr string // of the broker

	mu    sync.Mutex
	queue []*flight
	dead  error     // why the connection is of no use any more
	held  time.Time // until when the broker wants no requests
	wake  chan struct{}

	sending sync.Mutex     // held from taking flights to having written them, and while the link is made
	link    *link          // nil before it is made; set with sending and mu
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
		if s.link != nil && s.rest() <= 0 {
			_, _ = s.sendNext() // run sees how the connection ends
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

// fail notes that the connection is lost. Safe for use from several goroutines;
// it never blocks.
func (s *sender) fail(err error) {
	s.mu.Lock()
	if s.dead == nil {
		s.dead = err
	}
	s.mu.Unlock()
	s.signal()
}

// hold keeps requests back for d, as the broker has asked for.
func (s *sender) hold(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(d); until.After(s.held) {
		s.held = until
	}
}

// rest is for how much longer requests are kept back.
func (s *sender) rest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.held)
}

// run sends until the connection fails or the writer stops.
func (s *sender) run() {
	s.sending.Lock()
	if err := s.connect(); err != nil {
		s.fail(err)
	}
	s.sending.Unlock()
	for s.step() {
	}
	s.mu.Lock()
	link := s.link // for good, as s.dead is set
	s.mu.Unlock()
	if link != nil {
		link.hangUp() // whoever holds sending may be waiting for the broker
		s.sending.Lock()
		link.close()
		s.sending.Unlock()
	}
	s.w.forget(s)
	for _, f := range s.queue { // nobody adds to it any more
		f.lane.land(f, s.dead)
	}
}

// connect makes the link, in place of one that the broker has ended. s.sending is
// held.
func (s *sender) connect() error {
	if s.link != nil {
		s.link.close()
	}
	link, err := openLink(s.w, s.addr, s.fail, s.hold)
	if err != nil {
		return err
	}
	s.mu.Lock()
	dead := s.dead
	if dead == nil {
		s.link = link
	}
	s.mu.Unlock()
	if dead != nil {
		link.close()
	}
	return dead
}

// step sends what waits, or waits for something to send. false when nothing can
// be sent any more.
func (s *sender) step() bool {
	wait := s.rest()
	if wait <= 0 {
		s.sending.Lock()
		sent, dead := s.sendNext()
		s.sending.Unlock()
		if dead != nil {
			return false
		}
		if sent {
			return true
		}
	}
	var rested <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		rested = t.C
	}
	select {
	case <-s.wake:
	case <-rested:
	case <-s.w.stop:
		s.fail(errStopped)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead == nil
}

// sendNext sends one request if there is something to send. s.sending is held.
func (s *sender) sendNext() (sent bool, dead error) {
	fs, dead := s.next()
	if dead != nil || len(fs) == 0 {
		return false, dead
	}
	taken, err := s.send(fs)
	if err != nil {
		s.fail(err)
	}
	if !taken {
		landAll(fs, err)
	}
	return true, nil
}

// send is link.send, over a new link if the broker has ended the old one in a
// time without requests.
func (s *sender) send(fs []*flight) (taken bool, err error) {
	if !s.link.alive() {
		if s.w.acks == sarama.NoResponse { // it may have said so that another one leads
			return false, io.EOF
		}
		if err := s.connect(); err != nil {
			return false, err
		}
	}
	return s.link.send(fs)
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
		if taken := s.seen[f.place()]; taken || len(fs) > 0 && size+len(f.pack) > maxRequest {
			s.seen[f.place()] = true // nothing of a partition overtakes what is left of it
			rest = append(rest, f)
			continue
		}
		s.seen[f.place()] = true
		fs = append(fs, f)
		size += len(f.pack)
	}
	clear(s.queue[len(rest):])
	s.queue = rest
	return fs, nil
}

func landAll(fs []*flight, err error) {
	for _, f := range fs {
		f.lane.land(f, err)
	}
}

// batchWriter is what the batch lanes of a session share: the press, and a
// sender for each broker that leads one of their partitions.
type batchWriter struct {
	cluster   *cluster
	press     *press
	version   int16
	acks      sarama.RequiredAcks
	timeout   int32 // how long a broker waits for its replicas, in milliseconds
	window    int   // most flights of one partition in the air
	loginEnds bool  // a login may have to be renewed

	mu      sync.Mutex
	senders map[string]*sender // by address
	stop    chan struct{}      // closed by close
	wg      sync.WaitGroup     // senders and presses
}

func newBatchWriter(c *cluster) (*batchWriter, error) {
	sc := c.client.Config()
	p, err := newPress(sc.Producer.Compression, sc.Producer.CompressionLevel)
	if err != nil {
		return nil, err
	}
	w := &batchWriter{
		cluster: c, press: p, senders: make(map[string]*sender), stop: make(chan struct{}),
		version: plainRequest, acks: sc.Producer.RequiredAcks,
		timeout: int32(sc.Producer.Timeout / time.Millisecond), window: 1,
		loginEnds: sc.Net.SASL.Enable,
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
	s := w.senders[b.Addr()] // sarama makes new Brokers now and then
	if s == nil {
		s = &sender{w: w, addr: b.Addr(), wake: make(chan struct{}, 1), seen: make(map[place]bool)}
		w.senders[s.addr] = s
		w.wg.Go(func() { s.run() })
	}
	return s
}

func (w *batchWriter) forget(s *sender) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.senders, s.addr)
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
