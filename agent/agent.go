// Package agent runs the tasks of one host: it takes snapshots of tasks from
// their sources, keeps one pipeline for each, and shows what they do.
//
// pipeline.go is the map: the one place where collector, queue, sink and
// checkpoint meet.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"logferry/agent/etcdsource"
	"logferry/agent/filesource"
	"logferry/agent/kubernetes"
	"logferry/agent/task"
	"logferry/collector"
	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/sink/kafka"
)

// Names of the sources, as their Name methods return them.
const (
	sourceFlags = "flags"
	sourceFiles = "files"
	sourceEtcd  = "etcd"
)

// Options are what a command adds to the configuration.
type Options struct {
	Tasks  []task.Task // tasks given by flags; they run beside those of files and etcd
	DryRun io.Writer   // not nil: records are written here, and Kafka is never contacted
	// Reading is told of each read before it, with its size in bytes; it must not
	// block. nil: nobody is told.
	Reading func(n int)
	// Once makes Run return when every task has finished. All of them must read once.
	Once bool
	// Version of the program, for the registration in etcd.
	Version string
}

// Agent is one running agent. Run is called once; Reload and Addr may be
// called from any goroutine.
type Agent struct {
	cfg        Config
	once       bool
	log        *slog.Logger
	registry   *prometheus.Registry
	store      *checkpoint.Store
	watcher    *watch.Watcher // nil: files are polled
	supervisor *Supervisor
	sources    []task.Source
	files      *filesource.Source
	etcd       *etcdsource.Source
	registrar  *etcdsource.Registrar // nil: the agent does not register
	conductor  *etcdsource.Conductor // nil as well then
	trials     *trials
	identity   task.Identity // what selectors are held against
	self       etcdsource.Agent
	kafka      *kafka.Metrics
	taps       *taps
	pods       *kubernetes.Pods
	http       *server
	scratch    string // state_dir of a dry run, removed at the end
}

// New opens what the agent needs on its host: state_dir, the checkpoint
// store, an inotify instance and the HTTP listener. cfg must have its
// defaults and be valid. Kafka and etcd are not contacted before Run.
func New(cfg Config, opts Options, log *slog.Logger) (_ *Agent, err error) {
	a := &Agent{once: opts.Once, log: log, registry: prometheus.NewRegistry(), taps: newTaps()}
	if opts.DryRun != nil { // what was only shown must not count as delivered
		if a.scratch, err = os.MkdirTemp("", "logferry-dry-run-"); err != nil {
			return nil, fmt.Errorf("make state_dir of a dry run: %w", err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(a.scratch))
			}
		}()
		cfg.StateDir = a.scratch
	}
	a.cfg = cfg
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	allow, err := task.NewAllowList(cfg.AllowPaths)
	if err != nil {
		return nil, fmt.Errorf("allow_paths: %w", err)
	}
	if a.identity, err = cfg.Identity(); err != nil {
		return nil, err
	}
	for _, secret := range cfg.OpenSecrets() {
		log.Warn("every user of this host may read a secret; take that right away with chmod o-rw", "secret", secret)
	}
	if err := a.openSources(opts, allow); err != nil {
		return nil, err
	}
	if a.store, err = checkpoint.Open(cfg.StateDir, cfg.CheckpointInterval, checkpoint.NewMetrics(a.registry), log); err != nil {
		return nil, err
	}
	if a.watcher, err = watch.New(log); err != nil {
		log.Warn("inotify cannot be used, files are polled", "error", err)
		a.watcher = nil
	}
	a.buildSupervisor(opts, allow)
	if a.http, err = newServer(a); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	if err := a.openRegistrar(opts); err != nil {
		return nil, errors.Join(err, a.http.ln.Close(), a.store.Close())
	}
	return a, nil
}

func (a *Agent) openSources(opts Options, allow task.AllowList) error {
	if len(opts.Tasks) > 0 {
		src, err := filesource.NewStatic(opts.Tasks...)
		if err != nil {
			return err
		}
		a.sources = append(a.sources, src)
	}
	if len(a.cfg.Tasks.Files) > 0 {
		src, err := filesource.New(filesource.Config{Globs: a.cfg.Tasks.Files}, a.log)
		if err != nil {
			return err
		}
		a.files = src
		a.sources = append(a.sources, src)
	}
	if e := a.cfg.Tasks.Etcd; e != nil {
		cfg, err := e.Client()
		if err != nil {
			return err
		}
		cfg.CachePath, cfg.AllowPaths, cfg.Identity = filepath.Join(a.cfg.StateDir, "tasks.json"), allow, a.identity
		src, err := etcdsource.New(cfg, a.log)
		if err != nil {
			return err
		}
		a.etcd = src
		a.sources = append(a.sources, src)
	}
	if len(a.sources) == 0 {
		return errors.New("no tasks are configured; set tasks.files or tasks.etcd in agent.yaml, or give --path and --topic")
	}
	return nil
}

