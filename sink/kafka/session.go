package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"logferry/internal/record"
	"logferry/sink/kafka/deadletter"
)

// session is what exists while a sink runs: the connection to the cluster, and
// an outlet for each topic that records went to.
type session struct {
	cfg         Config
	route       Route
	m           *Metrics
	log         *slog.Logger
	cluster     *cluster
	letters     deadLetters
	batch       *batchWriter // nil with producer async
	flightBytes int

	refresh time.Duration // how old what is known of topics becomes

	retries prometheus.Counter

	trouble       atomic.Pointer[trouble] // before the topic's partitions are known
	awaited       atomic.Pointer[outlet]  // of the topic whose partitions dispatch could not learn; nil: main
	letterTrouble atomic.Pointer[trouble] // of the dead-letter topic
	warned        atomic.Int64            // when a dead letter was last logged, in Unix seconds

	tellMu sync.Mutex // guards told and toldAt
	told   string     // the reason that was logged last, and when
	toldAt time.Time

	mu      sync.Mutex
	outlets map[string]*outlet // by topic; changed by dispatch alone
	wg      sync.WaitGroup     // the lanes' goroutines

	connecting sync.WaitGroup // the goroutine that looks for the topic

	main *outlet // of the route's topic
	runs []run   // of the batch that is being dispatched; belongs to dispatch
}

func newSession(s *Sink) (*session, error) {
	c, err := openCluster(s.cfg, s.refresh, s.log)
	if err != nil {
		return nil, err
	}
	se := &session{
		cfg: s.cfg, route: s.route, m: s.m, log: s.log, cluster: c, refresh: s.refresh,
		flightBytes: min(s.cfg.BatchBytes, s.cfg.MaxMessageBytes),
		retries:     s.m.retries.WithLabelValues(s.route.Task),
	}
	se.main = newOutlet(se, s.route.Topic)
	se.outlets = map[string]*outlet{s.route.Topic: se.main}
	if s.cfg.Producer == "batch" {
		if se.batch, err = newBatchWriter(c); err != nil {
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

// connect makes one attempt to learn about the topic that is waited for. It
// fails for as long as dispatch would.
func (s *session) connect() error {
	o := s.awaited.Load()
	if o == nil {
		o = s.main
	}
	_, err := s.cluster.partitions(o.topic, s.route.Create)
	if err != nil && (o == s.main || !isAbsent(err) || o.mayComeBack()) {
		s.noteRefusal(err)
		now := followUp(s.trouble.Load(), s.cluster.explain(err, o.topic))
		if now.due() && !errors.Is(err, errAborted) {
			now.logged = true
			if s.tellsFirst(now.err) {
				o.log.Warn("records wait for Kafka", "error", now.err)
			}
		}
		s.trouble.Store(now)
		return err
	}
	if t := s.trouble.Swap(nil); t != nil && t.logged {
		o.log.Info("records flow to Kafka again", "after", time.Since(t.since).Round(time.Millisecond))
	}
	return nil
}

// dispatch hands the records of b to their lanes. It fails, having done
// nothing, when the partitions of a topic are not known.
func (s *session) dispatch(ctx context.Context, b *record.Batch) error {
	if len(b.Records) == 0 {
		b.Done()
		return nil
	}
	if s.route.Confine != nil {
		return s.dispatchByTopic(ctx, b)
	}
	n, err := s.main.partitions(ctx)
	if err != nil {
		return err
	}
	p, o := s.parcel(b), s.main
	o.whole = o.picker.batch(b, n, o.healthy)
	if !o.picker.each() {
		o.lane(ctx, o.whole).put(span{p, 0, int32(len(b.Records))})
		return nil
	}
	o.deal(p, 0, int32(len(b.Records)))
	o.flush(ctx)
	return nil
}

func (s *session) parcel(b *record.Batch) *parcel {
	p := &parcel{batch: b, key: s.key(b), came: time.Now()}
	p.left.Store(int64(len(b.Records)))
	return p
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

// runLane sends what a lane gets, with the writer that the configuration names.
func (s *session) runLane(ctx context.Context, l *lane) {
	if s.batch != nil {
		newBatchLane(l, s.batch).run(ctx)
		return
	}
	newAsyncLane(l).run(ctx)
}

// openTransport makes the transport of one partition.
func (s *session) openTransport(lc laneConfig) (transport, error) {
	t, err := newAsyncTransport(s.cluster, lc)
	if err != nil {
		// The look-up tells sarama's client which broker to leave alone.
		_ = s.cluster.client.RefreshMetadata(lc.topic)
		return nil, err
	}
	return t, nil
}

func (s *session) countError(err error) {
	s.m.errors.WithLabelValues(s.route.Task, errorName(err)).Inc()
}

// warnDeadLetter logs that a record for a topic was set aside, at most every ten
// seconds.
func (s *session) warnDeadLetter(o *outlet, it item, cause error) {
	now := time.Now().Unix()
	last := s.warned.Load()
	if now-last < 10 || !s.warned.CompareAndSwap(last, now) {
		return
	}
	o.log.Warn("record set aside as a dead letter; see the dead letters for all of them",
		"cause", poison(cause), "path", it.parcel.batch.Source.Path, "offset", it.rec.Offset, "error", oneLine(cause))
}

// drain waits until the lanes have delivered all that they got.
func (s *session) drain() {
	s.mu.Lock()
	for _, o := range s.outlets {
		for _, l := range o.lanes {
			l.finish()
		}
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
