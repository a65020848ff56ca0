package kafka

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"logferry/internal/record"
	"logferry/sink/kafka/deadletter"
)

// session is what exists while a sink runs: the connection to the cluster, and
// a lane for each partition that records went to.
type session struct {
	cfg         Config
	route       Route
	m           *Metrics
	log         *slog.Logger
	cluster     *cluster
	letters     deadLetters
	batch       *batchWriter // nil with producer async
	flightBytes int

	ackedRecords, ackedBytes, retries prometheus.Counter

	trouble       atomic.Pointer[trouble] // before the topic's partitions are known
	letterTrouble atomic.Pointer[trouble] // of the dead-letter topic
	warned        atomic.Int64            // when a dead letter was last logged, in Unix seconds

	mu    sync.Mutex
	lanes map[int32]*lane
	wg    sync.WaitGroup // the lanes' goroutines

	connecting sync.WaitGroup // the goroutine that looks for the topic

	// The rest belongs to route.
	picker *picker
	spans  map[int32][]span
	width  int32 // how many partitions the last batch was dealt out to
}

func newSession(s *Sink) (*session, error) {
	c, err := openCluster(s.cfg, s.refresh, s.log)
	if err != nil {
		return nil, err
	}
	task, topic := s.route.Task, s.route.Topic
	se := &session{
		cfg: s.cfg, route: s.route, m: s.m, log: s.log, cluster: c,
		flightBytes:  min(s.cfg.BatchBytes, s.cfg.MaxMessageBytes),
		ackedRecords: s.m.ackedRecords.WithLabelValues(task, topic),
		ackedBytes:   s.m.ackedBytes.WithLabelValues(task, topic),
		retries:      s.m.retries.WithLabelValues(task),
		lanes:        make(map[int32]*lane),
		picker:       newPicker(s.route.Partitioner, s.route.Partition),
		spans:        make(map[int32][]span),
	}
	if s.cfg.Producer == "batch" {
		if se.batch, err = newBatchWriter(c, topic); err != nil {
			c.close()
			return nil, err
		}
	}
	if d := s.route.DeadLetter; d.File != "" {
		se.letters = &letterFile{s: se, file: deadletter.File{Path: d.File, MaxBytes: int64(d.MaxBytes), MaxFiles: d.MaxFiles}}
	} else {
		se.letters = newLetterTopic(se, s.route.DeadLetter.Topic)
	}
	return se, nil
}

// connect makes one attempt to learn about the topic.
func (s *session) connect() error {
	_, err := s.cluster.partitions(s.route.Topic, s.route.Create)
	if err != nil {
		s.trouble.Store(&trouble{err: s.cluster.explain(err, s.route.Topic)})
		return err
	}
	s.trouble.Store(nil)
	return nil
}

// dispatch hands the records of b to their lanes. It fails, having done
// nothing, when the topic's partitions are not known.
func (s *session) dispatch(ctx context.Context, b *record.Batch) error {
	if len(b.Records) == 0 {
		b.Done()
		return nil
	}
	n, err := s.cluster.partitions(s.route.Topic, s.route.Create)
	if err != nil {
		return err
	}
	if err := s.narrow(ctx, n); err != nil {
		return err
	}
	p := &parcel{batch: b, key: s.key(b), came: time.Now()}
	p.left.Store(int64(len(b.Records)))
	whole := s.picker.batch(b, n, s.healthy)
	if !s.picker.each() {
		s.lane(ctx, whole).put(span{p, 0, int32(len(b.Records))})
		return nil
	}
	s.split(ctx, p, n, whole)
	return nil
}

// narrow waits, when the topic was made anew with fewer partitions, for the
// lanes of those that are gone. What they still have goes to partitions that
// are left, and must be there before what follows it in its file.
func (s *session) narrow(ctx context.Context, n int32) error {
	for p := n; p < s.width; p++ {
		s.mu.Lock()
		l := s.lanes[p]
		s.mu.Unlock()
		if l == nil {
			continue
		}
		if err := l.idle(ctx); err != nil {
			return err
		}
	}
	s.width = n
	return nil
}

// split deals out a batch whose records have partitions of their own.
func (s *session) split(ctx context.Context, p *parcel, n, sticky int32) {
	for i := range p.batch.Records {
		at := s.picker.record(p.keyOf(&p.batch.Records[i]), n, sticky, s.healthy)
		spans := s.spans[at]
		if k := len(spans); k > 0 && spans[k-1].to == int32(i) {
			spans[k-1].to++
			continue
		}
		s.spans[at] = append(spans, span{p, int32(i), int32(i) + 1})
	}
	for at, spans := range s.spans {
		if len(spans) > 0 {
			s.lane(ctx, at).put(spans...)
			clear(spans)
			s.spans[at] = spans[:0]
		}
	}
}

// key is the key of b's records that have none of their own.
func (s *session) key(b *record.Batch) []byte {
	switch s.route.Key {
	case "host":
		return []byte(b.Source.Host)
	case "path":
		return []byte(b.Source.Path)
	}
	return nil
}

// lane returns the lane of a partition, and starts it if need be.
func (s *session) lane(ctx context.Context, partition int32) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[partition]
	if l == nil {
		l = newLane(s, partition)
		s.lanes[partition] = l
		s.wg.Go(func() { s.runLane(ctx, l) })
	}
	return l
}

// runLane sends what a lane gets, with the writer that the configuration names.
func (s *session) runLane(ctx context.Context, l *lane) {
	if s.batch != nil {
		newBatchLane(l, s.batch).run(ctx)
		return
	}
	newAsyncLane(l).run(ctx)
}

func (s *session) healthy(partition int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[partition]
	return l == nil || l.healthy()
}

// openTransport makes the transport of one partition.
func (s *session) openTransport(topic string, partition int32, create *CreateTopics, note, retried func(error)) (transport, error) {
	t, err := newAsyncTransport(s.cluster, laneConfig{topic: topic, partition: partition, create: create, note: note, retried: retried})
	if err != nil {
		// The look-up tells sarama's client which broker to leave alone.
		_ = s.cluster.client.RefreshMetadata(topic)
		return nil, err
	}
	return t, nil
}

func (s *session) countError(err error) {
	s.m.errors.WithLabelValues(s.route.Task, errorName(err)).Inc()
}

// warnDeadLetter logs that a record was set aside, at most every ten seconds.
func (s *session) warnDeadLetter(it item, cause error) {
	now := time.Now().Unix()
	last := s.warned.Load()
	if now-last < 10 || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("record set aside as a dead letter; see the dead letters for all of them",
		"cause", poison(cause), "path", it.parcel.batch.Source.Path, "offset", it.rec.Offset, "error", oneLine(cause))
}

// drain waits until the lanes have delivered all that they got.
func (s *session) drain() {
	s.mu.Lock()
	for _, l := range s.lanes {
		l.finish()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// end gives up what is left and waits for every goroutine. The context of the
// lanes has ended, or they are drained.
func (s *session) end() {
	s.cluster.abort()
	s.connecting.Wait()
	s.wg.Wait()
	s.letters.close()
	if s.batch != nil {
		s.batch.close()
	}
	s.cluster.close()
}
