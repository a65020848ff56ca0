package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"logferry/internal/record"
	"logferry/sink"
)

var _ sink.Sink = (*Sink)(nil)

// Sink delivers the batches of one task to one topic. It implements
// sink.Sink; its methods keep that interface's promises.
type Sink struct {
	cfg     Config
	route   Route
	m       *Metrics
	log     *slog.Logger  // names the task; each outlet adds its topic
	refresh time.Duration // how old metadata becomes

	running atomic.Pointer[session]
}

// New makes the sink of one task. What cfg and route leave out gets its
// default; m may be nil. Nothing is contacted before Run.
func New(cfg Config, route Route, m *Metrics, log *slog.Logger) (*Sink, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if route.Create == nil {
		route.Create = cfg.CreateTopics
	}
	if route.DeadLetter == (DeadLetter{}) && cfg.DeadLetter != nil {
		route.DeadLetter = *cfg.DeadLetter
	}
	route.Partitioner = orElse(route.Partitioner, "file")
	if err := route.validate(); err != nil {
		return nil, fmt.Errorf("task %q: %w", route.Task, err)
	}
	if m == nil {
		m = NewMetrics(nil)
	}
	cfg.access.logTo(log)
	return &Sink{cfg: cfg, route: route, m: m, log: log.With("task", route.Task), refresh: metadataAge}, nil
}

func (r Route) validate() error {
	if r.Topic == "" {
		return fmt.Errorf("topic: none is given; name one")
	}
	if !slices.Contains(Partitioners, r.Partitioner) {
		return oneOf("partitioner", r.Partitioner, Partitioners)
	}
	if !slices.Contains([]string{"", "host", "path"}, r.Key) {
		return oneOf("key", r.Key, []string{"host", "path"})
	}
	if r.Partition < 0 {
		return fmt.Errorf("partition: %d is negative; partitions count from 0", r.Partition)
	}
	if r.Create != nil {
		if err := r.Create.validate(); err != nil {
			return fmt.Errorf("create_topic.%w", err)
		}
	}
	if r.DeadLetter.Topic == "" && r.DeadLetter.File == "" {
		return fmt.Errorf("dead_letter: set one of topic and file")
	}
	if r.Confine != nil {
		if err := r.Confine.validate(); err != nil {
			return fmt.Errorf("topics_allowed: %w", err)
		}
	}
	if err := r.DeadLetter.validate(); err != nil {
		return fmt.Errorf("dead_letter: %w", err)
	}
	return nil
}

// Err implements sink.Sink.
func (s *Sink) Err() error {
	if se := s.running.Load(); se != nil {
		return se.err()
	}
	return nil
}

// Run implements sink.Sink.
func (s *Sink) Run(ctx context.Context, in <-chan *record.Batch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	se, err := newSession(s)
	if err != nil {
		return err
	}
	s.running.Store(se)
	// sarama knows no context: what blocks inside it ends with its connections.
	unwatch := context.AfterFunc(ctx, se.cluster.abort)
	defer func() {
		unwatch()
		cancel()
		se.end()
		s.running.Store(nil)
	}()

	if err := s.shuttle(ctx, se, in); err != nil {
		return err
	}
	se.drain()
	return ctx.Err()
}

// shuttle passes the batches of in to their lanes until in is closed. While the
// cluster or the topic cannot be reached, one batch is held and in not read on.
func (s *Sink) shuttle(ctx context.Context, se *session, in <-chan *record.Batch) error {
	var held *record.Batch
	open, ready := in, false
	connected := make(chan error, 1)
	connect := func() { se.connecting.Go(func() { connected <- se.connect() }) }
	connect()
	var retry <-chan time.Time
	for attempt := 0; ; {
		if ready && held != nil {
			if err := se.dispatch(ctx, held); err != nil {
				ready = false
				connect()
			} else {
				held, open = nil, in
			}
		}
		select {
		case b, ok := <-open:
			if !ok {
				return nil
			}
			held, open = b, nil
		case err := <-connected:
			if ready = err == nil; ready {
				attempt = 0
				continue
			}
			retry = time.After(backoff(s.cfg.RetryBackoff, s.cfg.RetryBackoffMax, attempt))
			attempt++
		case <-retry:
			connect()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
