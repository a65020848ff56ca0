package tail

import (
	"context"
	"fmt"
	"time"

	"logferry/internal/record"
)

// A container runtime that is told to go on in another file may be in the
// midst of a line. Its parts in the rotated file then stand before the first
// lines of the next one, and both are cut as if they were one text.

// Rest is the lines at the end of a rotated file that wait for what the next
// one begins with. They are delivered when the next file's first batch is: until
// then the rotated file's committed offset stays before them.
type Rest struct {
	of  *File
	blk *block // accounts for them, and holds no records
	n   int    // how many bytes they are, at the beginning of the block
}

// Of is the file that ends with the rest.
func (r *Rest) Of() *File { return r.of }

// TakeRest takes the lines that wait at the end of a rotated file for the file
// that follows, which is then to Follow; nil when there are none that it could go on with.
func (f *File) TakeRest() (*Rest, error) {
	if f.wrapped == nil || !f.grouping || f.rest != nil {
		return nil, nil
	}
	want := int(f.scan - f.off)
	blk, size, err := f.chargedBlock(want)
	if err != nil {
		return nil, err
	}
	n := f.deps.Frame.Unit.LastNewline(blk.data[:want], f.off)
	if n <= 0 {
		f.drop(blk, size)
		return nil, nil
	}
	blk.Records = blk.Records[:0]
	start := f.off
	f.off, f.grouping = f.off+int64(n), false
	f.loadGuard()
	f.emit(blk, start, size)
	return &Rest{of: f, blk: blk, n: n}, nil
}

// Follow makes the rest the beginning of what is read of f; false when f does
// not begin behind it. Offsets of records that begin in the rest are negative:
// so far before the beginning of f.
func (f *File) Follow(r *Rest) bool {
	if f.wrapped == nil || f.off != 0 || f.rest != nil {
		return false
	}
	f.rest, f.grouping, f.grown = r, true, time.Now()
	return true
}

// Unfinished makes a batch of the rest itself, for want of a file that follows.
func (r *Rest) Unfinished() *record.Batch {
	f, blk := r.of, r.blk
	recs, _, _, counts := f.deps.Frame.AppendContainers(f.wrapped, blk.Records, blk.data[:r.n], blk.Start, maxRecords, true, latestStamp(), &blk.space)
	blk.Records = recs
	f.count(counts)
	f.shape(blk, f.deps.Frame.Unit)
	f.dress(blk, blk.Time)
	extra := f.extraOf(blk)
	f.deps.Budget.Charge(extra)
	blk.Size += extra
	f.deps.Read(&blk.Batch, 0)
	return &blk.Batch
}

// readFollowing is readBlock for the beginning of a file that goes on with a
// rest. It does not wait for the budget: the rest holds a part of it.
func (f *File) readFollowing(ctx context.Context, want int) (b *record.Batch, again bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	r := f.rest
	want = min(classSize(want), max(BlockBytes, classSize(f.mostNeeded()+guardBytes)))
	size := classSize(r.n + want)
	f.deps.Budget.Charge(size)
	blk := f.deps.Pool.get(r.n + want)
	copy(blk.data, r.blk.data[:r.n])
	n, err := f.preadFull(blk.data[r.n:r.n+want], 0)
	if err == nil {
		err = f.noteHead(blk.data[r.n:r.n+n], 0)
	}
	if err != nil {
		f.drop(blk, size)
		return nil, false, fmt.Errorf("read %s: %w", f.path, err)
	}
	f.full = n == want
	recs, used, counts := f.cut(f.deps.Frame, blk.Records[:0], blk.data[:r.n+n], int64(-r.n), &blk.space)
	blk.Records = recs
	if used < r.n { // it still waits
		f.scan = max(f.scan, int64(n))
		f.drop(blk, size)
		return nil, f.full, nil
	}
	f.count(counts)
	f.shape(blk, f.deps.Frame.Unit)
	f.off = int64(used - r.n)
	f.guard = append(f.guard[:0], blk.data[max(r.n, used-guardBytes):used]...)
	if len(recs) < maxRecords {
		f.scan = int64(n)
	} else {
		f.scan, f.full = f.off, true
	}
	blk.before, f.rest = r.blk, nil
	return f.emit(blk, 0, size), false, nil
}
