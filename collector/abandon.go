package collector

import "logferry/collector/tail"

// Why bytes of a file are given up.
const (
	abandonedStale   = "stale_handle" // the file is gone from its server
	abandonedDeleted = "deleted"      // deleted files held more than they may
	abandonedStopped = "stopped"      // the task ended while a deleted file was not delivered
	abandonedPipe    = "pipe"         // the task ended while what was read of a named pipe was not delivered
)

// abandonedMessages says what happened, and what prevents it.
var abandonedMessages = map[string]string{
	abandonedStale:   "a file is gone from its file server before it was read to its end; its last bytes are lost: let rotation keep files until they are collected",
	abandonedDeleted: "a deleted file is let go before it was read to its end; its last bytes are lost: raise deleted_files.max_bytes, or let rotation keep files until they are collected",
	abandonedStopped: "the task ends while a deleted file is not delivered to its end; its last bytes are lost: let rotation keep files until they are collected",
}

// giveUp closes a file that is not read to its end, and counts and names what
// is lost with it.
func (s *stream) giveUp(f *tail.File, cause string) {
	at := f.Offset()
	s.lost(f, cause, at, f.GiveUp())
	s.c.deps.Deleted.release(s, f.ID())
}

// lost counts and names n bytes from an offset on that nobody will read.
func (s *stream) lost(f *tail.File, cause string, at, n int64) {
	if n <= 0 {
		return
	}
	s.c.abandoned.Add(n)
	s.c.metrics.abandoned.WithLabelValues(cause).Add(float64(n))
	s.c.log.Warn(abandonedMessages[cause], "path", s.path, "file", f.ID().String(), "from_offset", at, "bytes", n)
}

// Abandoned is how many bytes were given up since the collector was made.
func (c *Collector) Abandoned() int64 { return c.abandoned.Load() }
