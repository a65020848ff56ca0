package tail

import (
	"context"
	"time"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// A group of lines that may go on is left in the file, as a line without its
// newline is: the read offset stays before it, and it is read again with what
// has come behind it. That nothing comes for a while is what ends it.

// cut makes records of a block that stands at an offset: the read offset, or
// before it by a rest.
func (f *File) cut(lines frame.Lines, dst []record.Record, block []byte, at int64, space *frame.Space) (recs []record.Record, used int, counts frame.Counts) {
	if f.deps.Groups == nil && f.wrapped == nil {
		return lines.Append(dst, block, at, f.mostRecords())
	}
	var open bool
	end := at + int64(len(block))
	final := f.ending && end == f.scan // what has come in between may belong to it
	if f.wrapped != nil {
		recs, used, open, counts = lines.AppendContainers(f.wrapped, dst, block, at, f.mostRecords(), final, latestStamp(), space)
	} else {
		recs, used, open, counts = lines.AppendGroups(f.deps.Groups, dst, block, at, f.mostRecords(), final)
	}
	if open && (!f.grouping || used > 0 || end > f.scan) {
		f.grown = time.Now()
	}
	f.grouping = open
	return recs, used, counts
}

// cutOne makes a record of the one line at the read offset.
func (f *File) cutOne(lines frame.Lines, dst []record.Record, line []byte, length int, space *frame.Space) ([]record.Record, frame.Counts) {
	if f.wrapped != nil {
		return lines.OneContainer(f.wrapped, dst, line, f.off, length, latestStamp(), space)
	}
	return lines.One(dst, line, f.off, length)
}

// wrapBytes is more than what stands around the text of a container's line
// that is cut.
const wrapBytes = 1 << 10

// latestStamp is the latest time that a line can claim to be of: brokers refuse
// records of the future.
func latestStamp() time.Time { return time.Now().Add(time.Minute) }

func (f *File) count(c frame.Counts) {
	f.deps.Long(c.Cut, c.Dropped)
	if f.wrapped != nil && c.Foreign+c.Split+c.Unfinished > 0 {
		f.deps.Unwrapped(c)
	}
}

// GroupOpen reports whether whole lines wait for what comes behind them. Only
// the reader may ask, or whoever holds the lock of a file that nobody reads.
func (f *File) GroupOpen() bool { return f.grouping }

// GroupDue is how long an open group still waits; 0 or less when the next Read
// ends it.
func (f *File) GroupDue() time.Duration {
	if f.packed != nil {
		return 0 // nobody writes to it
	}
	return f.deps.Quiet - time.Since(f.grown)
}

// KeepGroup makes Read leave an open group where it is, also when it is due.
// Only the reader may say so.
func (f *File) KeepGroup(keep bool) { f.keep = keep }

// endGroup returns the lines that have waited as the last record for now; nil
// when more has come.
func (f *File) endGroup(ctx context.Context) (*record.Batch, error) {
	f.ending = true
	defer func() { f.ending = false }()
	b, _, err := f.readBlock(ctx, int(f.scan-f.off))
	return b, err
}
