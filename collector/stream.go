package collector

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
)

// stream is one path: the files that stood behind it, read one after the
// other.
//
// It is either parked or running. While it runs, its tailer goroutine alone
// touches the fields below mu's; while it is parked, whoever holds mu may.
type stream struct {
	c         *Collector
	path      string
	firstLook bool              // found by the first look at its glob
	foundID   checkpoint.FileID // what stood under path when it was found
	foundBorn int64             // its creation or else its last change, Unix nanoseconds; 0: nothing is known of it
	old       bool              // older than ignore_older when it was found
	started   time.Time
	known     map[checkpoint.FileID]checkpoint.State // generations collected before; nil for a new path

	mu      sync.Mutex
	running bool
	woken   bool // something happened while it ran
	gone    bool // removed; never runs again

	interrupt context.CancelFunc // ends the tailer's turn; nil while it does not run
	doomed    []*tail.File       // to be given up
	stopped   <-chan struct{}    // closed when the turn ends; for the tailer alone, while it runs

	watches []*watch.Watch
	trickle *trickle  // the kept watch of the current file; nil: none
	looked  time.Time // when the tailer parked last
	timer   *time.Timer
	all     []*tail.File // every file below, for Files and Close
	lastErr error
	told    string    // the error that was last reported; for the tailer alone
	toldAt  time.Time // and when
	mtime   int64     // of the current file, when it was last looked at

	triedOpen   bool                     // guarded by mu
	touchedOnce bool                     // guarded by mu; a watch has told of a change
	elsewhere   atomic.Pointer[[]string] // see places
	truncates   atomic.Bool              // the path's file was truncated before: a fresh sibling may be its copy

	opened  bool
	queue   []*tail.File // to read, oldest first
	current bool         // the last of queue stands under path itself
	late    []lateFile   // rotated away, watched for late writes
	active  time.Time    // when something was last read, or the file was last changed before

	lateLooked   time.Time       // when the late files were last looked at
	lateHot      bool            // that look found something
	searched     bool            // generations were searched for since the stream woke
	cutAt        moment          // when the current file was truncated, until its first line is read
	lookedBehind bool            // copies were searched for since the stream woke
	failures     int             // tries in a row that failed
	groupUntil   time.Time       // how long the open group of the first file keeps the next one waiting; zero: it does not
	unpacking    *tail.File      // the compressed file that is read in a slot
	rest         *tail.Rest      // what the last file ended with, for the next one; see readCurrent
	unsent       []*record.Batch // read in a turn that was interrupted
	awaited      bool            // the first look waits for it; guarded by the collector's mu
}

// lateFile is a file that was rotated away and is read to its end.
type lateFile struct {
	*tail.File
	quietSince time.Time
}

func newStream(c *Collector, path string, firstLook bool, known map[checkpoint.FileID]checkpoint.State) *stream {
	now := time.Now()
	s := &stream{c: c, path: path, firstLook: firstLook, known: known, started: now, active: now}
	s.recall(known)
	return s
}

// wake starts the tailer, or makes a running one look once more before it
// parks.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
	case s.running:
		s.woken = true
	default:
		s.running = s.c.start(s)
	}
}

// run is the tailer: it reads until there is nothing to read and every file
// is watched, then parks.
func (s *stream) run(ctx context.Context) {
	s.unwatch()
	s.searched, s.lookedBehind = false, false
	for _, f := range s.files() {
		f.Suspect()
	}
	for ctx.Err() == nil {
		if s.turn(ctx) {
			return // the stream may be another tailer's by now
		}
	}
	s.endUnpack()
}

// turn does what run says. It returns false when it was interrupted, and with
// true the stream is no longer the caller's.
func (s *stream) turn(ctx context.Context) (ended bool) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.interruptible(stop, ctx.Done())
	turn := time.Now()
	for ctx.Err() == nil {
		busy, err := s.step(ctx)
		if ctx.Err() != nil {
			return false
		}
		s.note(err)
		if busy {
			if time.Since(turn) > turnTime {
				s.c.turns.yield()
				turn = time.Now()
			}
			continue
		}
		s.endUnpack()
		if err == nil { // else there may be more, which could not be looked for
			var done bool
			if done, err = s.finished(); done && s.retire() {
				return true
			}
			if err != nil {
				s.note(err)
			}
		}
		if s.park(err) {
			return true
		}
		s.searched, s.lookedBehind = false, false // something happened since
	}
	return false
}

// warnPause is the least time between two warnings of one path: whoever may write
// to its directory can bring trouble as often as he likes.
const warnPause = 10 * time.Second

