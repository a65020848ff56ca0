package collector

import (
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
	if f.GroupDue() <= 0 {
		return true, false
	}
	if s.groupUntil.IsZero() {
		s.groupUntil = time.Now().Add(max(s.c.cfg.GroupQuiet, s.c.cfg.RotateWait))
	}
	if wait = s.waiting(); !wait {
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
