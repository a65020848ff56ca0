package collector

import "time"

// The clock that stamps files may be set at any moment, back or forward, by
// hours. What is measured within one run is measured by the clock that nobody can
// set. Where a stamp has to be compared with a moment, the clock may have been
// set back in between: the moment is taken as early as it may have been, or the
// names of the files decide.

// moment is one of this run, or of an earlier one if at is zero.
type moment struct {
	wall int64     // by the clock that stamps files, Unix nanoseconds; 0: none
	at   time.Time // by the clock that nobody sets
}

func (c *Collector) now() time.Time {
	if c.deps.Now != nil {
		return c.deps.Now()
	}
	return time.Now()
}

func (c *Collector) moment() moment { return moment{c.now().UnixNano(), time.Now()} }

// earliest is when a moment was, by the clock that stamps files now: what was
// made after it was stamped with this or later.
func (c *Collector) earliest(m moment) int64 {
	if m.at.IsZero() {
		return m.wall
	}
	return min(m.wall, c.now().UnixNano()-int64(time.Since(m.at)))
}

// noteClock sees a clock that is set back, and forward again later. Only the loop calls it.
func (c *Collector) noteClock() { c.began.wall = c.earliest(c.began) }

// maxSkew is how far the clock of a file server may be ahead.
const maxSkew = time.Minute

// ahead reports whether a stamp lies in the future: the clock was set back since.
func (c *Collector) ahead(stamp int64) bool { return stamp > c.now().Add(maxSkew).UnixNano() }

// madeSince is the stamp that tells what came after a moment at which a file
// was looked at. If that lies in the future, the file's own creation stands for it,
// but no more than what the store remembers of the copies that were read.
func (c *Collector) madeSince(at, birth int64) int64 {
	if !c.ahead(at) {
		return at
	}
	return max(birth, c.now().Add(-forgetAfter).UnixNano())
}
