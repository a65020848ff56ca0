package tail

import (
	"time"

	"logferry/collector/checkpoint"
)

const (
	headBytes = 1024 // the fingerprint grows up to this
	tailBytes = 64   // how much before the committed offset is remembered
)

func (f *File) trackerNow() *checkpoint.Tracker {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tracker
}

// committed is called when acknowledgements moved tracker's offset.
func (f *File) committed(tracker *checkpoint.Tracker) {
	f.mu.Lock()
	heir := f.heir
	if f.tracker == tracker && !f.gone {
		f.moved = f.deps.now()
		f.Mark()
	}
	f.mu.Unlock()
	if heir != nil {
		heir.committed(tracker)
	}
	if f.once != nil {
		f.once.moved()
	}
}

// Forget removes what the store holds of a file that does not exist any more.
func (f *File) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true // an acknowledgement that is on its way must not bring it back
	f.deps.Store.Delete(f.src.Task, f.id)
}

// Mark asks for the file's state to be stored at the next flush.
func (f *File) Mark() { f.deps.Store.Mark(f.src.Task, f.id, f) }

// MarkDone notes that the file was rotated away and is read to its end. It is
// the last mark: from now on the file may be collected under another name.
func (f *File) MarkDone() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.gone = true, true
	f.Mark()
	f.reportDamage()
}

// Checkpoint implements checkpoint.Source.
func (f *File) Checkpoint() checkpoint.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.refreshSumsLocked()
	s := checkpoint.State{
		Path: f.src.Path, Offset: f.tracker.Committed(), Birth: f.birth,
		Head: f.head, Updated: f.moved, Done: f.done, Since: f.since,
	}
	if f.packed != nil {
		s.Packed = f.packed.kind
	}
	if f.elsewhere != nil {
		if list := f.elsewhere.Load(); list != nil {
			s.Elsewhere = *list
		}
	}
	if f.short {
		s.Offset = min(s.Offset, f.size)
	}
	if f.tailAt == s.Offset {
		s.Tail = f.tail
	}
	if f.once != nil {
		f.onceStateLocked(&s)
	}
	return s
}

func (f *File) refreshSums() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refreshSumsLocked()
}

// refreshSumsLocked brings head and tail up to date while the descriptor is
// open. A range that cannot be read keeps its last hash, or none. The head is
// looked at after the tail: once other bytes stand there, the file was truncated, and both
// stay what they were, to find its copy by.
func (f *File) refreshSumsLocked() error {
	if f.packed != nil {
		f.refreshEndsLocked()
		return nil
	}
	if f.fd < 0 {
		return nil
	}
	off := f.tracker.Committed()
	stale := f.tailAt != off || (f.tail.Len == 0 && off > 0)
	want := max(int(min(headBytes, f.size)), f.head.Len)
	if want == f.head.Len && !stale {
		return nil
	}
	end, ok, _ := f.sumRange(off-min(off, tailBytes), int(min(off, tailBytes)))
	scratch := f.deps.Pool.get(want)
	defer f.deps.Pool.put(scratch)
	head := scratch.data[:want]
	if n, err := f.preadFull(head, 0); err != nil || n < want || !f.head.Of(head) {
		return err
	}
	f.head = checkpoint.SumOf(head)
	if stale && ok {
		f.tail, f.tailAt = end, off
	}
	return nil
}

// noteHead keeps the fingerprint of the first bytes that are read: the file
// may be truncated before anybody asks for it. data stands at offset at.
func (f *File) noteHead(data []byte, at int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case at > 0:
		_ = f.refreshSumsLocked()
	case !f.head.Of(data):
		return ErrTruncated
	case len(data) > f.head.Len:
		f.head = checkpoint.SumOf(data[:min(len(data), headBytes)])
	}
	return nil
}

// sumRange hashes n bytes at an offset; not ok when they are not all there, or
// cannot be read.
func (f *File) sumRange(off int64, n int) (sum checkpoint.Sum, ok bool, err error) {
	scratch := f.deps.Pool.get(n)
	defer f.deps.Pool.put(scratch)
	buf := scratch.data[:n]
	m, err := f.preadFull(buf, off)
	if err != nil || m < n {
		return checkpoint.Sum{}, false, err
	}
	return checkpoint.SumOf(buf), true, nil
}

// Resume goes on at a stored state. It reports false, and stays at the
// beginning, when the file is not the one that the state was stored of: it is
// shorter than the offset, or its first bytes or those before the offset
// differ, or it was created at another time (the inode was used again, or the file was truncated and has grown). See Unsure.
func (f *File) Resume(s checkpoint.State) bool {
	if f.packed != nil && !f.holds(s.Head, 0) {
		return false // before it is decoded up to the offset
	}
	size, err := f.sizeUpTo(s.Offset)
	if f.note(err); err != nil || size < s.Offset || (s.Birth != 0 && f.birth != 0 && s.Birth != f.birth) {
		return false
	}
	for _, r := range []struct {
		want checkpoint.Sum
		at   int64
	}{{s.Head, 0}, {s.Tail, s.Offset - int64(s.Tail.Len)}} {
		if !f.holds(r.want, r.at) {
			return false
		}
	}
	f.mu.Lock()
	f.moved = s.Updated
	if f.once != nil {
		f.once.records, f.once.read = s.Records, s.Records
	}
	f.mu.Unlock()
	f.SeekTo(s.Offset)
	return true
}

// Head is the fingerprint of the file's first bytes.
func (f *File) Head() checkpoint.Sum {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// Status is a moment's view of the offsets, all in bytes.
type Status struct {
	Path      string
	ID        checkpoint.FileID
	Open      bool
	Rotated   bool // renamed or deleted
	Deleted   bool // no name leads to it
	Read      int64
	Committed int64
	Size      int64
	Pending   int       // batches read and not yet resolved
	Oldest    time.Time // when the oldest of them was read; zero if none
	Moved     time.Time // when the committed offset last moved
}

// Status may be called at any time from any goroutine.
func (f *File) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	deleted := false
	if f.fd >= 0 {
		if size, linked, err := f.deps.fs().Size(f.fd); err == nil {
			deleted = !linked
			if f.packed == nil {
				f.size = size
			}
		}
	}
	oldest, _ := f.tracker.Oldest()
	return Status{
		Path: f.path, ID: f.id, Open: f.fd >= 0, Rotated: f.rotated, Deleted: deleted, Read: f.tracker.Last(), Committed: f.tracker.Committed(),
		Size: f.size, Pending: f.tracker.Pending(), Oldest: oldest, Moved: f.moved,
	}
}

// Deleted asks whether no name leads to the open file any more: since when
// (the file's last change, in Unix nanoseconds; 0 when one does) and how many bytes it
// holds on the disk. It may be asked from any goroutine.
func (f *File) Deleted() (bytes, at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return 0, 0
	}
	if _, linked, err := f.deps.fs().Size(f.fd); err != nil || linked {
		return 0, 0
	}
	info, err := f.deps.fs().Inspect(f.fd)
	if err != nil {
		return 0, 0
	}
	return info.Size, max(info.Changed, 1)
}

// Idle reports whether everything that was read is resolved.
func (f *File) Idle() bool { return f.trackerNow().Pending() == 0 }
