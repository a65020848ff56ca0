package collector

import (
	"errors"
	"io/fs"

	"logferry/collector/tail"
)

// siblingTries is how often in a row a path is tried again because something
// beside it cannot be looked at: two minutes, at the pace of retryDelay.
const siblingTries = 8

// doWithout answers a file beside the path that cannot be looked at, although
// it may hold lines of the path that were not read. An error is to be tried
// again: the files behind it wait. nil says that this went on for too long;
// the file is done without, and named.
func (s *stream) doWithout(path string, err error) error {
	switch {
	case outOfDescriptors(err):
		return err
	case s.failures >= siblingTries:
		s.c.metrics.errors.Inc()
		s.c.log.Warn("a file that may hold unread lines cannot be looked at and is done without; make it readable, and collect it under its own name if they are missing",
			"path", path, "of", s.path, "error", err)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return tail.ErrOther // renamed since its directory was listed: list it again
	}
	return err
}

// lookFailed notes that nobody knows what stands under a path. It is looked
// at again soon. Only the loop calls it.
func (c *Collector) lookFailed(path string, err error) {
	c.metrics.errors.Inc()
	c.refuse(path, err)
	c.unlooked = true
	if outOfDescriptors(err) {
		c.makeRoom(1, err)
	}
}
