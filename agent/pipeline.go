package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"logferry/agent/kubernetes"
	"logferry/agent/task"
	"logferry/collector"
	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
	"logferry/sink"
	"logferry/sink/kafka"
	"logferry/sink/stdout"
)

// queueBatches is the capacity of a task's channel. The byte budget is what
// bounds a task; the channel only has to be long enough that neither side
// waits for the other's turn.
const queueBatches = 64

// rooms is what the pipelines of an agent share.
type rooms struct {
	cfg       Config
	allow     task.AllowList
	store     *checkpoint.Store
	watcher   *watch.Watcher
	pool      *tail.Pool
	budget    *Budget
	deleted   *collector.Deleted
	collector *collector.Metrics
	kafka     *kafka.Metrics
	taps      *taps
	pods      *kubernetes.Pods
	reading   func(n int) // Options.Reading
	dryRun    io.Writer   // not nil: records go here instead of Kafka
	log       *slog.Logger
}

// metered tells Options.Reading what is asked of a.
func (r *rooms) metered(a *Account) tail.Budget {
	if r.reading == nil {
		return a
	}
	return meter{a, r.reading}
}

type meter struct {
	*Account
	reading func(n int)
}

// Acquire implements tail.Budget.
func (m meter) Acquire(ctx context.Context, n int) error {
	m.reading(n)
	return m.Account.Acquire(ctx, n)
}

// TryAcquire is Account.TryAcquire.
func (m meter) TryAcquire(n int) bool {
	m.reading(n)
	return m.Account.TryAcquire(n)
}

// pipeline is the life of one version of one task:
//
//	collector ──Batch──▶ queue ──▶ sink
//	    ▲                            │
//	    └──── Tracker ◀── Done ◀─────┘
//
// The collector's tailers read files and send batches into the queue; the sink
// delivers them and resolves each one; the resolved prefix moves the committed
// offset in the checkpoint store.
type pipeline struct {
	collect intake
	once    *collector.Once // collect, of a task that reads once; nil: it goes on for ever
	sink    sink.Sink
	queue   chan *record.Batch
	account *Account
	store   *checkpoint.Store
	drain   time.Duration // how long a stopping pipeline waits for acknowledgements
	log     *slog.Logger
}

// intake brings a task's records in: collector.Collector, collector.Once or collector.Pipes.
type intake interface {
	Run(ctx context.Context, out chan<- *record.Batch) error
	Close() // after Run; stores the last offsets
	Files() []collector.FileStatus
	Totals() collector.Totals
	Refused() map[string]string
	Explain(path string) collector.Explanation
	Abandoned() int64
	CollectsNothing() (path, why string, n int)
	NotCollected() (n int, example string)
}

// newPipeline translates a task into the stages' own configurations. remote
// says that the task came from etcd, whose authors reach only allow_paths.
func newPipeline(r *rooms, t task.Task, remote bool) (*pipeline, error) {
	log := r.log.With("task", t.Name)
	collect, err := collectorConfig(r, t, remote)
	if err != nil {
		return nil, err
	}
	out, err := newSink(r, t, log)
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		sink: out, queue: make(chan *record.Batch, queueBatches), account: r.budget.Open(),
		store: r.store, drain: r.cfg.ShutdownTimeout, log: log,
	}
	deps := collector.Deps{
		Store: r.store, Watcher: r.watcher, Pool: r.pool, Budget: r.metered(p.account), Deleted: r.deleted, Metrics: r.collector, Log: r.log,
		Tap: r.taps.of(t.Name).offer,
	}
	if t.Pipe {
		collect.Drain = p.drain / 2
		p.collect = collector.NewPipes(collect, deps)
		return p, nil
	}
	if t.Once {
		p.once = collector.NewOnce(collect, deps)
		p.collect = p.once
		return p, nil
	}
	p.collect = collector.New(collect, deps)
	return p, nil
}

func collectorConfig(r *rooms, t task.Task, remote bool) (collector.Config, error) {
	cfg := collector.Config{
		Task: t.Name, Host: r.cfg.ID, Paths: t.Paths, Exclude: t.Exclude,
		StartEnd: t.Start == task.StartEnd, IgnoreOlder: t.IgnoreOlder, CloseInactive: t.CloseInactive,
		RotateWait: t.RotateWait, Poll: t.Poll, PollInterval: t.PollInterval, Reconcile: r.cfg.ReconcileInterval,
		RecordOverhead: kafka.RecordOverhead,
	}
	if err := setFraming(&cfg, t); err != nil {
		return collector.Config{}, err
	}
	var err error
	if cfg.Envelope, err = newEnvelope(t, r.cfg.Labels, r.pods); err != nil {
		return collector.Config{}, fmt.Errorf("headers: %w", err)
	}
	if cfg.Envelope.AsksForPods() {
		r.pods.Need()
	}
	cfg.Links, cfg.Allow = r.cfg.links(), reach{r.allow, t.Paths, remote}.check
	return cfg, nil
}

