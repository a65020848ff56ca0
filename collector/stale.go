package collector

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"logferry/collector/tail"
)

// A network file system may forget what a descriptor stood for: its server was
// replaced, or the file was removed there. Every call then says ESTALE. The
// descriptor is closed, the file is opened again by its name, and if it is the
// same one it is read on where its reader stopped.

// dropIfStale closes the descriptors that an error says are stale: that of f, which
// a read showed to be so, and those that a look shows to be so.
func (s *stream) dropIfStale(f *tail.File, err error) {
	if !errors.Is(err, unix.ESTALE) {
		return
	}
	for _, other := range s.files() {
		_, _, err := other.Stat()
		if !other.IsOpen() || (other != f && !errors.Is(err, unix.ESTALE)) {
			continue
		}
		other.Drop()
		s.c.metrics.stale.Inc()
		s.c.notices.warn("a file handle went stale, the file is opened again by its name",
			"path", s.path, "file", other.ID().String(), "read", other.Offset(), "error", err)
	}
}

// reopenStale opens a file again whose handle went stale. The file may have
// another name by now. If it has none that leads to it, the server has removed it
// and what was not read of it is out of reach.
func (s *stream) reopenStale(f *tail.File) error {
	err := f.Reopen()
	if errors.Is(err, tail.ErrOther) || errors.Is(err, fs.ErrNotExist) {
		err = s.reopenRenamed(f)
	}
	if errors.Is(err, tail.ErrTruncated) {
		return s.restart(f)
	}
	return err
}

func (s *stream) reopenRenamed(f *tail.File) error {
	n, err := s.c.look(s.path)
	if err != nil {
		return err
	}
	paths := n.all()
	for _, dir := range s.places() {
		n, err := s.lookInto(dir, false)
		if err != nil {
			return err
		}
		paths = append(paths, n.all()...)
	}
	for _, p := range paths {
		g, err := s.c.statGeneration(p)
		if err != nil {
			if err = s.doWithout(p, err); err != nil {
				return err
			}
			continue
		}
		if g.id == f.ID() {
			f.Renamed(p)
			return f.Reopen()
		}
	}
	s.giveUp(f, abandonedStale)
	return nil
}
