package tail

import (
	"fmt"

	"logferry/collector/checkpoint"
)

// A file that is copied and then truncated goes on under its identity with
// other bytes. What was not read of it stands in the copy, at the same offset.

// Before is what was read of the file, as it was when it was read: what
// stands in the file since is not looked at. Its offset is the read offset.
// Only the reader may ask.
func (f *File) Before() checkpoint.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return checkpoint.State{
		Path: f.src.Path, Offset: f.off, Birth: f.birth, Head: f.head, Tail: checkpoint.SumOf(f.guard), Updated: f.moved,
	}
}

// CopyOf reports whether the file holds what another one held when the state
// was stored: its first bytes and those before its offset. A copy that ends
// before the offset was made before the last of them were written. See Unsure.
func (f *File) CopyOf(s checkpoint.State) bool {
	if s.Head.Len == 0 && s.Tail.Len == 0 {
		return false // nothing is known of it
	}
	if !f.holds(s.Head, 0) {
		return false
	}
	size, err := f.sizeUpTo(s.Offset)
	if f.note(err); err != nil {
		return false
	}
	if size < s.Offset {
		return s.Head.Len > 0
	}
	return f.holds(s.Tail, s.Offset-int64(s.Tail.Len))
}

// holds reports whether the bytes at an offset are those that a sum was made of.
func (f *File) holds(want checkpoint.Sum, at int64) bool {
	got, ok, err := f.sumRange(at, want.Len)
	f.note(err)
	return want.Len == 0 || (ok && got == want)
}

// Unsure is what kept CopyOf, Begins or Resume from looking at the file since
// it was last asked, or nil. Their answer was no then, and says nothing.
func (f *File) Unsure() error {
	err := f.unsure
	f.unsure = nil
	if err != nil {
		return fmt.Errorf("compare %s: %w", f.path, err)
	}
	return nil
}

func (f *File) note(err error) {
	if f.unsure == nil {
		f.unsure = err
	}
}

// Begins reports whether the file begins with the bytes that a sum was made of.
func (f *File) Begins(head checkpoint.Sum) bool { return f.holds(head, 0) }

// GoOnAt begins a copy where a stored state says that the original was
// delivered to, or at its end if it is shorter.
func (f *File) GoOnAt(s checkpoint.State) {
	size, _ := f.sizeUpTo(s.Offset)
	f.SeekTo(min(s.Offset, size))
}

// TakeOver makes f, a copy, go on where the reader of the truncated file old
// stopped. What of old is read and not yet acknowledged is now proven by f:
// after a crash it is read again from the copy. old is to be Reset.
func (f *File) TakeOver(old *File) {
	size, _ := f.sizeUpTo(old.off)
	f.SeekTo(min(old.off, size))
	tracker := old.trackerNow()
	f.mu.Lock()
	f.tracker, f.short = tracker, old.off > size
	_ = f.refreshSumsLocked()
	f.mu.Unlock()
	old.mu.Lock()
	old.heir = f
	old.mu.Unlock()
}

// Truncated reports whether the open file is no longer what was read of it,
// by its size and its first bytes.
func (f *File) Truncated() (bool, error) {
	if f.packed != nil {
		return false, nil
	}
	size, _, err := f.Stat()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.fd < 0 {
		return false, err
	}
	got, ok, err := f.sumRange(0, f.head.Len)
	return size < max(f.tracker.Last(), int64(f.head.Len)) || (ok && got != f.head), err
}
