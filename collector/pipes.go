package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/pipe"
	"logferry/collector/tail"
	"logferry/internal/record"
)

// Pipes reads the named pipes of one task. A pipe has no offsets: nothing is
// stored, and what was read and not acknowledged is lost with the process. While a
// batch waits for the budget or the queue nothing more is read, and the writers wait.
//
// Run is called once; the others may be called from any goroutine.
type Pipes struct {
	cfg     Config
	deps    Deps
	tail    *tail.Deps
	metrics taskMetrics
	log     *slog.Logger

	wg   sync.WaitGroup
	lost atomic.Int64 // bytes

	mu      sync.Mutex
	streams map[checkpoint.FileID]*pipeStream
	refused map[string]string
}

// NewPipes makes one that has not looked yet.
func NewPipes(cfg Config, deps Deps) *Pipes {
	p := &Pipes{
		cfg: cfg, deps: deps, metrics: deps.Metrics.task(cfg.Task), log: deps.Log.With("task", cfg.Task),
		streams: map[checkpoint.FileID]*pipeStream{}, refused: map[string]string{},
	}
	p.tail = tailDeps(cfg, deps, &p.metrics, p.log, nil)
	return p
}

// Run reads until ctx ends. Then no more is taken from the pipes, and what was read
// is handed on for at most cfg.Drain. It never closes out.
func (p *Pipes) Run(ctx context.Context, out chan<- *record.Batch) error {
	draining, stopDraining := context.WithCancel(context.WithoutCancel(ctx))
	defer stopDraining()
	look := time.NewTicker(p.cfg.PollInterval)
	defer look.Stop()
	for ctx.Err() == nil {
		p.look(ctx, draining, out)
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	limit := time.AfterFunc(p.cfg.Drain, stopDraining)
	defer limit.Stop()
	for _, s := range p.all() {
		s.from.Stop()
	}
	p.wg.Wait()
	return nil
}

// look opens the pipes that match and are not read yet.
func (p *Pipes) look(reading, ctx context.Context, out chan<- *record.Batch) {
	found := map[string]bool{}
	for _, glob := range p.cfg.Paths {
		matches, err := doublestar.FilepathGlob(glob, doublestar.WithNoFollow())
		if err != nil {
			continue // validated before
		}
		for _, path := range matches {
			if p.cfg.excludedBy(path) == "" && !found[path] {
				found[path] = true
				p.consider(reading, ctx, path, out)
			}
		}
	}
	p.mu.Lock()
	maps.DeleteFunc(p.refused, func(path, _ string) bool { return !found[path] })
	maps.DeleteFunc(p.streams, func(_ checkpoint.FileID, s *pipeStream) bool { return s.ended.Load() && s.tracker.Pending() == 0 })
	p.mu.Unlock()
}

func (p *Pipes) consider(reading, ctx context.Context, path string, out chan<- *record.Batch) {
	info, err := tail.Look(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Mode == unix.S_IFDIR:
		return
	case err == nil && info.Mode != unix.S_IFIFO:
		err = tail.ErrNotPipe
	}
	p.mu.Lock()
	_, known := p.streams[info.ID]
	p.mu.Unlock()
	if known {
		return
	}
	var from *pipe.Reader
	if err == nil {
		from, err = pipe.Open(path, pipe.Config{MaxBytes: p.cfg.MaxLineBytes, Links: p.cfg.Links, Allow: p.cfg.Allow, Check: p.cfg.PollInterval})
	}
	if err != nil {
		p.refuse(path, err)
		return
	}
	s := newPipeStream(p, path, from)
	p.mu.Lock()
	delete(p.refused, path)
	p.streams[from.ID()] = s
	p.mu.Unlock()
	p.log.Info("reading a named pipe", "path", path)
	p.wg.Go(func() { s.run(reading, ctx, out) })
}

func (p *Pipes) refuse(path string, err error) {
	p.mu.Lock()
	old := p.refused[path]
	p.refused[path] = err.Error()
	p.mu.Unlock()
	if old == err.Error() {
		return
	}
	p.metrics.errors.Inc()
	p.log.Warn("a named pipe is not read", "path", path, "error", err)
}

func (p *Pipes) all() []*pipeStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.streams), func(a, b *pipeStream) int { return strings.Compare(a.path, b.path) })
}

// Close names what was read and is not delivered. Run must have returned.
func (p *Pipes) Close() {
	for _, s := range p.all() {
		s.lose(s.tracker.Last() - s.tracker.Committed())
	}
}

// Files lists the pipes that are read.
func (p *Pipes) Files() []FileStatus {
	var out []FileStatus
	for _, s := range p.all() {
		out = append(out, s.status().named(s.from.ID()))
	}
	return out
}

// Totals sums them up.
func (p *Pipes) Totals() Totals {
	t := newTotals(FileStates)
	for _, s := range p.all() {
		t.add(s.status())
	}
	return t
}

// Refused lists the paths that match and are not read, with the reason.
func (p *Pipes) Refused() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.refused)
}

// CollectsNothing says why no pipe is read although paths match, see Collector.
func (p *Pipes) CollectsNothing() (path, why string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.streams) > 0 {
		return "", "", 0
	}
	return firstRefused(p.refused)
}

// NotCollected counts what Refused holds, see Collector.
func (p *Pipes) NotCollected() (n int, example string) { return notCollected(p.Refused()) }

// Abandoned is how many bytes were read and are lost.
func (p *Pipes) Abandoned() int64 { return p.lost.Load() }

// Explain says what the task does with a path, which is absolute and clean.
func (p *Pipes) Explain(path string) Explanation {
	e := Explanation{Task: p.cfg.Task}
	for _, s := range p.all() {
		if s.path == path {
			e.Collected, e.Why = true, "it is read as a named pipe"
			e.Files = append(e.Files, s.status().named(s.from.ID()))
		}
	}
	switch why := p.cfg.whyNot(path, p.Refused()[path]); {
	case e.Collected:
	case why != "":
		e.Why = why
	default:
		e.Why = fmt.Sprintf("no named pipe is there; the pattern %q will take it up when it appears", p.cfg.globOf(path))
	}
	return e
}
