package collector

import (
	"time"

	"logferry/collector/tail"
	"logferry/collector/watch"
)

// A file that gets a line now and then costs most by what is done around the
// line: a watch is armed, the file and its path are looked at before and after,
// a tailer begins and ends. So once a file has woken its stream, its watch is
// kept, and what is written to it is read in the watcher's call, without waiting
// for anything. Whatever is not as simple as that is left to the tailer.

const (
	// trickleFor is how long lines are read in this way until the tailer looks
	// once more at all that it knows of the path.
	trickleFor = time.Second
	// hurried is how many lines in a row may come within gatherWithin of each other
	// until the file counts as a busy one, whose lines are gathered.
	hurried = 3
)

// trickle is the kept watch of a stream's current file.
type trickle struct {
	file  *tail.File
	watch *watch.Watch
	over  bool // it tells nothing more; guarded by the stream's mu, as is hurry
	hurry int  // lines in a row that came soon after the one before
}

// touched wakes the stream for the first change of one of its files.
func (s *stream) touched() {
	s.mu.Lock()
	s.touchedOnce = true
	s.mu.Unlock()
	s.wake()
}

// keepWatch watches a file on, if it is one that may be read in the watcher's
// call. Only the tailer calls it.
func (s *stream) keepWatch(f *tail.File) (kept bool, err error) {
	s.mu.Lock()
	k, touched := s.trickle, s.touchedOnce
	kept = k != nil && k.file == f && !k.over
	s.mu.Unlock()
	switch {
	case kept:
		return true, nil
	case !touched || len(s.late) > 0 || f != s.currentFile() || !f.Plain():
		return false, nil
	}
	k = &trickle{file: f}
	s.setTrickle(k) // first: what it tells from now on is not to be missed
	k.watch, err = s.c.deps.Watcher.Keep(f.WatchPath(), func(plain bool) { s.trickled(k, plain) })
	if err != nil {
		s.setTrickle(nil)
	}
	return err == nil, err
}

func (s *stream) setTrickle(k *trickle) {
	s.mu.Lock()
	s.trickle = k
	s.mu.Unlock()
}

// endTrickleLocked gives the kept watch up.
func (s *stream) endTrickleLocked() {
	if k := s.trickle; k != nil {
		k.watch.Close()
		s.trickle = nil
	}
}

func (s *stream) endTrickle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endTrickleLocked()
}

// keepOnly gives the kept watch up unless it is a living one of f.
func (s *stream) keepOnly(f *tail.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.trickle; k != nil && (k.file != f || k.over) {
		s.endTrickleLocked()
	}
}

// trickled is told of each write to the file of k, and at last of anything else.
func (s *stream) trickled(k *trickle, plain bool) {
	s.mu.Lock()
	k.over = k.over || !plain
	current := s.trickle == k
	done := current && plain && !s.running && !s.gone && s.readTrickleLocked(k)
	s.mu.Unlock()
	if current && !done {
		s.wake()
	}
}

// readTrickleLocked reads what was written to the file of a parked stream. false
// leaves it to the tailer.
func (s *stream) readTrickleLocked(k *trickle) (done bool) {
	now := time.Now()
	if now.Sub(s.looked) > trickleFor || s.lastErr != nil || len(s.doomed) > 0 || len(s.unsent) > 0 {
		return false
	}
	if k.hurry++; now.Sub(s.active) >= gatherWithin {
		k.hurry = 0
	}
	if k.hurry >= hurried {
		s.endTrickleLocked()
		return false
	}
	b, done := k.file.ReadNow()
	if b == nil {
		return done
	}
	s.active = now
	select {
	case s.c.out <- b:
		return true
	default:
		s.unsent = append(s.unsent, b)
		return false
	}
}
