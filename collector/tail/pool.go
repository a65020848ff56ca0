package tail

import (
	"context"
	"math/bits"
	"sync"

	"logferry/collector/checkpoint"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// Budget bounds the bytes that are read and not yet resolved. It is used from
// many goroutines.
type Budget interface {
	// Acquire waits until n bytes are free, or ctx ends. More than the whole
	// budget is granted when nothing else is held.
	Acquire(ctx context.Context, n int) error
	// TryAcquire is Acquire, or false where that would wait.
	TryAcquire(n int) bool
	// Charge takes n bytes at once, if need be beyond the bound: the part of
	// a batch's cost that is known only after it was read.
	Charge(n int)
	// Release gives n bytes back.
	Release(n int)
}

const (
	minClass = 10 // 1 KiB: a quiet file that trickles does not hold a large block
	maxClass = 27 // 128 MiB: the longest line that can be configured, and its newline
)

// recordBytes is what one Record costs beside its value.
const recordBytes = 40

// batchBytes is what a batch costs beside its block and its records: 500 bytes
// of notes about it here and in the sink, and the garbage that making it leaves. Where
// thousands of files have a line each, it is most of what they cost.
const batchBytes = 2 << 10

// Pool hands out blocks in size classes of powers of two. It may be used from
// several goroutines; one pool serves all files of an agent.
type Pool struct {
	classes [maxClass - minClass + 1]sync.Pool
}

// NewPool makes an empty pool.
func NewPool() *Pool { return &Pool{} }

// classSize is the capacity of the smallest block that holds n bytes.
func classSize(n int) int {
	if n <= 1<<minClass {
		return 1 << minClass
	}
	return 1 << bits.Len(uint(n-1))
}

// block is one read: the bytes, the records that point into them, and the
// batch around both. It goes back to the pool when the batch is resolved.
type block struct {
	record.Batch
	data    []byte
	space   shape.Space // values that do not stand in data
	pool    *Pool
	file    *File
	tracker *checkpoint.Tracker
	before  *block // of the rest that its first record begins in; nil: none
}

func (p *Pool) get(n int) *block {
	size := classSize(n)
	if b, ok := p.class(size).Get().(*block); ok {
		return b
	}
	return &block{data: make([]byte, size), pool: p}
}

func (p *Pool) put(b *block) {
	b.file, b.tracker, b.before = nil, nil, nil
	b.Source = nil
	b.space.Reset(3 * len(b.data)) // a block of lines in envelopes is larger than the block
	clear(b.Records)
	b.Records = b.Records[:0]
	p.class(len(b.data)).Put(b)
}

func (p *Pool) class(size int) *sync.Pool { return &p.classes[bits.Len(uint(size-1))-minClass] }

// BatchDone implements record.Owner: the acknowledgement of a batch.
func (b *block) BatchDone(_ *record.Batch, token uint64) {
	f, tracker, size, raw := b.file, b.tracker, b.Size, int(b.End-b.Start)
	f.deps.Acked(&b.Batch)
	moved := tracker.Resolve(token)
	if b.before != nil {
		b.before.Done()
	}
	b.pool.put(b)
	f.deps.Budget.Release(size)
	if moved {
		f.committed(tracker)
	}
	f.deps.Store.Delivered(raw)
}
