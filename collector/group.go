package collector

import (
	"context"
	"time"

	"logferry/collector/tail"
)

// waitsForGroup keeps the stream at a file whose last lines may go on: what
// follows it, in another file, comes after them. busy says that they have
// waited long enough, and that the next read yields them.
//
// A file that is written to without a rest, after it was renamed, keeps the
// next one waiting for a while only.
func (s *stream) waitsForGroup(f *tail.File) (busy, wait bool) {
	if !f.GroupOpen() {
		s.groupUntil = time.Time{}
		return false, false
	}
	now := time.Now() // before the look at the group: what is not due yet has not been waited for too long
	if f.GroupDue() <= 0 {
		return true, false
	}
	if len(s.queue) == 1 && s.current {
		if g, err := s.c.statGeneration(s.path); err == nil && g.id == f.ID() {
			s.groupUntil = time.Time{} // nothing waits for it yet
			return false, true
		}
	}
	if s.groupUntil.IsZero() {
		s.groupUntil = now.Add(max(s.c.cfg.GroupQuiet, s.c.cfg.RotateWait))
	}
	if wait = now.Before(s.groupUntil); !wait {
		s.groupUntil = time.Time{}
	}
	return false, wait
}

// waiting reports whether only time, or more lines, will go on with the stream.
func (s *stream) waiting() bool {
	return !s.groupUntil.IsZero() && len(s.queue) > 0 && s.queue[0].GroupOpen() && s.queue[0].GroupDue() > 0 &&
		time.Now().Before(s.groupUntil)
}

// groupDue is when the first open group is complete; 0: there is none.
func (s *stream) groupDue() (d time.Duration) {
	for _, f := range s.all {
		if f.GroupOpen() {
			if left := max(f.GroupDue(), 0) + time.Millisecond; d == 0 || left < d {
				d = left
			}
		}
	}
	return d
}

// readCurrent is readFile for the file whose turn it is. Of a file of containers
// it takes what has waited long enough at its end for the file that follows it,
// if there is one. What is due only now must wait for the next turn, lest it be
// sent unfinished.
func (s *stream) readCurrent(ctx context.Context, f *tail.File) (sent bool, err error) {
	due := f.GroupOpen() && f.GroupDue() <= 0
	if due && s.rest == nil {
		grown, err := f.Grown()
		if err != nil {
			return false, err
		}
		if !grown && s.followed(f) {
			s.rest, _ = f.TakeRest() // what cannot be taken is sent as it is
		}
	}
	f.KeepGroup(!due)
	defer f.KeepGroup(false)
	return s.readFile(ctx, f)
}

// followed reports whether another file comes after the one that is read.
func (s *stream) followed(f *tail.File) bool {
	if len(s.queue) > 1 || !s.current {
		return len(s.queue) > 1
	}
	g, err := s.c.statGeneration(s.path)
	return err == nil && g.id != f.ID()
}

// passRest gives what was taken to the file that follows, or sends it as it is
// when there is none any more, or it was read before.
func (s *stream) passRest(ctx context.Context) (busy bool, err error) {
	r := s.rest
	switch {
	case r == nil:
		return false, nil
	case len(s.queue) == 0 && s.nextReady(), len(s.queue) > 0 && s.queue[0] == r.Of() && s.followed(r.Of()):
		return false, nil // it is about to be opened
	}
	s.rest = nil
	if len(s.queue) > 0 && s.queue[0] != r.Of() && s.queue[0].Follow(r) {
		return true, nil
	}
	if b := r.Unfinished(); !s.send(ctx, b) {
		return false, ctx.Err()
	}
	return true, nil
}