func newSink(r *rooms, t task.Task, log *slog.Logger) (sink.Sink, error) {
	if r.dryRun != nil {
		return stdout.New(r.dryRun), nil
	}
	cluster, err := r.cluster(t)
	if err != nil {
		return nil, err
	}
	route := kafka.Route{
		Task: t.Name, Cluster: t.Cluster, Topic: t.FixedTopic(), Key: routeKey(t), Partitioner: string(t.Partitioner), Partition: t.Partition,
		Create: cluster.CreateTopics,
	}
	if t.CreateTopic != nil {
		route.Create = &kafka.CreateTopics{Partitions: t.CreateTopic.Partitions, ReplicationFactor: t.CreateTopic.ReplicationFactor}
	}
	switch {
	case t.DeadLetter != nil:
		d := t.DeadLetter
		route.DeadLetter = kafka.DeadLetter{Topic: d.Topic, File: d.File, MaxBytes: int(d.MaxBytes), MaxFiles: d.MaxFiles}
	case cluster.DeadLetter != nil:
		route.DeadLetter = *cluster.DeadLetter
	}
	if d := &route.DeadLetter; d.Topic == "" && d.File == "" {
		d.File = filepath.Join(r.cfg.DeadLetterDir(), t.Name+".jsonl")
	}
	route.Confine = confine(t, route.DeadLetter.Topic)
	return kafka.New(cluster, route, r.kafka, log)
}

func (r *rooms) cluster(t task.Task) (kafka.Config, error) {
	cluster, ok := r.cfg.Cluster(t.Cluster)
	if !ok {
		return kafka.Config{}, fmt.Errorf("cluster %q is not configured on this agent; add it under clusters in agent.yaml, or correct the task", t.Cluster)
	}
	return cluster, nil
}

// confine says which topics the records of a task may name; nil: none.
func confine(t task.Task, letters string) *kafka.Confine {
	if !t.HasTopicTemplate() {
		return nil
	}
	c := &kafka.Confine{Allowed: t.TopicsAllowed, Max: t.TopicLimit()}
	if letters != "" {
		c.Never = []string{letters}
	}
	return c
}

// topicOf is where a record of a task goes that asks for a topic, as far as
// that can be told without Kafka, and why if it is not that topic.
func topicOf(t task.Task, named []byte) (topic string, why kafka.Fallback) {
	letters := ""
	if t.DeadLetter != nil {
		letters = t.DeadLetter.Topic
	}
	if c := confine(t, letters); c != nil {
		if why = c.Check(named); why == kafka.NoFallback {
			return string(named), ""
		}
	}
	return t.FixedTopic(), why
}

// routeKey is the key that the sink gives to records; those of a template bring
// their own.
func routeKey(t task.Task) string {
	if t.Key.IsTemplate() {
		return ""
	}
	return string(t.Key)
}

// run ships until ctx ends, then stops in two phases: reading ends at once,
// and what was read is delivered, for at most the drain time. What is still
// unacknowledged then is read again by the next start.
func (p *pipeline) run(ctx context.Context) error {
	if p.once != nil {
		if done, err := p.once.Done(); done || err != nil {
			p.account.Close()
			return err // Kafka is not even asked for
		}
	}
	collectCtx, stopCollect := context.WithCancel(ctx)
	defer stopCollect()
	sinkCtx, stopSink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSink()

	sunk := make(chan error, 1)
	go func() {
		sunk <- p.sink.Run(sinkCtx, p.queue)
		stopCollect()
	}()
	collectErr := p.collect.Run(collectCtx, p.queue)
	close(p.queue)
	deadline := time.AfterFunc(p.drain, stopSink)
	sinkErr := <-sunk
	deadline.Stop()
	if sinkCtx.Err() != nil {
		p.log.Warn("not everything was acknowledged in time; it is read again at the next start", "waited", p.drain)
		sinkErr = nil
	}
	p.collect.Close()
	p.account.Close()
	syncErr := p.store.Sync()
	return errors.Join(collectErr, sinkErr, syncErr)
}
