package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// Read returns the next batch of whole lines, or nil when there is none at
// this moment: the file is read to its last newline. It waits for the budget.
//
// ErrTruncated means that the file became shorter than what was read, or that
// the bytes before the read offset are no longer those that were read there: it
// was truncated and has grown again. Reset starts it again.
func (f *File) Read(ctx context.Context) (*record.Batch, error) {
	for {
		want, err := f.blockSize()
		if err == nil && want == 0 && f.grouping && !f.keep && f.GroupDue() <= 0 {
			return f.endGroup(ctx)
		}
		if err != nil || want == 0 {
			f.settle()
			return nil, err
		}
		if !f.grouping && f.scan-f.off > int64(f.deps.Frame.MaxBytes) {
			return f.readLong(ctx)
		}
		b, again, err := f.readBlock(ctx, want)
		if b != nil || err != nil || !again {
			return b, err
		}
	}
}

// blockSize is how much to read next, in bytes; 0 when nothing new is there.
func (f *File) blockSize() (int, error) {
	if f.given {
		return 0, nil
	}
	if f.full {
		return max(BlockBytes, 2*int(f.scan-f.off)), nil
	}
	size, _, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case size < f.scan, f.scan == 0 && size < int64(f.Head().Len):
		return 0, ErrTruncated
	case size == f.scan && f.suspect:
		f.suspect = false
		return 0, f.verifyGuard()
	case size == f.scan:
		return 0, nil
	}
	f.suspect = false
	return int(min(size-f.off, max(BlockBytes, 2*(f.scan-f.off)))), nil
}

// readBlock reads one block at the read offset. again asks for another try
// with a larger block: the line is longer than this one.
func (f *File) readBlock(ctx context.Context, want int) (b *record.Batch, again bool, err error) {
	if f.rest != nil {
		return f.readFollowing(ctx, want)
	}
	guard := len(f.guard)
	if want += guard; want-guard <= BlockBytes {
		want = min(want, BlockBytes)
	}
	want = min(classSize(want), max(BlockBytes, classSize(f.mostNeeded()+guardBytes)))
	if most := f.deps.MostBytes; most > 0 && f.scan == f.off { // a line that is longer is read again, in a larger block
		want = min(want, classSize(max(most, leastBlock)+guard))
	}
	if err := f.deps.Budget.Acquire(ctx, want); err != nil {
		return nil, false, err
	}
	blk := f.deps.Pool.get(want)
	at := f.off - int64(guard)
	n, err := f.pread(blk.data[:want], at)
	for err == nil && n > 0 && (n < guard || (at == 0 && n < f.Head().Len)) { // a short read proves nothing
		var more int
		if more, err = f.pread(blk.data[n:want], at+int64(n)); more == 0 {
			break
		}
		n += more
	}
	if err == nil && (n < guard || !bytes.Equal(f.guard, blk.data[:guard])) {
		err = ErrTruncated
	}
	if err == nil && f.off < headBytes {
		err = f.noteHead(blk.data[:n], at)
	}
	if err != nil {
		f.drop(blk, want)
		return nil, false, fmt.Errorf("read %s at offset %d: %w", f.path, f.off, err)
	}
	f.full = n == want
	n -= guard
	lines, err := f.lines()
	if err != nil {
		f.drop(blk, want)
		return nil, false, err
	}
	b = f.takeLines(lines, blk, n, guard, want)
	return b, b == nil && f.full, nil
}

// takeLines makes a batch of the whole lines of n bytes, which stand in a block
// behind the guard; nil when there are none.
func (f *File) takeLines(lines frame.Lines, blk *block, n, guard, acquired int) *record.Batch {
	recs, used, counts := f.cut(lines, blk.Records[:0], blk.data[guard:guard+n], f.off, &blk.space)
	blk.Records = recs
	f.count(counts)
	f.shape(blk, lines.Unit)
	if used == 0 {
		f.scan = max(f.scan, f.off+int64(n))
		f.drop(blk, acquired)
		return nil
	}
	start := f.off
	f.off += int64(used)
	f.guard = append(f.guard[:0], blk.data[max(0, guard+used-guardBytes):guard+used]...)
	if len(recs) < f.mostRecords() {
		f.scan = start + int64(n)
	} else {
		f.scan, f.full = f.off, true
	}
	return f.emit(blk, start, acquired)
}

