package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/agent"
	"logferry/agent/etcdsource"
	"logferry/sink/kafka"
	"logferry/test/etcdtest/localetcd"
)

const (
	partitions   = 3
	retention    = "67108864" // bytes of a partition that a Kafka which runs for long keeps in memory
	drainTime    = 10 * time.Second
	startTimeout = 30 * time.Second
)

// world is everything that runs, in one directory and on 127.0.0.1. open and
// close are called once each.
type world struct {
	dir    string // holds the logs below logs/, and the agent's state and log
	log    *slog.Logger
	etcd   *localetcd.Cluster
	kafka  *kfake.Cluster
	store  *etcdsource.Store
	agent  *agent.Agent
	closer []func() error // in the order of opening

	failed context.CancelCauseFunc // told when a part ends by itself
}

// part is one Run that goes on until it is stopped.
type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid when done is closed
	once   sync.Once
}

// newWorld makes the directory and the agent's log: a file in the directory,
// or verbose if that is not nil.
func newWorld(verbose io.Writer, keep bool, failed context.CancelCauseFunc) (*world, error) {
	dir, err := os.MkdirTemp("", "logferry-sandbox-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the sandbox: %w", err)
	}
	w := &world{dir: dir, failed: failed}
	if !keep {
		w.closer = append(w.closer, func() error { return os.RemoveAll(dir) })
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		w.dir = resolved // allow_paths is held against resolved paths
	}
	out := verbose
	if out == nil {
		file, err := os.Create(w.logFile())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the agent's log: %w", err), w.close())
		}
		w.closer = append(w.closer, file.Close)
		out = file
	}
	w.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return w, nil
}

func (w *world) logFile() string      { return filepath.Join(w.dir, "agent.log") }
func (w *world) logs() string         { return filepath.Join(w.dir, "logs") }
func (w *world) etcdEndpoint() string { return w.etcd.Endpoints()[0] }
func (w *world) broker() string       { return w.kafka.ListenAddrs()[0] }
func (w *world) agentURL() string     { return "http://" + w.agent.Addr().String() }

func (w *world) startEtcd(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	w.etcd, err = localetcd.Start(ctx, localetcd.Config{Dir: filepath.Join(w.dir, "etcd")})
	if err != nil {
		return err
	}
	w.closer = append(w.closer, w.etcd.Close)
	w.store, err = etcdsource.OpenStore(etcdsource.Config{Endpoints: w.etcd.Endpoints()}, w.log)
	if err != nil {
		return fmt.Errorf("open the tasks in etcd: %w", err)
	}
	w.closer = append(w.closer, w.store.Close)
	_, _, err = w.store.List(ctx) // connects, so that the first put shows what a put takes
	return err
}

// startKafka makes topics beforehand so that the first line does not wait for
// one. forget lets old records go.
func (w *world) startKafka(forget bool, topics ...string) (err error) {
	w.kafka, err = kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	w.closer = append(w.closer, func() error { w.kafka.Close(); return nil })
	configs := map[string]string{}
	if forget {
		configs["retention.bytes"] = retention
	}
	for _, t := range topics {
		if err := w.kafka.CreateTopic(t, partitions, configs); err != nil {
			return fmt.Errorf("create topic %s: %w", t, err)
		}
	}
	return nil
}

func (w *world) openAgent() (err error) {
	cfg := agent.Config{
		ID: "sandbox", StateDir: filepath.Join(w.dir, "state"), AllowPaths: []string{w.dir + "/**"},
		HTTP:            agent.HTTPConfig{Listen: "127.0.0.1:0"},
		Kafka:           kafka.Config{Brokers: w.kafka.ListenAddrs(), CreateTopics: &kafka.CreateTopics{Partitions: partitions, ReplicationFactor: 1}},
		Tasks:           agent.TasksConfig{Etcd: &agent.EtcdConfig{Endpoints: w.etcd.Endpoints()}},
		ShutdownTimeout: drainTime,
	}
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure the agent: %w", err)
	}
	if w.agent, err = agent.New(cfg, agent.Options{}, w.log); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	return nil
}

// start runs a part until it is stopped. ctx gives it values, but does not
// end it: the story stops its parts one after the other.
func (w *world) start(ctx context.Context, name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		if ctx.Err() != nil && errors.Is(p.err, context.Canceled) {
			p.err = nil
		}
		if ctx.Err() == nil {
			if p.err == nil {
				p.err = errors.New("it ended by itself")
			}
			p.err = fmt.Errorf("%s: %w", name, p.err)
			w.failed(p.err)
		}
	}()
	w.closer = append(w.closer, p.stop)
	return p
}

// stop ends a part and waits for it. The first call returns its error.
func (p *part) stop() (err error) {
	p.cancel()
	<-p.done
	p.once.Do(func() { err = p.err })
	return err
}

// ends are the offsets at which the partitions of a topic end now.
func (w *world) ends(topic string) map[topicPartition]int64 {
	out := map[topicPartition]int64{}
	for _, p := range w.kafka.PartitionInfos(topic) {
		out[topicPartition{topic, p.Partition}] = p.HighWatermark
	}
	return out
}

// complaints are the last warnings and errors in the agent's log.
func (w *world) complaints(most int) (lines []string) {
	file, err := os.Open(w.logFile())
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if text := scan.Text(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-most):]
}

// close ends all that runs, the newest first, and removes the directory.
func (w *world) close() error {
	var errs []error
	for i := len(w.closer) - 1; i >= 0; i-- {
		errs = append(errs, w.closer[i]())
	}
	w.closer = nil
	return errors.Join(errs...)
}
