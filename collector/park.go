package collector

import (
	"time"

	"logferry/collector/tail"
	"logferry/collector/watch"
)

// park arms a watch on every file, looks once more, and ends the tailer. It
// returns false when there is something to do after all.
//
// The order matters: a write between the last read and the watch is found by the look
// that follows the arming; a write after it wakes the stream.
func (s *stream) park(failed error) bool {
	if failed == nil {
		s.closeQuiet()
		s.watchFiles()
		f := s.currentFile()
		if s.changed() || (f != nil && f.Rewritten()) {
			s.unwatch()
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken || len(s.doomed) > 0 {
		s.woken = false
		s.unwatchLocked()
		for _, f := range s.all {
			f.Suspect()
		}
		return false
	}
	s.setTimerLocked(failed)
	s.looked = time.Now()
	s.running, s.interrupt, s.stopped = false, nil, nil
	return true
}

// closeQuiet gives back the descriptor of a current file that was quiet for
// close_inactive.
func (s *stream) closeQuiet() {
	f := s.currentFile()
	if f == nil || !f.IsOpen() || !f.Idle() || f.GroupOpen() {
		return
	}
	if time.Since(s.active) >= s.c.cfg.CloseInactive {
		f.Close()
	}
}

func (s *stream) currentFile() *tail.File {
	if len(s.queue) == 1 && s.current {
		return s.queue[0]
	}
	return nil
}

func (s *stream) watchFiles() {
	if s.c.cfg.Poll || s.c.deps.Watcher == nil {
		return
	}
	s.keepOnly(s.currentFile())
	for _, f := range s.files() {
		kept, err := s.keepWatch(f)
		if kept {
			continue
		}
		var w *watch.Watch
		if err == nil {
			w, err = s.c.deps.Watcher.File(f.WatchPath(), s.touched)
		}
		if err != nil {
			if !vanished(err) {
				s.c.pollToo(err)
			}
			continue
		}
		s.mu.Lock()
		s.watches = append(s.watches, w)
		s.mu.Unlock()
	}
}

func (s *stream) unwatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwatchLocked()
}

func (s *stream) unwatchLocked() {
	for _, w := range s.watches {
		w.Close()
	}
	s.watches = nil
	if s.timer != nil {
		s.timer.Stop()
	}
}

// files lists everything that the stream holds, as last published.
func (s *stream) files() []*tail.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// changed looks whether there is anything new to read, without reading.
func (s *stream) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changedLocked()
}

// setTimerLocked wakes the stream when something is due without any event:
// another try, the end of a rotated file's wait, or the closing of a quiet descriptor.
func (s *stream) setTimerLocked(failed error) {
	var d time.Duration
	f := s.currentFile()
	switch {
	case outOfDescriptors(failed):
		d = s.c.retry // files that are done are closed all the time
	case failed != nil:
		d = min(s.c.retry<<min(s.failures-1, 10), maxRetryDelay)
	case len(s.late) > 0:
		d = s.c.cfg.RotateWait
		for _, l := range s.late {
			d = min(d, dueIn(l.quietSince, s.c.cfg.RotateWait))
		}
		if len(s.queue) == 0 {
			d = min(d, lateLook) // a symbolic link's next file appears in a directory that is not watched
		}
	case f != nil && f.IsOpen():
		d = dueIn(s.active, s.c.cfg.CloseInactive)
	}
	if due := s.groupDue(); failed == nil && due > 0 && (d == 0 || due < d) {
		d = due
	}
	if d == 0 {
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.wake)
	} else {
		s.timer.Reset(d)
	}
}

// dueIn is the time left of wait since a moment. When nothing is left, what
// is waited for are acknowledgements: another full wait, because that may take long.
func dueIn(since time.Time, wait time.Duration) time.Duration {
	if left := wait - time.Since(since); left > 0 {
		return left + time.Millisecond
	}
	return wait
}

// lateLook is how often a rotated file is looked at while the current one is
// being read without a rest, and how often the next file is looked for.
const lateLook = 200 * time.Millisecond

// wakeIfChanged wakes a parked stream whose file has changed; for polling.
func (s *stream) wakeIfChanged() {
	s.mu.Lock()
	parked := !s.running && !s.gone
	changed := parked && (!s.opened || s.lastErr != nil || s.changedLocked())
	s.mu.Unlock()
	if changed {
		s.wake()
	}
}

func (s *stream) changedLocked() bool {
	for _, f := range s.all {
		if grown, err := f.Grown(); err != nil || grown {
			return true
		}
	}
	if s.waiting() {
		return false
	}
	f := s.currentFile()
	if f == nil {
		return s.nextReady()
	}
	g, err := s.c.statGeneration(s.path)
	before := s.mtime
	s.mtime = g.mtime
	rewritten := !s.running && g.mtime != before // cut and written again to the same size
	return err != nil || g.id != f.ID() || rewritten || (!f.IsOpen() && f.Differs(g.size, g.birth))
}

// closeParked gives back the descriptor of a parked stream's current file, and
// reports whether there was one to give.
func (s *stream) closeParked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.gone {
		return false
	}
	f := s.currentFile()
	if f == nil || !f.IsOpen() || !f.Idle() || f.GroupOpen() {
		return false
	}
	f.Close()
	return true
}

// tried reports whether the stream has tried to open its files.
func (s *stream) tried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.triedOpen
}
