package checkpoint

import (
	"sync"
	"time"
)

// Tracker proves how far a file is delivered. Batches are added in file order
// and resolved in any order; the committed offset is the end of the longest
// run of resolved batches from the beginning, and never goes back.
//
// It may be used from several goroutines.
type Tracker struct {
	mu        sync.Mutex
	committed int64
	last      int64
	first     uint64 // token of pending[head]
	pending   []pendingBatch
	head      int
}

type pendingBatch struct {
	end  int64
	at   time.Time
	done bool
}

// NewTracker starts at a committed offset, in bytes.
func NewTracker(committed int64) *Tracker {
	return &Tracker{committed: committed, last: committed}
}

// Add notes a batch that was read at the given time and ends at file offset
// end, and returns the token that resolves it. Ends must not decrease.
func (t *Tracker) Add(end int64, at time.Time) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head > len(t.pending)/2 && len(t.pending) == cap(t.pending) {
		t.pending = t.pending[:copy(t.pending, t.pending[t.head:])]
		t.head = 0
	}
	t.pending = append(t.pending, pendingBatch{end: end, at: at})
	t.last = end
	return t.first + uint64(len(t.pending)-t.head-1)
}

// Resolve marks one batch as done and reports whether that moved the
// committed offset. A token must be resolved once only.
func (t *Tracker) Resolve(token uint64) (moved bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending[t.head+int(token-t.first)].done = true
	for t.head < len(t.pending) && t.pending[t.head].done {
		t.committed = t.pending[t.head].end
		t.head++
		t.first++
		moved = true
	}
	if t.head == len(t.pending) {
		t.pending, t.head = t.pending[:0], 0
	}
	return moved
}

// Committed is the offset behind the last byte that is known to be delivered.
func (t *Tracker) Committed() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed
}

// Last is the end of the batch that was added last: how far the file is read.
func (t *Tracker) Last() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// Pending is the number of batches that hold the committed offset back or
// wait behind such a one.
func (t *Tracker) Pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.pending) - t.head
}

// Oldest is the time at which the oldest unresolved batch was read; ok is
// false when there is none.
func (t *Tracker) Oldest() (at time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head == len(t.pending) {
		return time.Time{}, false
	}
	return t.pending[t.head].at, true
}
