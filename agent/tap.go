package agent

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"logferry/internal/record"
)

// What looking at records may cost.
const (
	maxTaps       = 8        // at once, over all tasks
	tapQueue      = 64       // records that wait for a slow reader
	tapValueBytes = 16 << 10 // of a value; what is longer is cut
	defaultRate   = 10       // records a second
	maxRate       = 1000
)

var errTooManyTaps = errors.New("too many taps are open on this agent; end one of them")

// taps are those who look at the records of an agent's tasks. While nobody
// looks at a task, a batch costs it one atomic load and nothing is kept. Safe
// for use from several goroutines.
type taps struct {
	mu    sync.Mutex
	tasks map[string]*taskTaps
	open  int
}

func newTaps() *taps { return &taps{tasks: map[string]*taskTaps{}} }

// taskTaps are those who look at one task, whichever version of it runs.
type taskTaps struct {
	list atomic.Pointer[[]*tap] // nil: nobody looks
}

// tap is one look at a task's records: some of them, as many as its reader takes
// and its rate allows.
type tap struct {
	out    chan tapRecord
	missed atomic.Uint64 // records since the last one in out

	mu   sync.Mutex
	rate float64 // records a second
	left float64 // that may be shown now
	last time.Time
}

// tapRecord is a copy of a record.
type tapRecord struct {
	source  *record.Source
	time    time.Time
	offset  int64
	key     []byte
	topic   []byte // that it asks for
	headers []record.Header
	value   []byte // at most tapValueBytes of it
	size    int    // of the whole value
	missed  uint64 // records between this one and the one before
}

// of returns the taps of a task.
func (t *taps) of(task string) *taskTaps {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ofLocked(task)
}

func (t *taps) ofLocked(task string) *taskTaps {
	of := t.tasks[task]
	if of == nil {
		of = &taskTaps{}
		t.tasks[task] = of
	}
	return of
}

// forget drops a task that is gone, unless somebody still looks.
func (t *taps) forget(task string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.tasks[task]; of != nil && of.list.Load() == nil {
		delete(t.tasks, task)
	}
}

// start begins to look at a task. The returned function ends it.
func (t *taps) start(task string, rate float64) (p *tap, stop func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open >= maxTaps {
		return nil, nil, errTooManyTaps
	}
	t.open++
	p = &tap{out: make(chan tapRecord, tapQueue), rate: rate, left: max(rate, 1), last: time.Now()}
	of := t.ofLocked(task)
	of.change(func(list []*tap) []*tap { return append(list, p) })
	return p, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
		of.change(func(list []*tap) []*tap {
			var left []*tap
			for _, other := range list {
				if other != p {
					left = append(left, other)
				}
			}
			return left
		})
	}, nil
}

// change replaces the list, which whoever offers a batch may be reading.
func (t *taskTaps) change(f func([]*tap) []*tap) {
	var list []*tap
	if old := t.list.Load(); old != nil {
		list = append(list, *old...)
	}
	if list = f(list); len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

// offer shows a batch to those who look. It never waits.
func (t *taskTaps) offer(b *record.Batch) {
	list := t.list.Load()
	if list == nil {
		return
	}
	for _, p := range *list {
		p.offer(b)
	}
}

// offer takes as many records of b as the rate allows, evenly spread.
func (p *tap) offer(b *record.Batch) {
	all := len(b.Records)
	if all == 0 {
		return
	}
	if !p.mu.TryLock() { // another file's tailer is at it
		p.missed.Add(uint64(all))
		return
	}
	defer p.mu.Unlock()
	p.left = min(p.left+p.rate*max(0, b.Time.Sub(p.last).Seconds()), max(p.rate, 1))
	p.last = b.Time
	n := min(all, int(p.left))
	p.left -= float64(n)
	next := 0
	for i := range n {
		at := i * all / n
		p.missed.Add(uint64(at - next))
		p.show(b, &b.Records[at])
		next = at + 1
	}
	p.missed.Add(uint64(all - next))
}

// show hands over a copy, if the reader keeps up.
func (p *tap) show(b *record.Batch, r *record.Record) {
	if len(p.out) == cap(p.out) { // only this goroutine fills it, under mu
		p.missed.Add(1)
		return
	}
	c := tapRecord{
		source: b.Source, time: b.Time, offset: r.Offset, size: len(r.Value), missed: p.missed.Swap(0),
		value: bytes.Clone(r.Value[:min(len(r.Value), tapValueBytes)]),
	}
	if x := r.Extra; x != nil {
		c.key, c.topic = bytes.Clone(x.Key), bytes.Clone(x.Topic)
		for _, h := range x.Headers {
			c.headers = append(c.headers, record.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
		if !x.Time.IsZero() {
			c.time = x.Time
		}
	}
	p.out <- c
}
