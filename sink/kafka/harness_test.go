package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/internal/record"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
)

const (
	topic   = "web_log"
	patient = time.Minute // how long a test waits for what must happen
)

func TestMain(m *testing.M) {
	RouteLogs(quiet) // before kafkatest uses sarama
	kafkatest.Main(m)
}

// eachProducer runs a test against every writer that Config.Producer names.
func eachProducer(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Helper()
	for _, p := range Producers {
		t.Run(p, func(t *testing.T) { f(t, Config{Producer: p}) })
	}
}

// world is an in-process Kafka behind a gate.
type world struct {
	t       *testing.T
	fake    *kfake.Cluster
	gate    *gate
	brokers []string
	log     *slog.Logger // nil: quiet
}

func newWorld(t *testing.T, partitions int32, opts ...kfake.Opt) *world {
	t.Helper()
	g := &gate{conns: make(map[net.Conn]struct{})}
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(g.listen)}, opts...)
	if partitions > 0 {
		opts = append(opts, kfake.SeedTopics(partitions, topic))
	}
	fake, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	return &world{t: t, fake: fake, gate: g, brokers: fake.ListenAddrs()}
}

// config points cfg at the world, with short pauses.
func (w *world) config(cfg Config) Config {
	cfg.Brokers = w.brokers
	cfg.RetryBackoff = orElse(cfg.RetryBackoff, 5*time.Millisecond)
	cfg.RetryBackoffMax = orElse(cfg.RetryBackoffMax, 50*time.Millisecond)
	cfg.RequestTimeout = orElse(cfg.RequestTimeout, 5*time.Second)
	cfg.Linger = orElse(cfg.Linger, time.Millisecond)
	return cfg
}

// shipment is a running sink.
type shipment struct {
	t      *testing.T
	sink   *Sink
	in     chan *record.Batch
	cancel context.CancelFunc
	result chan error
	ended  chan struct{} // closed behind result
	dead   string        // file of dead letters
	m      *Metrics

	mu   sync.Mutex
	done map[*record.Batch]int
}

func (w *world) ship(cfg Config, route Route, tweak ...func(*Sink)) *shipment {
	w.t.Helper()
	s := &shipment{
		t: w.t, in: make(chan *record.Batch), result: make(chan error, 1), done: make(map[*record.Batch]int),
		dead: w.t.TempDir() + "/dead.jsonl", m: NewMetrics(nil),
	}
	route.Task = orElse(route.Task, "web")
	route.Topic = orElse(route.Topic, topic)
	if route.DeadLetter == (DeadLetter{}) {
		route.DeadLetter.File = s.dead
	}
	var err error
	s.sink, err = New(w.config(cfg), route, s.m, orElse(w.log, quiet))
	require.NoError(w.t, err)
	for _, f := range tweak {
		f(s.sink)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		s.result <- s.sink.Run(ctx, s.in)
	}()
	w.t.Cleanup(func() { s.cancel(); <-s.ended })
	return s
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// BatchDone implements record.Owner.
func (s *shipment) BatchDone(b *record.Batch, _ uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[b]++
}

func (s *shipment) doneCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.done {
		n += k
	}
	return n
}

func source(path string) *record.Source {
	return &record.Source{Task: "web", Host: "host-1", Path: path, File: "fd00-2a"}
}

// batchOf makes a batch of records, owned by s, read now: Kafka forgets, when it
// restarts, the producer of records that are a day old.
func (s *shipment) batchOf(src *record.Source, recs ...record.Record) *record.Batch {
	b := &record.Batch{Source: src, Records: recs, Time: time.Now()}
	b.SetOwner(s, 0)
	return b
}

// send hands over a batch, and waits until the sink takes it.
func (s *shipment) send(b *record.Batch) {
	s.t.Helper()
	select {
	case s.in <- b:
	case <-time.After(patient):
		require.FailNow(s.t, "the sink does not take a batch", "%v", s.sink.Err())
	}
}

