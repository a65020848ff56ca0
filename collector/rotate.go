package collector

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// checkPath looks whether the path still leads to the file that was just
// read to its end. If not, the file is read once more, because it may have
// been written to before it was renamed, and the next one takes its place.
func (s *stream) checkPath(ctx context.Context, f *tail.File) (rotated bool, err error) {
	g, err := s.c.statGeneration(s.path)
	switch {
	case err == nil && g.id == f.ID():
		return false, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	kind := "rename"
	if _, linked, err := f.Stat(); err == nil && !linked {
		kind = "delete"
	}
	if err := s.drain(ctx, f); err != nil {
		return false, err
	}
	if s.queue[0] != f {
		return true, nil // it was truncated too: its copies come first
	}
	s.c.metrics.rotations.WithLabelValues(kind).Inc()
	s.rotateOut(f)
	return true, nil
}

// drain reads a renamed file to its end. While its writer goes on, so does
// drain, for rotate_wait: after that only what was there is read before the
// next file's turn comes, and the rest counts as late.
func (s *stream) drain(ctx context.Context, f *tail.File) error {
	until, bound := time.Now().Add(s.c.cfg.RotateWait), int64(-1)
	for queued := len(s.queue); len(s.queue) == queued; {
		sent, err := s.readFile(ctx, f)
		if err != nil || !sent {
			return err
		}
		if bound < 0 && time.Now().After(until) {
			if bound, _, err = f.Stat(); err != nil {
				return err
			}
		}
		if bound >= 0 && f.Offset() >= bound {
			return nil
		}
	}
	return nil
}

// rotateOut moves the first file of the queue to the late ones.
func (s *stream) rotateOut(f *tail.File) {
	s.endUnpack()
	if s.current && len(s.queue) == 1 {
		s.cutAt = moment{} // the next file is another one
	}
	s.queue = s.queue[1:]
	s.current = s.current && len(s.queue) > 0
	s.late = append(s.late, lateFile{f, time.Now()})
	f.SetRotated()
	s.remember(f, true)
	s.publish()
}

// remember keeps what is needed to recognise a generation in a directory.
func (s *stream) remember(f *tail.File, done bool) {
	if s.known == nil {
		s.known = map[checkpoint.FileID]checkpoint.State{}
	}
	s.learn(f)
	st := f.Checkpoint()
	st.Done = done
	if old := s.known[f.ID()]; isReplaced(old, st.Birth) {
		s.known[traceID(old)] = old
	}
	s.known[f.ID()] = st
}

// nextGeneration opens what came after the file that was rotated away: the
// path's new file, and those that came and went in between.
func (s *stream) nextGeneration() error {
	known := map[checkpoint.FileID]checkpoint.State{}
	for id, st := range s.known {
		st.Done = true // all of them are read to their end, or among the late ones
		known[id] = st
	}
	files, current, err := s.openGenerations(known)
	s.active = time.Now()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	missed := len(files)
	if current {
		missed--
	}
	s.c.metrics.rotations.WithLabelValues("missed").Add(float64(missed))
	s.setQueue(files, current)
	return nil
}

// nextReady reports whether a file stands under the path that no other
// stream is reading.
func (s *stream) nextReady() bool {
	g, err := s.c.statGeneration(s.path)
	return err == nil && s.c.ownable(g.id)
}

// reopenFailed answers a parked file that is no longer where it was.
func (s *stream) reopenFailed(f *tail.File, err error) (bool, error) {
	switch {
	case errors.Is(err, tail.ErrTruncated):
		err := s.restart(f)
		return err == nil, err
	case !errors.Is(err, tail.ErrOther) && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	s.remember(f, false)
	s.c.deps.Deleted.release(s, f.ID())
	s.c.disown(f.ID())
	s.c.metrics.rotations.WithLabelValues("rename").Inc()
	s.opened, s.cutAt = false, moment{}
	s.setQueue(nil, false)
	err = s.open()
	return err == nil, err
}

// lateWrites reads what was appended to rotated files, and lets those go
// that have been quiet long enough.
func (s *stream) lateWrites(ctx context.Context) (busy bool, err error) {
	s.lateLooked, s.lateHot = time.Now(), false
	var failed error // what cannot be read does not hold the others
	for i := 0; i < len(s.late); i++ {
		l := &s.late[i]
		sent, err := s.readFile(ctx, l.File)
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		if sent {
			l.quietSince, s.lateHot = time.Now(), true
			return true, nil
		}
		if time.Since(l.quietSince) < s.c.cfg.RotateWait {
			continue
		}
		b, err := l.Final(ctx)
		if err != nil {
			s.dropIfStale(l.File, err)
			failed = cmp.Or(failed, err)
			continue
		}
		if b != nil {
			return s.send(ctx, b), nil
		}
		if l.Idle() {
			s.letGo(i)
			return true, nil
		}
	}
	return false, failed
}

// letGo closes a rotated file that is read and delivered to its end.
func (s *stream) letGo(i int) {
	f := s.late[i].File
	_, linked, err := f.Stat()
	if err == nil && !linked {
		s.learn(f)
		s.keepTrace(f)
		f.Forget()
		delete(s.known, f.ID())
	} else {
		f.MarkDone()
		s.remember(f, true)
	}
	f.Close()
	s.c.deps.Deleted.release(s, f.ID())
	s.late = append(s.late[:i], s.late[i+1:]...)
	s.forgetOldGenerations()
	s.publish()
	s.c.disown(f.ID())
	s.c.lookSoon() // it may be collected under its new name
}

func (s *stream) forgetOldGenerations() {
	for len(s.known) > keptGenerations {
		var oldest checkpoint.FileID
		for id, st := range s.known {
			if o, ok := s.known[oldest]; !ok || st.Birth < o.Birth {
				oldest = id
			}
		}
		delete(s.known, oldest)
	}
}
