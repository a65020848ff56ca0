package collector

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
)

// patience bounds every wait; a test that passes never waits for it.
const patience = time.Minute

// inBothModes runs a scenario with inotify and with polling alone.
func inBothModes(t *testing.T, scenario func(t *testing.T, w *world)) {
	for _, mode := range []struct {
		name string
		poll bool
	}{{"watch", false}, {"poll", true}} {
		t.Run(mode.name, func(t *testing.T) { scenario(t, newWorld(t, mode.poll)) })
	}
}

// world is what outlives an agent: the log directory and the state directory.
type world struct {
	t       *testing.T
	dir     string
	state   string
	cfg     Config
	bytes   int              // the budget
	deleted int64            // what deleted files may hold; 0: anything
	fs      tail.FS          // nil: the kernel
	now     func() time.Time // nil: the clock
	log     journal
}

func newWorld(t *testing.T, poll bool) *world {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return &world{
		t: t, dir: dir, state: t.TempDir(), bytes: 4 << 20,
		cfg: Config{
			Task: "web", Host: "host", Paths: []string{filepath.Join(dir, "*.log")},
			CloseInactive: time.Hour, RotateWait: 100 * time.Millisecond,
			Poll: poll, PollInterval: 10 * time.Millisecond, Reconcile: time.Hour,
			MaxLineBytes: 1 << 20, RecordOverhead: 64,
		},
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(w.t, err)
	defer f.Close()
	_, err = f.WriteString(text)
	require.NoError(w.t, err)
}

// lines are numbered so that a loss, a double or a wrong order shows.
func lines(name string, from, to int) (text string, list []string) {
	var b strings.Builder
	for i := from; i < to; i++ {
		line := fmt.Sprintf("%s %06d", name, i)
		list = append(list, line)
		b.WriteString(line + "\n")
	}
	return b.String(), list
}

func (w *world) rename(from, to string) {
	w.t.Helper()
	require.NoError(w.t, os.Rename(w.path(from), w.path(to)))
}

// rotateCreate renames a file away and creates an empty one in its place, as
// logrotate's create does.
func (w *world) rotateCreate(name, to string) {
	w.t.Helper()
	w.rename(name, to)
	w.write(name, "")
}

// rotateCopyTruncate copies a file and cuts it to nothing.
func (w *world) rotateCopyTruncate(name, to string) {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name))
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(w.path(to), data, 0o600))
	require.NoError(w.t, os.Truncate(w.path(name), 0))
}

func (w *world) remove(name string) {
	w.t.Helper()
	require.NoError(w.t, os.Remove(w.path(name)))
}

// keepWriting appends to a file, through a descriptor that follows it when it
// is renamed, so often that its reader finds something at each look; rest
// ends it.
func (w *world) keepWriting(name string) (rest func()) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(w.t, err)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer f.Close()
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = f.WriteString("busy\n")
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		writer.Wait()
	})
	w.t.Cleanup(end)
	return end
}

// ackMode says when a fake sink resolves its batches.
type ackMode int

const (
	ackAtOnce   ackMode = iota
	ackShuffled         // in random order, up to eight at a time
	ackNever            // kept until release
)

// sink stands for Kafka: it receives, records and resolves.
type sink struct {
	changed chan struct{}

	mu    sync.Mutex
	mode  ackMode
	held  []*record.Batch
	got   map[string][]string // by path
	all   []string
	bad   string
	ended chan struct{}
}