// lines makes records "PATH number" with the numbers from..to-1.
func lines(path string, from, to int) []record.Record {
	var recs []record.Record
	for i := from; i < to; i++ {
		recs = append(recs, record.Record{Value: fmt.Appendf(nil, "%s %d", path, i), Offset: int64(i)})
	}
	return recs
}

// sendLines sends lines "PATH number" with the numbers from..to-1, in batches
// of size records, and returns how many batches.
func (s *shipment) sendLines(path string, from, to, size int) int {
	s.t.Helper()
	src, batches := source(path), 0
	for i := from; i < to; i += size {
		s.send(s.batchOf(src, lines(path, i, min(i+size, to))...))
		batches++
	}
	return batches
}

// finish closes the input and waits for Run to deliver the rest.
func (s *shipment) finish() {
	s.t.Helper()
	close(s.in)
	for running, done := true, -1; running; {
		select {
		case err := <-s.result:
			require.NoError(s.t, err)
			running = false
		case <-time.After(patient):
			now := s.doneCount()
			require.Greater(s.t, now, done, "the sink does not go on: %v", s.sink.Err())
			done = now
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for b, n := range s.done {
		require.Equal(s.t, 1, n, "batch at %d was done %d times", b.Start, n)
	}
}

// errMatches waits until Err says text.
func (s *shipment) errMatches(text string) {
	s.t.Helper()
	var last error
	require.Eventually(s.t, func() bool {
		last = s.sink.Err()
		return last != nil && strings.Contains(last.Error(), text)
	}, patient, time.Millisecond, "Err must say %q", text)
	require.NotContains(s.t, last.Error(), "\n")
}

// errClears waits until Err is nil.
func (s *shipment) errClears() {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.sink.Err() == nil }, patient, time.Millisecond)
}

// consume returns all records of a topic, partition by partition in order.
func (w *world) consume(name string) (recs []kafkaread.Record) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patient)
	defer cancel()
	require.NoError(w.t, kafkaread.Each(ctx, w.fake.ListenAddrs(), name, func(r kafkaread.Record) error {
		recs = append(recs, r)
		return nil
	}))
	return recs
}

// requireLines checks that a topic holds lines from..to-1 of path, each once
// and in order within one partition.
func (w *world) requireLines(recs []kafkaread.Record, path string, from, to int) {
	w.t.Helper()
	var got []string
	partition := int32(-1)
	for _, r := range recs {
		if strings.HasPrefix(string(r.Value), path+" ") {
			got = append(got, string(r.Value))
			if partition >= 0 {
				require.Equal(w.t, partition, r.Partition, "%s is in one partition", path)
			}
			partition = r.Partition
		}
	}
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprintf("%s %d", path, i))
	}
	require.Equal(w.t, len(want), len(got), "records of %s", path)
	for i := range want {
		require.Equal(w.t, want[i], got[i], "record %d of %s", i, path)
	}
}

// gate makes kfake's listeners, and can break the connections behind them.
type gate struct {
	mute   atomic.Bool // answers get lost, but for the next let
	let    atomic.Int64
	refuse atomic.Bool // new connections are closed at once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (g *gate) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	return &gateListener{Listener: l, g: g}, err
}

// mutedAfter lets n more answers through.
func (g *gate) mutedAfter(n int) {
	g.let.Store(int64(n))
	g.mute.Store(true)
}

// cut ends all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

type gateListener struct {
	net.Listener
	g *gate
}

func (l *gateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.g.refuse.Load() {
			_ = c.Close()
			continue
		}
		l.g.mu.Lock()
		l.g.conns[c] = struct{}{}
		l.g.mu.Unlock()
		return &gateConn{Conn: c, g: l.g}, nil
	}
}

type gateConn struct {
	net.Conn
	g *gate
}

func (c *gateConn) Write(b []byte) (int, error) {
	if c.g.mute.Load() && c.g.let.Add(-1) < 0 {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
