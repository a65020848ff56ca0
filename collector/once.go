package collector

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/internal/record"
)

const (
	// onceOpen bounds the files that are read to their end and wait, open, for
	// their acknowledgements.
	onceOpen = 64
	// onceTries is how often a file is tried that cannot be opened or read: two
	// minutes, at the pace of retryDelay.
	onceTries = 8
)

// Once reads a set of files to their ends, one after the other, and is done when
// all of it is acknowledged.
//
// The set is what the first look finds; it is stored, with how far each file is,
// so that a later run goes on where an earlier one stopped, and finds nothing to do when
// that was at the end. Files that appear later are no part of it.
//
// Run is called once, after Look; the others may be called from any goroutine.
type Once struct {
	cfg     Config
	deps    Deps
	tail    *tail.Deps
	metrics taskMetrics
	log     *slog.Logger
	retry   time.Duration
	ending  chan struct{}
	moved   chan struct{} // some committed offset moved
	reading []*onceFile   // read to their end and not yet acknowledged; only Run touches it

	mu      sync.Mutex
	files   []*onceFile // in the order in which they are read
	refused map[string]string
	blind   error // why the set may lack files
	looked  bool
}

// onceFile is one file of the set. All but the first three are guarded by Once.mu.
type onceFile struct {
	path  string
	id    checkpoint.FileID
	mtime int64

	st      checkpoint.State // stored, or at the end
	f       *tail.File       // nil: not opened yet, or ended
	state   FileState
	err     error
	tries   int
	started time.Time
}

// NewOnce makes one that has not looked yet.
func NewOnce(cfg Config, deps Deps) *Once {
	if deps.FS == nil {
		deps.FS = tail.Kernel{}
	}
	o := &Once{
		cfg: cfg, deps: deps, metrics: deps.Metrics.task(cfg.Task), log: deps.Log.With("task", cfg.Task), retry: retryDelay,
		ending: make(chan struct{}), moved: make(chan struct{}, 1), refused: map[string]string{},
	}
	o.tail = tailDeps(cfg, deps, &o.metrics, o.log, o.ending)
	return o
}

// Run reads what is left to read. It returns when all of it is acknowledged, or
// ctx ends; batches on their way may still be resolved until Close. It never closes out.
func (o *Once) Run(ctx context.Context, out chan<- *record.Batch) error {
	end := context.AfterFunc(ctx, func() { close(o.ending) })
	defer end()
	if err := o.look(); err != nil {
		return fmt.Errorf("collect task %s: %w", o.cfg.Task, err)
	}
	left := o.unread()
	o.log.Info("reading files once", "files", len(o.files), "left", len(left))
	for wait := o.retry; len(left) > 0 && ctx.Err() == nil; wait = min(2*wait, maxRetryDelay) {
		if left = o.readAll(ctx, left, out); len(left) > 0 {
			pause(ctx, wait)
		}
	}
	_ = o.settle(ctx, 0) // else ctx ended
	return nil
}

// readAll reads the files in turn, and returns those to try again.
func (o *Once) readAll(ctx context.Context, left []*onceFile, out chan<- *record.Batch) (again []*onceFile) {
	for _, f := range left {
		err := o.read(ctx, f, out)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !o.failed(f, err) {
			again = append(again, f)
			continue
		}
		if f.f != nil {
			o.reading = append(o.reading, f)
		}
		if o.settle(ctx, onceOpen) != nil {
			return nil
		}
	}
	return again
}

// settle waits until at most this many of the files that were read to their
// end are not acknowledged.
func (o *Once) settle(ctx context.Context, most int) error {
	for {
		o.reading = slices.DeleteFunc(o.reading, func(f *onceFile) bool {
			if !f.f.Idle() {
				return false
			}
			o.close(f)
			return true
		})
		if len(o.reading) <= most {
			return nil
		}
		select {
		case <-o.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends a file that is read and acknowledged.
func (o *Once) close(f *onceFile) {
	f.f.Mark()
	st := f.f.Checkpoint()
	f.f.Close()
	o.mu.Lock()
	f.st, f.f = st, nil
	if f.err == nil {
		f.state = FileEnded
	}
	o.mu.Unlock()
}

func (o *Once) unread() (left []*onceFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.files {
		if f.state == FileWaiting {
			left = append(left, f)
		}
	}
	return left
}

// Close stores the last offsets and closes all files. After it no more batches
// may be resolved. Run must have returned.
func (o *Once) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.files {
		if f.f != nil {
			f.f.Mark()
			f.f.Close()
		}
	}
}

// OnceReport says how far a task is that reads once.
type OnceReport struct {
	Files    int       `json:"files"`
	Ended    int       `json:"ended"`            // delivered to their ends
	Failed   int       `json:"failed,omitempty"` // their ends cannot be read; tried again when the task starts anew
	Records  int64     `json:"records"`          // delivered; what filters left out does not count
	Bytes    int64     `json:"bytes"`            // of text, delivered or left out by filters
	Finished time.Time `json:"finished,omitzero"`
	Error    string    `json:"error,omitempty"` // of those that failed
}

// Report says how far it is. Finished is zero until everything that can be read is
// read and acknowledged.
func (o *Once) Report() OnceReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := OnceReport{Files: len(o.files)}
	var last time.Time
	var first *onceFile
	for _, f := range o.files {
		st := f.st
		if f.f != nil {
			st = f.f.Checkpoint()
		}
		r.Records, r.Bytes = r.Records+st.Records, r.Bytes+st.Offset
		if st.Updated.After(last) {
			last = st.Updated
		}
		switch {
		case f.f != nil:
		case f.state == FileEnded:
			r.Ended++
		case f.state == FileFailed && f.tries < 0:
			r.Failed++
			if first == nil {
				first = f
			}
		}
	}
	if first != nil {
		r.Error = fmt.Sprintf("%d of %d files could not be read to their ends, the first is %s: %v; mend them, and start the task again", r.Failed, r.Files, first.path, first.err)
	}
	if o.blind != nil {
		r.Error = cmp.Or(r.Error, "files may be missing: "+o.blind.Error())
	}
	if o.looked && r.Ended+r.Failed == r.Files {
		if last.IsZero() {
			last = time.Now()
		}
		r.Finished = last.UTC().Round(0)
	}
	return r
}