// note remembers what keeps the stream from reading, and reports it once.
func (s *stream) note(err error) {
	s.mu.Lock()
	before := s.lastErr
	s.lastErr = err
	s.mu.Unlock()
	if isRefusal(before) && !isRefusal(err) {
		s.c.accept(s.path)
	}
	if s.failures > 0 || outOfDescriptors(err) {
		s.c.starved(s, err)
	}
	if err == nil {
		s.failures, s.told = 0, ""
		return
	}
	s.failures++
	s.dropIfStale(nil, err)
	s.c.metrics.errors.Inc()
	if !s.opened {
		s.c.refuse(s.path, err)
		return
	}
	if isRefusal(err) {
		s.c.leave(s.path, err.Error())
	}
	if s.told != err.Error() && time.Since(s.toldAt) >= warnPause && !outOfDescriptors(err) {
		s.told, s.toldAt = err.Error(), time.Now()
		s.c.log.Warn("a file cannot be read, it is tried again", "path", s.path, "error", err)
	}
}

// isRefusal tells what must not be read from what cannot be read now.
func isRefusal(err error) bool {
	return errors.Is(err, tail.ErrNotAllowed) || errors.Is(err, tail.ErrNotRegular)
}

// step does one thing: open, read a batch, or notice a rotation. It returns
// false when nothing is left to do at this moment.
func (s *stream) step(ctx context.Context) (busy bool, err error) {
	for len(s.unsent) > 0 {
		b := s.unsent[0]
		s.unsent = s.unsent[1:]
		if !s.deliver(ctx, b) {
			s.unsent = append([]*record.Batch{b}, s.unsent...)
			return false, ctx.Err()
		}
	}
	if !s.opened {
		err := s.open()
		s.c.opened(s)
		if err != nil {
			return false, err
		}
	}
	busy, err = s.readOn(ctx)
	if ctx.Err() != nil || (busy && !s.lateDue()) {
		return busy, err
	}
	late, lateErr := s.lateWrites(ctx)
	return busy || late, cmp.Or(err, lateErr)
}

// readOn reads the path's files in their order, or opens the next.
func (s *stream) readOn(ctx context.Context) (busy bool, err error) {
	if busy, err := s.passRest(ctx); busy || err != nil {
		return busy, err
	}
	if len(s.queue) == 0 {
		if !s.nextReady() && (s.searched || s.known == nil) {
			return false, nil
		}
		s.searched = true // with no file under the path, one search for each wake-up
		err := s.nextGeneration()
		return err == nil && len(s.queue) > 0, err
	}
	f := s.queue[0]
	if f.Stale() {
		if err := s.reopenStale(f); err != nil {
			return false, err
		}
	} else if !f.IsOpen() && !f.GivenUp() {
		if err := f.Reopen(); err != nil {
			return s.reopenFailed(f, err)
		}
	}
	if found, err := s.lookBehind(f); found || err != nil {
		return found, err
	}
	next, err := s.lateFirst(ctx, f)
	if err != nil {
		return false, err
	}
	if ctx.Err() != nil { // the rotated files may not be read to their end
		return false, ctx.Err()
	}
	if next {
		if !s.beginUnpack(f) {
			return false, ctx.Err()
		}
		sent, err := s.readCurrent(ctx, f)
		if sent || err != nil {
			return sent, err
		}
	}
	if busy, wait := s.waitsForGroup(f); busy || wait {
		return busy, nil
	}
	if len(s.queue) > 1 || !s.current {
		s.rotateOut(f)
		return true, nil
	}
	return s.checkPath(ctx, f)
}

// lateFirst reads the rotated files once more before the first line of the
// next one: once that line is there, the lines that were written to them
// before it are there too. What keeps a rotated file from being read is told by lateWrites.
//
// It reports whether the next one may be read: not when its first line is not
// there yet, as it may come at this moment, behind late lines that nobody looked
// for. With an error it keeps its turn.
func (s *stream) lateFirst(ctx context.Context, f *tail.File) (next bool, err error) {
	if f.Offset() > 0 || f.GroupOpen() || len(s.late) == 0 {
		return true, nil
	}
	if grown, err := f.Grown(); err != nil || !grown {
		return false, err
	}
	for i := range s.late {
		l := &s.late[i]
		at := l.Offset()
		_ = s.drain(ctx, l.File)
		if l.Offset() != at {
			l.quietSince = time.Now()
		}
	}
	return true, nil
}

// lateDue reports whether the rotated files have their turn although there is
// more to read in the current one: a file that never rests must not keep them
// open, and their late writes waiting, for ever.
func (s *stream) lateDue() bool {
	return len(s.late) > 0 && (s.lateHot || time.Since(s.lateLooked) >= lateLook)
}

// open finds the files of the path at the stream's first run.
func (s *stream) open() error {
	if g, err := s.c.statGeneration(s.path); !wasCollected(s.known) && s.foundBorn != 0 && (err != nil || g.id != s.foundID) {
		// Renamed between its discovery and now: look for it by its identity.
		s.known = map[checkpoint.FileID]checkpoint.State{s.foundID: {Birth: s.foundBorn}}
	}
	files, current, err := s.openGenerations(s.known)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.c.accept(s.path)
	s.opened = true
	s.setQueue(files, current)
	return nil
}

