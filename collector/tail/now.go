package tail

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// nowBytes is how much ReadNow reads at most, the guard included.
const nowBytes = 4 << 10

// Plain reports whether ReadNow may be of use: the file is open, was read for a
// while, and consists of lines that are records each.
func (f *File) Plain() bool {
	return !f.waits && f.packed == nil && f.wrapped == nil && f.once == nil && f.deps.Groups == nil && f.form == nil &&
		f.deps.MostRecords == 0 && f.deps.MostBytes == 0 && f.deps.Frame.Unit != frame.ByMark &&
		f.off >= headBytes && len(f.guard) == guardBytes && f.Head().Len == headBytes && f.IsOpen()
}

// ReadNow is Read for a few lines that were just appended, without waiting for
// anything. done says that the file was read to its end; when it is false, or b
// is nil, nothing has changed, and without done Read is to be asked.
//
// Only who may call Read may call it.
func (f *File) ReadNow() (b *record.Batch, done bool) {
	if !f.Plain() || f.stale || f.given || f.full || f.grouping || f.rest != nil {
		return nil, false
	}
	if !f.deps.Budget.TryAcquire(nowBytes) {
		return nil, false
	}
	blk := f.deps.Pool.get(nowBytes)
	at := f.off - guardBytes
	n, size, err := f.deps.fs().PreadNow(f.fd, blk.data, at)
	if errors.Is(err, unix.EOPNOTSUPP) {
		f.waits = true // this file system knows no such read
	}
	end := at + int64(n)
	if err != nil || n < guardBytes || n == len(blk.data) || size != end || end < f.scan || !bytes.Equal(f.guard, blk.data[:guardBytes]) {
		f.drop(blk, nowBytes)
		return nil, false
	}
	lines, err := f.lines()
	if err != nil {
		f.drop(blk, nowBytes)
		return nil, false
	}
	f.mu.Lock()
	f.size = size
	f.mu.Unlock()
	f.suspect = false
	return f.takeLines(lines, blk, n-guardBytes, guardBytes, nowBytes), true
}
