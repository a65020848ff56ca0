package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"logferry/bench/gen"
	"logferry/test/etcdtest/localetcd"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/kafkatest/localkafka"
	"logferry/test/verify"
)

const (
	startTimeout = time.Minute
	writeEvery   = 20 * time.Millisecond
	linesAtOnce  = 10
)

// world is all that runs beside the agents, in one directory and on 127.0.0.1.
type world struct {
	dir     string
	etcd    *localetcd.Cluster
	client  *clientv3.Client
	brokers []string
	kafka   string // what it is, for people
	hosts   []*host
	log     *log
	topics  []string // that lines may be in
	closers []func() error
}

func (w *world) open(ctx context.Context, opts options) (err error) {
	if w.dir, err = os.MkdirTemp("", "logferry-fleetcheck-"); err != nil {
		return err
	}
	w.closers = append(w.closers, func() error { return os.RemoveAll(w.dir) })
	if w.dir, err = filepath.EvalSymlinks(w.dir); err != nil { // allow_paths is held against resolved paths
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if w.etcd, err = localetcd.Start(ctx, localetcd.Config{Dir: filepath.Join(w.dir, "etcd"), Members: 3}); err != nil {
		return err
	}
	w.closers = append(w.closers, w.etcd.Close)
	if w.client, err = clientv3.New(clientv3.Config{Endpoints: w.etcd.Endpoints(), DialTimeout: startTimeout, Logger: zap.NewNop()}); err != nil {
		return fmt.Errorf("connect to etcd: %w", err)
	}
	w.closers = append(w.closers, w.client.Close)
	if err = w.openKafka(ctx, opts.quick); err != nil {
		return err
	}
	if w.log, err = startLog(filepath.Join(w.dir, "logs", "shop.log")); err != nil {
		return err
	}
	w.closers = append(w.closers, w.log.stop)
	return nil
}

// openKafka starts real Kafka where there is Java.
func (w *world) openKafka(ctx context.Context, quick bool) error {
	if !quick {
		real, err := localkafka.Start(ctx, localkafka.Config{})
		if err == nil {
			w.brokers, w.kafka = real.Brokers(), "Apache Kafka "+localkafka.Version
			w.closers = append(w.closers, real.Close)
			return nil
		}
		if !errors.Is(err, localkafka.ErrUnavailable) || localkafka.Required() {
			return err
		}
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	w.brokers, w.kafka = fake.ListenAddrs(), "an in-process Kafka"
	w.closers = append(w.closers, func() error { fake.Close(); return nil })
	return nil
}

// close ends all that runs, the newest first.
func (w *world) close() error {
	var errs []error
	for _, h := range w.hosts {
		h.kill()
	}
	for _, c := range slices.Backward(w.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// put writes a task as etcdctl does, without a check.
func (w *world) put(ctx context.Context, name, text string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	resp, err := w.client.Put(ctx, "/logferry/tasks/"+name, text)
	if err != nil {
		return 0, fmt.Errorf("put task %s: %w", name, err)
	}
	return resp.Header.Revision, nil
}

// compact lets etcd forget all history.
func (w *world) compact(ctx context.Context) error {
	resp, err := w.client.Get(ctx, "any")
	if err == nil {
		_, err = w.client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	return nil
}

// delivered counts what arrived, and checks that each of the agents delivered
// each of the lines from the first to the last once.
func (w *world) delivered(ctx context.Context, lines uint64, agents ...string) (int, error) {
	checkers, records := map[string]*verify.Checker{}, 0
	for _, id := range agents {
		checkers[id] = verify.New()
		checkers[id].Expect(1, 0, lines)
	}
	for i, topic := range w.topics {
		err := kafkaread.Each(ctx, w.brokers, topic, func(r kafkaread.Record) error {
			c := checkers[string(r.Key)]
			if c == nil {
				return fmt.Errorf("a record of %q is in topic %s", r.Key, topic)
			}
			records++
			c.Add(int32(i)*100+r.Partition, r.Offset, r.Value)
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("read topic %s: %w", topic, err)
		}
	}
	var errs []error
	for id, c := range checkers {
		if err := c.Report().Err(0); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
		}
	}
	return records, errors.Join(errs...)
}

// log is a program that writes lines until it is stopped.
type log struct {
	path string
	quit chan struct{}
	done chan struct{}
	once sync.Once

	next uint64 // number of the next line; valid when done is closed
	err  error
}

func startLog(path string) (*log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	l := &log{path: path, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		lines, tick := gen.New(1, 1), time.NewTicker(writeEvery)
		defer tick.Stop()
		for l.err == nil {
			select {
			case <-l.quit:
				l.err = file.Close()
				return
			case <-tick.C:
				_, l.err = lines.Write(file, l.next, linesAtOnce)
				l.next += linesAtOnce
			}
		}
	}()
	return l, nil
}

// stop ends the writing; then next says how many lines there are.
func (l *log) stop() error {
	l.once.Do(func() { close(l.quit) })
	<-l.done
	return l.err
}

func quoted(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }
