// Package collector brings bytes in: it finds the files of one task, runs one
// tailer for each path that has something to read, and cuts batches of whole
// lines.
//
// One path is one perpetual stream: when the file behind it is rotated away,
// the old file is read to its end before the new one begins, generations
// that came and went unseen between the two included. Nothing that was
// appended to a collected file is skipped; what moves its committed offset
// is the acknowledgement alone.
//
// A tailer is a goroutine only while there is something to read. A quiet file
// is parked: no goroutine, no buffer, and after close_inactive no descriptor;
// a one-shot watch or the next look wakes it.
package collector

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/frame"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
)

const (
	// activeStreams bounds the tailers of one task that run at one time, and
	// with them its descriptors and blocks in use.
	activeStreams = 256
	// gatherPause is how long a busy file is left alone to gather lines after
	// a read that did not fill its block.
	gatherPause = 2 * time.Millisecond
	// gatherWithin is how soon after the last read the next one has to come for
	// the file to be a busy one. Others park at once: a watch is cheaper than a timer.
	gatherWithin = 10 * time.Millisecond
	// scanDelay gathers directory changes that need a full look.
	scanDelay = 50 * time.Millisecond
	// scanShare keeps full looks at a tenth of the time, however often
	// directories change.
	scanShare = 10
	// retryDelay is how soon a file is tried again that could not be opened
	// or read; it doubles up to maxRetryDelay.
	retryDelay    = time.Second
	maxRetryDelay = 30 * time.Second
	// turnTime is how long a busy tailer runs while others wait for their turn.
	turnTime = 100 * time.Millisecond
	// pruneEvery is how often the store is cleared of files that are gone
	// for forgetAfter.
	pruneEvery  = time.Hour
	forgetAfter = 7 * 24 * time.Hour
	// oldFor is how long the clock must say so before a file is forgotten: it
	// may be wrong when the host starts.
	oldFor = 12 * time.Hour
)

// Collector reads the files of one task. Run is called once; Files and Close
// may be called from any goroutine.
type Collector struct {
	cfg     Config
	deps    Deps
	tail    *tail.Deps
	metrics taskMetrics
	log     *slog.Logger
	notices *notices
	short   shortage

	abandoned    atomic.Int64  // bytes that were given up
	deletedEvery time.Duration // how often deleted files are looked for

	out    chan<- *record.Batch
	turns  *turns        // of the tailers
	unpack chan struct{} // see unpackSlots
	ending chan struct{} // closed when Run is about to end
	rescan chan struct{} // asks for a full look

	mu      sync.Mutex
	wg      sync.WaitGroup // running streams
	spawn   func(*stream)  // has a stream run in its turn; nil outside of Run
	streams map[string]*stream
	byID    map[checkpoint.FileID]*stream
	dirs    map[string]*watch.Watch
	events  []dirEvent
	notify  chan struct{}
	refused map[string]string // path → why it is not collected
	told    map[string]bool   // see once
	polled  bool              // some watch could not be set: files are polled too

	unlooked bool                            // a path could not be looked at; only the loop touches it
	awaited  int                             // streams of the first look that have not tried to open their files
	noted    bool                            // the first look is over
	scanTook time.Duration                   // only the loop touches it
	future   map[checkpoint.FileID]time.Time // see isYoung; only the loop touches it
	old      map[checkpoint.FileID]time.Time // see prune; only the loop touches it
	began    moment                          // when Run was called
	retry    time.Duration                   // how soon what failed is tried again

	stored map[string]map[checkpoint.FileID]checkpoint.State // by path; until the first look is over
	left   map[string]map[checkpoint.FileID]checkpoint.State // by path; see leftBehindLocked; guarded by mu
}

type dirEvent struct {
	dir string
	ev  watch.Event
}

// New makes a collector. It touches nothing yet.
func New(cfg Config, deps Deps) *Collector {
	if deps.FS == nil {
		deps.FS = tail.Kernel{}
	}
	if deps.Deleted == nil {
		deps.Deleted = &Deleted{files: map[checkpoint.FileID]*deletedFile{}}
	}
	c := &Collector{
		cfg: cfg, deps: deps, metrics: deps.Metrics.task(cfg.Task), log: deps.Log.With("task", cfg.Task),
		turns: newTurns(activeStreams), rescan: make(chan struct{}, 1), notify: make(chan struct{}, 1),
		streams: map[string]*stream{}, byID: map[checkpoint.FileID]*stream{}, dirs: map[string]*watch.Watch{},
		refused: map[string]string{}, told: map[string]bool{}, left: map[string]map[checkpoint.FileID]checkpoint.State{},
		future: map[checkpoint.FileID]time.Time{}, old: map[checkpoint.FileID]time.Time{},
		unpack: make(chan struct{}, unpackSlots), ending: make(chan struct{}),
		polled: cfg.Poll || deps.Watcher == nil, retry: retryDelay, deletedEvery: deletedEvery,
		notices: newNotices(deps.Log.With("task", cfg.Task)),
		short:   shortage{waiting: map[*stream]bool{}},
	}
	c.tail = tailDeps(cfg, deps, &c.metrics, c.log, c.ending)
	return c
}

// tailDeps is what the files of a task share.
func tailDeps(cfg Config, deps Deps, m *taskMetrics, log *slog.Logger, ending <-chan struct{}) *tail.Deps {
	d := &tail.Deps{
		Frame:  frame.Lines{MaxBytes: cfg.MaxLineBytes, DropLong: cfg.DropLong, KeepCR: cfg.KeepCR, Unit: cfg.Unit},
		Groups: cfg.Groups, Quiet: cfg.GroupQuiet, Shape: cfg.Shape, Shaped: m.shaped, Wrapped: cfg.Wrapped, Unwrapped: m.unwrapped, Envelope: cfg.Envelope, Dressed: m.dressed,
		FS: deps.FS, Now: deps.Now, Pool: deps.Pool, Budget: deps.Budget, Store: deps.Store, Log: log,
		RecordOverhead: cfg.RecordOverhead, Links: cfg.Links, Allow: cfg.Allow, Ending: ending,
		Read: func(b *record.Batch, raw int) {
			m.readBytes.Add(float64(raw))
			m.records.Add(float64(len(b.Records)))
			if cfg.Throttle != nil {
				cfg.Throttle.Spend(len(b.Records), textBytes(b))
			}
			if deps.Tap != nil {
				deps.Tap(b)
			}
		},
		Acked: func(b *record.Batch) { m.ackSeconds.Observe(time.Since(b.Time).Seconds()) },
		Long: func(cut, dropped int) {
			if cut+dropped > 0 {
				m.cut.Add(float64(cut))
				m.dropped.Add(float64(dropped))
			}
		},
	}
	if cfg.Throttle != nil {
		d.MostRecords, d.MostBytes = cfg.Throttle.MostLines(), cfg.Throttle.MostBytes()
		d.Budget = throttled{deps.Budget, cfg.Throttle}
	}
	return d
}

// Run collects until ctx ends and sends batches to out, which it never
// closes. When it returns, nothing is sent any more; batches on their way may still
// be resolved until Close.
func (c *Collector) Run(ctx context.Context, out chan<- *record.Batch) error {
	c.out, c.began = out, c.moment()
	end := context.AfterFunc(ctx, func() { close(c.ending) })
	defer end()
	c.mu.Lock()
	c.spawn = func(s *stream) { c.spawnStream(ctx, s) }
	c.mu.Unlock()
	defer c.stop()
	if err := c.firstLook(); err != nil {
		return fmt.Errorf("collect task %s: %w", c.cfg.Task, err)
	}
	c.loop(ctx)
	return nil
}

func (c *Collector) loop(ctx context.Context) {
	reconcile := time.NewTicker(c.cfg.Reconcile)
	defer reconcile.Stop()
	poll := time.NewTicker(c.cfg.PollInterval)
	defer poll.Stop()
	deleted := time.NewTicker(c.deletedEvery)
	defer deleted.Stop()
	pruned := time.Now()
	var soon <-chan time.Time
	later := func() {
		if soon == nil {
			soon = time.After(max(scanDelay, scanShare*c.scanTook))
		}
	}
	wait := c.retry
	again := func() { // what could not be looked at is looked at once more, less and less often
		if !c.unlooked {
			wait = c.retry
			return
		}
		c.unlooked = false
		if soon == nil {
			soon = time.After(max(wait, scanShare*c.scanTook))
			wait = min(2*wait, maxRetryDelay)
		}
	}
	again()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.notify:
			c.noteLook()
			if c.handleEvents() {
				later()
			}
			again()
		case <-c.rescan:
			later()
		case <-soon:
			soon = nil
			c.scan(nil)
			again()
		case <-reconcile.C:
			c.scan(nil)
			again()
			if time.Since(pruned) > pruneEvery {
				pruned = time.Now()
				c.prune()
			}
		case <-deleted.C:
			c.noteClock()
			c.lookDeleted()
		case <-poll.C:
			if c.isPolled() {
				c.poll()
			}
		}
	}
}

// stop waits for all tailers and takes the directory watches away.
func (c *Collector) stop() {
	c.mu.Lock()
	c.spawn = nil
	for dir, w := range c.dirs {
		w.Close()
		delete(c.dirs, dir)
	}
	c.mu.Unlock()
	c.wg.Wait()
	for _, s := range c.all() {
		s.endTrickle()
		s.unwatch()
	}
}