// leastBlock is the smallest block that a bound of what is read at once makes.
const leastBlock = 4 << 10

// mostRecords bounds the records of the next batch.
func (f *File) mostRecords() int {
	if most := f.deps.MostRecords; most > 0 && f.rest == nil { // what waited in the file before is read as a whole
		return min(most, maxRecords)
	}
	return maxRecords
}

// mostNeeded is how much of the file must be seen at once, in bytes.
func (f *File) mostNeeded() int {
	if f.wrapped != nil {
		return frame.RunBytes(f.deps.Frame.MaxBytes) + newlineBytes
	}
	return f.deps.Frame.MaxBytes + newlineBytes
}

// newlineBytes is the most that stands behind a line: \r\n in pairs of bytes.
const newlineBytes = 4

// lines is how this file is cut.
func (f *File) lines() (frame.Lines, error) {
	l := f.deps.Frame
	if l.Unit != frame.ByMark {
		return l, nil
	}
	var head [2]byte
	n, err := f.preadFull(head[:], 0)
	if err != nil {
		return l, fmt.Errorf("read the byte order mark of %s: %w", f.path, err)
	}
	l.Unit, _ = l.Unit.Of(head[:n])
	return l, nil
}

// guardBytes is how much before the read offset is compared at each read.
const guardBytes = 64

// loadGuard remembers the bytes before the read offset.
func (f *File) loadGuard() {
	n := min(f.off, guardBytes)
	f.guard = append(f.guard[:0], make([]byte, n)...)
	if m, err := f.preadFull(f.guard, f.off-n); err != nil || m < len(f.guard) {
		f.guard = f.guard[:0]
	}
}

// verifyGuard looks whether they are still there.
func (f *File) verifyGuard() error {
	if f.packed != nil {
		return nil // nobody writes to it
	}
	var buf [guardBytes]byte
	got := buf[:len(f.guard)]
	if n, err := f.preadFull(got, f.off-int64(len(got))); err != nil {
		return fmt.Errorf("read %s at offset %d: %w", f.path, f.off, err)
	} else if n < len(got) || !bytes.Equal(got, f.guard) {
		return ErrTruncated
	}
	return nil
}

// Rewritten reports whether other bytes stand before the read offset than were
// read there, which the size does not tell. Only the reader may ask.
func (f *File) Rewritten() bool {
	if !f.IsOpen() || !errors.Is(f.verifyGuard(), ErrTruncated) {
		return false
	}
	f.suspect = true
	return true
}

// Suspect makes the next Read look whether what was read is still there, even
// if the size is the same: something happened to the file.
func (f *File) Suspect() { f.suspect = true }

// readLong looks for the end of a line longer than the bound without holding
// it, and makes one record of its head once the newline is found.
func (f *File) readLong(ctx context.Context) (*record.Batch, error) {
	if err := f.deps.Budget.Acquire(ctx, BlockBytes); err != nil {
		return nil, err
	}
	scratch := f.deps.Pool.get(BlockBytes)
	defer f.drop(scratch, BlockBytes)
	lines, err := f.lines()
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		at := f.scan
		if lines.Unit != frame.Bytes {
			at -= at % 2 // half a newline may stand before it
		}
		n, err := f.pread(scratch.data[:BlockBytes], at)
		if err != nil {
			return nil, fmt.Errorf("read %s at offset %d: %w", f.path, f.scan, err)
		}
		if begin, end := lines.Unit.Newline(scratch.data[:n], at); begin >= 0 {
			f.full = true
			return f.one(at+int64(begin), at+int64(end))
		}
		if at+int64(n) <= f.scan {
			f.full = false
			return nil, nil
		}
		f.scan = at + int64(n)
	}
	return nil, ctx.Err()
}