func newSink(mode ackMode) *sink {
	return &sink{mode: mode, got: map[string][]string{}, changed: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (s *sink) run(in <-chan *record.Batch, gate <-chan struct{}) {
	defer close(s.ended)
	if gate != nil {
		<-gate
	}
	next := map[string]int64{}
	for b := range in {
		s.mu.Lock()
		key := b.Source.Path + " " + b.Source.File
		if end, ok := next[key]; ok && b.Start != end && b.Start != 0 {
			s.bad = fmt.Sprintf("%s: a batch starts at %d, the one before ended at %d", key, b.Start, end)
		}
		next[key] = b.End
		for _, r := range b.Records {
			line := string(r.Value)
			s.got[b.Source.Path] = append(s.got[b.Source.Path], line)
			s.all = append(s.all, line)
		}
		s.held = append(s.held, b)
		s.resolveLocked(false)
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	s.mu.Lock()
	s.resolveLocked(true)
	s.mu.Unlock()
}

func (s *sink) resolveLocked(last bool) {
	if s.mode == ackNever || (s.mode == ackShuffled && len(s.held) < 8 && !last) {
		return
	}
	s.resolveHeldLocked()
}

func (s *sink) resolveHeldLocked() {
	rand.Shuffle(len(s.held), func(i, j int) { s.held[i], s.held[j] = s.held[j], s.held[i] })
	for _, b := range s.held {
		b.Done()
	}
	s.held = nil
}

// release resolves what is held, and from now on everything at once.
func (s *sink) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = ackAtOnce
	s.resolveLocked(true)
}

func (s *sink) lines(path string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got[path]...)
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// count says how often a text was logged.
func (j *journal) count(text string) int {
	return strings.Count(j.String(), text)
}

// agent is one run of a collector, from its start to its clean end.
type agent struct {
	*sink
	w       *world
	c       *Collector
	store   *checkpoint.Store
	metrics *Metrics
	budget  *budget
	stopped bool
	cancel  context.CancelFunc
	ended   chan error
	watcher chan error
	out     chan *record.Batch
}

type option func(*startup)

type startup struct {
	mode ackMode
	gate chan struct{} // the sink takes nothing before it is closed
	cfg  func(*Config)
	c    func(*Collector)
}

func acking(m ackMode) option              { return func(s *startup) { s.mode = m } }
func gated(g chan struct{}) option         { return func(s *startup) { s.gate = g } }
func with(fn func(*Config)) option         { return func(s *startup) { s.cfg = fn } }
func tweaked(fn func(c *Collector)) option { return func(s *startup) { s.c = fn } }

// hasRead writes the first line of a.log and has it read, by an agent that ends.
func (w *world) hasRead(opts ...option) {
	w.t.Helper()
	w.write("a.log", "1\n")
	a := w.start(opts...)
	a.want("a.log", "1")
	a.settled()
	a.stop()
}

func (w *world) start(opts ...option) *agent {
	w.t.Helper()
	up := startup{cfg: func(*Config) {}, c: func(*Collector) {}}
	for _, o := range opts {
		o(&up)
	}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	if os.Getenv("COLLECTOR_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	reg := prometheus.NewRegistry()
	store, err := checkpoint.Open(w.state, time.Hour, checkpoint.NewMetrics(reg), log)
	require.NoError(w.t, err)
	watcher, err := watch.New(log)
	require.NoError(w.t, err)
	a := &agent{
		w: w, sink: newSink(up.mode), store: store, metrics: NewMetrics(reg), budget: newBudget(w.bytes),
		ended: make(chan error, 1), watcher: make(chan error, 1), out: make(chan *record.Batch, 4),
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	deps := Deps{Store: store, Pool: tail.NewPool(), Budget: a.budget, Metrics: a.metrics, Log: log, Watcher: watcher, FS: w.fs, Now: w.now, Deleted: NewDeleted(w.deleted, reg)}
	cfg := w.cfg
	up.cfg(&cfg)
	if cfg.Poll {
		deps.Watcher = nil
	}
	a.c = New(cfg, deps)
	up.c(a.c)
	go func() { a.watcher <- watcher.Run(ctx) }()
	go func() { a.ended <- a.c.Run(ctx, a.out) }()
	go a.run(a.out, up.gate)
	w.t.Cleanup(a.stop)
	return a
}

// stop ends the run in two phases, as a pipeline does: no more reading, then
// what is on its way, then the last offsets.
func (a *agent) stop() {
	if a.stopped {
		return
	}
	a.stopped = true
	a.cancel()
	select {
	case err := <-a.ended:
		require.NoError(a.w.t, err)
	case <-time.After(patience):
		require.FailNow(a.w.t, "the collector does not end")
	}
	require.ErrorIs(a.w.t, <-a.watcher, context.Canceled)
	close(a.out)
	<-a.sink.ended
	a.c.Close()
	require.NoError(a.w.t, a.store.Close())
	require.Empty(a.w.t, a.bad)
}

// until waits for a condition, looked at after each batch and every few
// milliseconds.
func (a *agent) until(what string, cond func() bool) {
	a.w.t.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !cond() {
		select {
		case <-a.changed:
		case <-tick.C:
		case <-limit:
			a.mu.Lock()
			defer a.mu.Unlock()
			require.FailNow(a.w.t, "waited in vain: "+what, "files %+v\nrefused %v\n%d lines so far, the last: %q",
				a.c.Files(), a.c.Refused(), len(a.all), a.all[max(0, len(a.all)-5):])
		}
	}
}

// want waits until a path has yielded this many lines and demands that they
// are these and no others, in this order.
func (a *agent) want(name string, list ...string) {
	a.w.t.Helper()
	path := a.w.path(name)
	a.until(fmt.Sprintf("%d lines of %s", len(list), name), func() bool { return len(a.lines(path)) >= len(list) })
	if len(list) == 0 {
		require.Empty(a.w.t, a.lines(path))
		return
	}
	require.Equal(a.w.t, list, a.lines(path))
}

// settled waits until everything is read and acknowledged and all tailers are
// parked.
func (a *agent) settled() {
	a.w.t.Helper()
	a.until("everything is read, acknowledged and quiet", func() bool {
		if !a.quiet() {
			return false
		}
		for _, f := range a.c.Files() {
			if f.State == FileReading || f.Committed != f.Read {
				return false
			}
		}
		return true
	})
}

func (a *agent) quiet() bool {
	for _, s := range a.c.all() {
		s.mu.Lock()
		running := s.running
		s.mu.Unlock()
		if running {
			return false
		}
	}
	return true
}

func (a *agent) states() map[string]FileState {
	out := map[string]FileState{}
	for _, f := range a.c.Files() {
		out[f.Path] = f.State
	}
	return out
}

func (a *agent) rotations(kind string) float64 {
	return testutil.ToFloat64(a.c.metrics.rotations.WithLabelValues(kind))
}

// budget is a plain bound with a condition to wait on.
type budget struct {
	mu    sync.Mutex
	free  *sync.Cond
	bound int
	held  int
	waits int
	peak  int
}

func newBudget(bound int) *budget {
	b := &budget{bound: bound}
	b.free = sync.NewCond(&b.mu)
	return b
}

func (b *budget) Acquire(ctx context.Context, n int) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.free.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held > 0 && b.held+n > b.bound {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.waits++
		b.free.Wait()
	}
	b.take(n)
	return ctx.Err()
}

func (b *budget) TryAcquire(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held > 0 && b.held+n > b.bound {
		return false
	}
	b.take(n)
	return true
}

func (b *budget) take(n int) {
	b.held += n
	b.peak = max(b.peak, b.held)
}

func (b *budget) Charge(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(n)
}

func (b *budget) Release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	b.free.Broadcast()
}

func (b *budget) now() (held, waits, peak int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held, b.waits, b.peak
}

// asNobody drops root's right to read everything for the rest of the test.
func asNobody(t *testing.T, paths ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	for _, p := range paths {
		require.NoError(t, os.Chown(p, nobody, nobody))
		for d := filepath.Dir(p); len(d) > len(os.TempDir()); d = filepath.Dir(d) {
			require.NoError(t, os.Chmod(d, 0o755))
		}
	}
	require.NoError(t, unix.Setreuid(-1, nobody))
	t.Cleanup(func() { require.NoError(t, unix.Setreuid(-1, 0)) })
}
