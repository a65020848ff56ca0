package tail

import (
	"hash/fnv"
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
	defer f.mu.Unlock()
	if f.tracker == tracker && !f.gone {
		f.moved = time.Now()
		f.Mark()
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
}

// Checkpoint implements checkpoint.Source.
func (f *File) Checkpoint() checkpoint.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshSumsLocked()
	s := checkpoint.State{
		Path: f.src.Path, Offset: f.tracker.Committed(), Birth: f.birth,
		Head: f.head, Updated: f.moved, Done: f.done,
	}
	if f.tailAt == s.Offset {
		s.Tail = f.tail
	}
	return s
}

func (f *File) refreshSums() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshSumsLocked()
}

// refreshSumsLocked brings head and tail up to date while the descriptor is
// open. A range that cannot be read keeps its last hash, or none.
func (f *File) refreshSumsLocked() {
	if f.fd < 0 {
		return
	}
	if want := int(min(headBytes, f.size)); want > f.head.Len {
		if s, ok := sumRange(f.fd, 0, want); ok {
			f.head = s
		}
	}
	off := f.tracker.Committed()
	if f.tailAt == off && (f.tail.Len > 0 || off == 0) {
		return
	}
	if s, ok := sumRange(f.fd, off-min(off, tailBytes), int(min(off, tailBytes))); ok {
		f.tail, f.tailAt = s, off
	}
}

func sumRange(fd int, off int64, n int) (checkpoint.Sum, bool) {
	buf := make([]byte, n)
	if m, err := preadFull(fd, buf, off); err != nil || m < n {
		return checkpoint.Sum{}, false
	}
	h := fnv.New64a()
	_, _ = h.Write(buf)
	return checkpoint.Sum{Len: n, Hash: h.Sum64()}, true
}

// Resume goes on at a stored state. It reports false, and stays at the
// beginning, when the file is not the one that the state was stored of: it is
// shorter than the offset, or its first bytes or those before the offset
// differ, or it was created at another time (the inode was used again, or the file was truncated and has grown).
func (f *File) Resume(s checkpoint.State) bool {
	size, _, err := f.Stat()
	if err != nil || size < s.Offset || (s.Birth != 0 && f.birth != 0 && s.Birth != f.birth) {
		return false
	}
	for _, r := range []struct {
		want checkpoint.Sum
		at   int64
	}{{s.Head, 0}, {s.Tail, s.Offset - int64(s.Tail.Len)}} {
		if got, ok := sumRange(f.fd, r.at, r.want.Len); r.want.Len > 0 && (!ok || got != r.want) {
			return false
		}
	}
	f.mu.Lock()
	f.moved = s.Updated
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

// StartsLike reports whether the file begins with the bytes that sum was made of.
func (f *File) StartsLike(sum checkpoint.Sum) bool {
	got, ok := sumRange(f.fd, 0, sum.Len)
	return sum.Len > 0 && ok && got == sum
}

// Status is a moment's view of the offsets, all in bytes.
type Status struct {
	Path      string
	ID        checkpoint.FileID
	Open      bool
	Rotated   bool // renamed or deleted
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
	if f.fd >= 0 {
		if st, err := fstat(f.fd); err == nil {
			f.size = st.Size
		}
	}
	oldest, _ := f.tracker.Oldest()
	return Status{
		Path: f.path, ID: f.id, Open: f.fd >= 0, Rotated: f.rotated, Read: f.tracker.Last(), Committed: f.tracker.Committed(),
		Size: f.size, Pending: f.tracker.Pending(), Oldest: oldest, Moved: f.moved,
	}
}

// Idle reports whether everything that was read is resolved.
func (f *File) Idle() bool { return f.trackerNow().Pending() == 0 }
