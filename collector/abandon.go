package collector

import "logferry/collector/tail"

// Why unread bytes of a file are given up.
const (
	abandonedStale = "stale_handle" // the file is gone from its server
)

// giveUp closes a file that is not read to its end, and counts and names what
// is lost with it.
func (s *stream) giveUp(f *tail.File, cause string) (bytes int64) {
	at := f.Offset()
	bytes = f.GiveUp()
	s.c.metrics.abandoned.WithLabelValues(cause).Add(float64(bytes))
	if bytes > 0 {
		s.c.log.Warn(givenUpMessages[cause], "path", s.path, "file", f.ID().String(), "read", at, "bytes", bytes)
	}
	return bytes
}

var givenUpMessages = map[string]string{
	abandonedStale: "a file is gone from its file server before it was read to its end; its last bytes are lost: let rotation keep files until they are collected",
}