// Final returns what stands behind the last newline as a record of its own,
// or nil when there is nothing: for a file that nobody will write to again.
func (f *File) Final(ctx context.Context) (*record.Batch, error) {
	size, _, err := f.Stat()
	if err != nil || size <= f.off {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.grouping {
		return f.endGroup(ctx)
	}
	return f.one(size, size)
}

// chargedBlock reads the want bytes that come next. They are charged, as size,
// without waiting: the caller may hold a part of the budget that others wait for.
func (f *File) chargedBlock(want int) (blk *block, size int, err error) {
	size = classSize(want)
	f.deps.Budget.Charge(size)
	blk = f.deps.Pool.get(want)
	n, err := f.preadFull(blk.data[:want], f.off)
	if err == nil && n < want {
		err = ErrTruncated
	}
	if err != nil {
		f.drop(blk, size)
		return nil, 0, fmt.Errorf("read %s at offset %d: %w", f.path, f.off, err)
	}
	return blk, size, nil
}

// one emits the single line [f.off, lineEnd) and goes on at next.
func (f *File) one(lineEnd, next int64) (*record.Batch, error) {
	length := int(lineEnd - f.off)
	want := min(length, f.deps.Frame.MaxBytes+newlineBytes/2)
	if f.wrapped != nil {
		want = min(length, f.deps.Frame.MaxBytes+wrapBytes)
	}
	lines, err := f.lines()
	if err != nil {
		return nil, err
	}
	blk, size, err := f.chargedBlock(want)
	if err != nil {
		return nil, err
	}
	recs, counts := f.cutOne(lines, blk.Records[:0], blk.data[:want], length, &blk.space)
	blk.Records = recs
	f.count(counts)
	f.shape(blk, lines.Unit)
	start := f.off
	f.off, f.scan = next, next
	f.loadGuard()
	return f.emit(blk, start, size), nil
}

// shape leaves out and replaces what the task wants, once a batch is cut.
func (f *File) shape(blk *block, unit frame.Unit) {
	if f.deps.Shape == nil || len(blk.Records) == 0 {
		return
	}
	var counts shape.Counts
	blk.Records, counts = f.deps.Shape.Apply(blk.Records, unit, &blk.space)
	f.deps.Shaped(counts)
}

// dress gives records what they are to carry, and leaves out those that the
// task does not want.
func (f *File) dress(blk *block, read time.Time) {
	if f.form == nil {
		return
	}
	var counts envelope.Counts
	if blk.Records, counts = f.form.Apply(blk.Records, read, &blk.space); counts != (envelope.Counts{}) {
		f.deps.Dressed(counts)
	}
}

// extraOf is what a block takes beside its bytes.
func (f *File) extraOf(blk *block) int {
	return batchBytes + len(blk.Records)*(recordBytes+f.deps.RecordOverhead) + blk.space.Held()
}

func (f *File) drop(blk *block, acquired int) {
	f.deps.Pool.put(blk)
	f.deps.Budget.Release(acquired)
}

// emit arms the batch that covers [start, f.off).
func (f *File) emit(blk *block, start int64, acquired int) *record.Batch {
	now := time.Now()
	f.dress(blk, now)
	extra := f.extraOf(blk)
	f.deps.Budget.Charge(extra)
	f.noteEnd()
	if f.once != nil {
		f.countOnce(len(blk.Records))
	}
	blk.file = f
	blk.tracker = f.trackerNow()
	blk.Source, blk.Time, blk.Start, blk.End = f.src, now, start, f.off
	blk.Size = acquired + extra
	blk.SetOwner(blk, blk.tracker.Add(f.off, now))
	f.deps.Read(&blk.Batch, int(f.off-start))
	return &blk.Batch
}