// take makes an opened file a part of the stream: it gets its source and its
// place to start from. false when another stream reads it already. When the
// file was truncated since it was last read, cut is what was stored of it: its
// copies are to be found before it is marked. With an error nothing is taken.
func (s *stream) take(f *tail.File, g generation, isCurrent, pathKnown bool) (taken bool, cut *checkpoint.State, err error) {
	if !s.c.own(f.ID(), s) {
		return false, nil, nil
	}
	defer func() {
		if err != nil {
			s.c.disown(f.ID())
		}
	}()
	s.label(f)
	st, stored := g.state, g.known
	if !stored {
		st, stored = s.c.deps.Store.Get(s.c.cfg.Task, f.ID())
	}
	same := stored && f.Resume(st)
	if err := f.Unsure(); err != nil {
		return false, nil, err
	}
	switch {
	case same:
		if isCurrent && st.Offset == 0 && st.Head.Len == 0 {
			s.cutAt = moment{wall: st.Updated.UnixNano()} // it was empty: nothing would tell a truncation
		}
	case stored:
		s.c.log.Info("the file is not the one that was read before, it is read from its beginning",
			"path", g.path, "file", f.ID().String(), "committed", st.Offset)
		if isCurrent && (st.Birth == 0 || st.Birth == f.Birth()) {
			return true, &st, nil
		}
	case isCurrent && !pathKnown && (s.old || (s.firstLook && s.c.cfg.StartEnd)):
		if err := f.SeekToLastLine(); err != nil {
			return false, nil, err
		}
	}
	if stored {
		s.setAside(f.ID(), f.Birth())
	}
	f.Mark()
	if !stored { // a kill from now on must not make it a file that was never seen
		s.c.deps.Store.FlushSoon()
	}
	return true, nil, nil
}

// label tells a file whose lines it holds.
func (s *stream) label(f *tail.File) {
	f.SetSource(&record.Source{Task: s.c.cfg.Task, Host: s.c.cfg.Host, Path: s.path, File: f.ID().String()})
	f.SetElsewhere(&s.elsewhere)
}

func (s *stream) setQueue(files []*tail.File, current bool) {
	s.queue, s.current = files, current
	s.publish()
}

// publish makes the files visible to Files and Close.
func (s *stream) publish() {
	all := append([]*tail.File(nil), s.queue...)
	for _, l := range s.late {
		all = append(all, l.File)
	}
	s.mu.Lock()
	s.all = all
	s.mu.Unlock()
}

// readFile sends the next batch of f, and lets a file that is being written
// gather for a moment.
func (s *stream) readFile(ctx context.Context, f *tail.File) (sent bool, err error) {
	if f.Stale() {
		if err := s.reopenStale(f); err != nil {
			return false, err
		}
	}
	b, err := f.Read(ctx)
	s.dropIfStale(f, err)
	switch {
	case errors.Is(err, tail.ErrTruncated):
		err := s.restart(f)
		return err == nil, err
	case err != nil || b == nil:
		return false, err
	}
	rested := time.Since(s.active)
	if !s.send(ctx, b) {
		return false, ctx.Err()
	}
	if !f.Full() && rested < gatherWithin {
		if s.trickle != nil { // of a tailer that runs nobody else makes or ends it
			s.endTrickle()
		}
		pause(ctx, gatherPause)
	}
	return true, nil
}

// restart reads a truncated file from its beginning, after what its copy holds
// of it.
func (s *stream) restart(f *tail.File) error {
	var copies []*tail.File
	s.cutAt = s.c.moment()
	if len(s.queue) > 0 && s.queue[0] == f {
		var err error
		if copies, err = s.copiesOf(f.Before(), f, func(c *tail.File) { c.TakeOver(f) }); err != nil {
			return err
		}
	}
	s.c.metrics.truncations.Inc()
	s.c.log.Info("file was truncated, it is read from its beginning",
		"path", s.path, "file", f.ID().String(), "copies", len(copies))
	f.Reset() // after the copies have their place in the store
	if len(copies) > 0 {
		s.queue = append(copies, s.queue...)
		s.publish()
	}
	return nil
}

// send hands a batch on. One that cannot be handed on before ctx ends goes
// first in the next turn.
func (s *stream) send(ctx context.Context, b *record.Batch) bool {
	s.active = time.Now()
	if ctx.Err() == nil && s.deliver(ctx, b) {
		return true
	}
	s.unsent = append(s.unsent, b)
	return false
}

func (s *stream) deliver(ctx context.Context, b *record.Batch) bool {
	select {
	case s.c.out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// keptGenerations bounds what one path remembers of its past.
const keptGenerations = 64

// finished reports whether nothing of the path is left.
func (s *stream) finished() (bool, error) {
	if len(s.queue) > 0 || len(s.late) > 0 {
		return false, nil
	}
	g, err := s.c.statGeneration(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && !s.c.ownable(g.id), err
}

// retire ends the stream; not when something happened that it has not looked at.
func (s *stream) retire() bool {
	s.mu.Lock()
	if s.woken {
		s.mu.Unlock()
		return false
	}
	s.gone, s.running, s.interrupt = true, false, nil
	s.endTrickleLocked()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.c.remove(s)
	return true
}