func (a *Agent) buildSupervisor(opts Options, allow task.AllowList) {
	r := &rooms{
		cfg: a.cfg, allow: allow, store: a.store, watcher: a.watcher, pool: tail.NewPool(),
		budget: NewBudget(int(a.cfg.Memory.BufferBytes)), log: a.log,
		reading:   opts.Reading,
		deleted:   collector.NewDeleted(int64(a.cfg.Deleted.MaxBytes), a.registry),
		collector: collector.NewMetrics(a.registry), kafka: kafka.NewMetrics(a.registry), taps: a.taps,
		pods: kubernetes.New(a.cfg.Kubernetes.pods(), a.registry, a.log),
	}
	a.kafka, a.pods = r.kafka, r.pods
	if opts.DryRun != nil {
		r.dryRun = &lockedWriter{w: opts.DryRun}
	}
	var order []string
	for _, src := range a.sources {
		order = append(order, src.Name())
	}
	a.supervisor = NewSupervisor(a.identity, order,
		func(t task.Task, remote bool) (*pipeline, error) { return newPipeline(r, t, remote) },
		func(name string) { r.collector.Forget(name); r.kafka.Forget(name); r.taps.forget(name) }, a.log)
	a.supervisor.aside, a.supervisor.places = r.kafka.DeadLetters, a.store
	if opts.DryRun == nil {
		a.supervisor.reach = r.reachCluster
	}
	a.registry.MustRegister(newStateMetrics(a.supervisor, func() (bool, bool) {
		if a.etcd == nil {
			return false, false
		}
		return a.etcd.Status().Connected, true
	}, a.registration, a.rollouts))
}

// lockedWriter lets the sinks of all tasks write to one place.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Addr is where HTTP is served.
func (a *Agent) Addr() net.Addr { return a.http.ln.Addr() }

// Reload reads the local task files again.
func (a *Agent) Reload() {
	if a.files != nil {
		a.files.Reload()
	}
}

// Run ships until ctx ends, or until all is read with Options.Once. Then every task stops reading at once and
// delivers what it has read, for at most shutdown_timeout; the last offsets
// are stored before Run returns. HTTP answers until the end.
func (a *Agent) Run(ctx context.Context) error {
	defer tuneMemory(a.cfg.Memory)()
	a.log.Info("agent started", "id", a.cfg.ID, "http", a.Addr().String(), "state_dir", a.cfg.StateDir, "pid", os.Getpid())
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	working, stopWork := context.WithCancel(ctx)
	defer stopBase()
	defer stopWork()

	var ground, work sync.WaitGroup // what must outlive the tasks, and the tasks with their sources
	errs := make(chan error, len(a.sources)+9)
	start := func(wg *sync.WaitGroup, ctx context.Context, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				errs <- err
				stopWork()
			}
		})
	}
	start(&ground, base, a.http.run)
	start(&ground, base, a.store.Run)
	start(&ground, base, (&retention{store: a.store, present: a.supervisor.present, log: a.log}).run)
	start(&ground, base, a.pods.Run)
	if a.watcher != nil {
		start(&ground, base, a.watcher.Run)
	}
	if a.registrar != nil {
		start(&ground, base, a.registrar.Run)
		start(&work, working, a.conductor.Run)
	}
	start(&work, working, a.supervisor.Run)
	for _, src := range a.sources {
		start(&work, working, func(ctx context.Context) error {
			return src.Run(ctx, func(snap task.Snapshot) { a.supervisor.Apply(src.Name(), snap) })
		})
	}
	if a.once {
		start(&work, working, func(ctx context.Context) error {
			err := a.supervisor.awaitFinished(ctx)
			if err == nil {
				stopWork()
			}
			return err
		})
	}
	<-working.Done()
	a.log.Info("agent is stopping, what was read is being delivered", "at_most", a.cfg.ShutdownTimeout)
	work.Wait()
	stopBase()
	ground.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	err := errors.Join(append(all, a.store.Close())...)
	if a.scratch != "" {
		err = errors.Join(err, os.RemoveAll(a.scratch))
	}
	a.log.Info("agent stopped")
	return err
}