// all lists the streams. Their locks are taken before the collector's, so
// never touch one while holding c.mu.
func (c *Collector) all() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*stream, 0, len(c.streams))
	for _, s := range c.streams {
		out = append(out, s)
	}
	return out
}

// Close stores the last offsets and closes all files. After it no more
// batches may be resolved. Run must have returned.
func (c *Collector) Close() {
	for _, s := range c.all() {
		for _, f := range s.files() {
			s.countUnread(f)
			f.Mark()
			f.Close()
		}
	}
}

// start runs a stream's tailer; false when the collector is ending.
func (c *Collector) start(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spawn == nil {
		return false
	}
	c.spawn(s)
	return true
}

// spawnStream runs a stream on a goroutine of its own when it has its turn.
func (c *Collector) spawnStream(ctx context.Context, s *stream) {
	c.turns.begin(func() bool {
		if ctx.Err() != nil {
			return false
		}
		c.wg.Go(func() {
			defer c.turns.end()
			s.run(ctx)
		})
		return true
	})
}

// own notes that a stream reads a file; false when it is being read already,
// be it by the same stream as one of its late files.
func (c *Collector) own(id checkpoint.FileID, s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != nil {
		return false
	}
	c.byID[id] = s
	return true
}

// ownable reports whether own would succeed.
func (c *Collector) ownable(id checkpoint.FileID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id] == nil
}

func (c *Collector) disown(id checkpoint.FileID) {
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
}

// remove forgets a stream whose path is gone, and looks whether its file is
// to be collected under another name.
func (c *Collector) remove(s *stream) {
	c.mu.Lock()
	if c.streams[s.path] == s {
		delete(c.streams, s.path)
		c.leftBehindLocked(s.path, s.known)
	}
	c.mu.Unlock()
	c.lookSoon()
}

func (c *Collector) lookSoon() {
	select {
	case c.rescan <- struct{}{}:
	default:
	}
}

func (c *Collector) isPolled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.polled
}

// pollToo is called when a watch could not be set.
func (c *Collector) pollToo(err error) {
	c.mu.Lock()
	first := !c.polled
	c.polled = true
	c.mu.Unlock()
	if first {
		c.log.Warn("a watch cannot be set, files are polled as well", "poll_interval", c.cfg.PollInterval, "error", err)
	}
}

// poll wakes the parked streams whose file changed.
func (c *Collector) poll() {
	var looked map[string]bool
	if c.cfg.Poll || c.deps.Watcher == nil {
		looked = c.scan(nil)
	}
	for _, s := range c.all() {
		if _, ok := looked[s.path]; !ok {
			s.wakeIfChanged()
		}
	}
}

// prune forgets what the store holds of files that nobody reads any more and
// that were not heard of for long.
func (c *Collector) prune() {
	states, err := c.deps.Store.Load(c.cfg.Task)
	if err != nil {
		c.log.Warn("the checkpoints cannot be cleared of old files", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.old
	c.old = map[checkpoint.FileID]time.Time{}
	for id, st := range states {
		if c.now().Sub(st.Updated) <= forgetAfter || c.byID[id] != nil || (!st.Done && !isTrace(id) && c.streams[st.Path] != nil) {
			continue
		}
		since, known := was[id]
		switch {
		case !known:
			c.old[id] = time.Now()
		case time.Since(since) > oldFor:
			c.deps.Store.Delete(c.cfg.Task, id)
		default:
			c.old[id] = since
		}
	}
}

// Refused lists the paths that match but are not collected, with the reason.
func (c *Collector) Refused() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]string, len(c.refused))
	for p, why := range c.refused {
		out[p] = why
	}
	return out
}

func (c *Collector) refuse(path string, why error) {
	c.mu.Lock()
	old, known := c.refused[path]
	c.refused[path] = why.Error()
	c.mu.Unlock()
	if outOfDescriptors(why) {
		return // one warning stands for all
	}
	if !known || old != why.Error() {
		c.log.Warn("a path matches but is not collected", "path", path, "error", why)
	}
}

// NotCollected counts the paths that match and cannot be collected, and tells of
// the first by name. What another path's stream reads is not among them.
func (c *Collector) NotCollected() (n int, example string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return notCollected(c.refused)
}

func notCollected(refused map[string]string) (n int, example string) {
	first := ""
	for path, why := range refused {
		if why == whyPacked {
			continue
		}
		n++
		if first == "" || path < first {
			first, example = path, path+": "+why
		}
	}
	return n, example
}

func (c *Collector) accept(path string) {
	c.mu.Lock()
	delete(c.refused, path)
	c.mu.Unlock()
}
