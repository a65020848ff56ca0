package collector

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// deletedEvery is how often open files are asked whether they are deleted.
const deletedEvery = 10 * time.Second

// Deleted bounds what deleted files hold on the disk because they are not yet
// read to their end. A file that several tasks read counts once. It may be
// used from several goroutines; one serves all collectors of an agent.
type Deleted struct {
	most int64 // 0: no bound

	mu    sync.Mutex
	files map[checkpoint.FileID]*deletedFile
	bytes int64
	next  uint64
}

// deletedFile is a file without a name and those who read it.
type deletedFile struct {
	size    int64
	order   uint64 // in which they were found to be deleted
	readers map[*stream]*tail.File
	letGo   bool // its readers are told, and it counts no more
}

// NewDeleted bounds deleted files to most bytes, or not at all if most is 0,
// and shows what they hold.
func NewDeleted(most int64, reg prometheus.Registerer) *Deleted {
	d := &Deleted{most: most, files: map[checkpoint.FileID]*deletedFile{}}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "logferry_deleted_files_bytes",
		Help: "Bytes on the disk that deleted files hold because they are still read; bounded by deleted_files.max_bytes, if that is set.",
	}, func() float64 { return float64(d.Bytes()) }))
	return d
}

// Bytes is what deleted files hold now.
func (d *Deleted) Bytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

// hold notes a deleted file and its size. When there are too many bytes, the
// files that were deleted first are taken from all who read them.
func (d *Deleted) hold(s *stream, f *tail.File, size int64) {
	d.mu.Lock()
	if !f.IsOpen() { // it was released since it was looked at, and must not count again
		d.mu.Unlock()
		return
	}
	df := d.files[f.ID()]
	if df == nil {
		df = &deletedFile{order: d.next, readers: map[*stream]*tail.File{}}
		d.next++
		d.files[f.ID()] = df
	}
	_, told := df.readers[s]
	df.readers[s] = f
	if df.letGo {
		d.mu.Unlock()
		if !told {
			d.take(s, f, size)
		}
		return
	}
	d.bytes += size - df.size
	df.size = size
	victims := d.overLocked()
	d.mu.Unlock()
	for _, v := range victims {
		d.take(v.s, v.f, v.size)
	}
}

// take makes a stream let go of a file.
func (d *Deleted) take(s *stream, f *tail.File, size int64) {
	s.c.log.Warn("deleted files hold more than deleted_files.max_bytes, the oldest is let go; raise the bound, let rotation keep files for longer, or mend what keeps them from being delivered",
		"path", s.path, "file", f.ID().String(), "size", size, "max_bytes", d.most)
	s.abandon(f)
}

// victim is a file that one of its readers is to let go.
type victim struct {
	s    *stream
	f    *tail.File
	size int64
}

// overLocked chooses the files that are let go. They stay known until their readers
// have done so, so that they are not counted once more.
func (d *Deleted) overLocked() (victims []victim) {
	for d.most > 0 && d.bytes > d.most {
		var oldest *deletedFile
		for _, df := range d.files {
			if !df.letGo && (oldest == nil || df.order < oldest.order) {
				oldest = df
			}
		}
		for s, f := range oldest.readers {
			victims = append(victims, victim{s, f, oldest.size})
		}
		d.bytes -= oldest.size
		oldest.letGo = true
	}
	return victims
}

// release notes that a stream does not hold a file any more.
func (d *Deleted) release(s *stream, id checkpoint.FileID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	df := d.files[id]
	if df == nil {
		return
	}
	if delete(df.readers, s); len(df.readers) > 0 {
		return
	}
	delete(d.files, id)
	if !df.letGo {
		d.bytes -= df.size
	}
}

// lookDeleted finds the deleted files among those that are open.
func (c *Collector) lookDeleted() {
	type deleted struct {
		s        *stream
		f        *tail.File
		size, at int64
	}
	var found []deleted
	for _, s := range c.all() {
		for _, f := range s.files() {
			if size, at := f.Deleted(); at != 0 {
				found = append(found, deleted{s, f, size, at})
			} else {
				c.deps.Deleted.release(s, f.ID())
			}
		}
	}
	slices.SortFunc(found, func(a, b deleted) int { return cmp.Compare(a.at, b.at) })
	for _, d := range found {
		c.deps.Deleted.hold(d.s, d.f, d.size)
	}
}

// abandon makes the stream let go of a file. A tailer that waits for the
// budget or the queue, as it does while nothing can be delivered, is interrupted.
func (s *stream) abandon(f *tail.File) {
	s.mu.Lock()
	s.doomed = append(s.doomed, f)
	if s.interrupt != nil {
		s.interrupt()
		s.mu.Unlock()
		return
	}
	s.giveUpDoomedLocked()
	s.mu.Unlock()
	s.wake()
}

// interruptible begins a turn of the tailer: what is doomed is given up, and
// from now on stop ends the turn, which closes stopped.
func (s *stream) interruptible(stop context.CancelFunc, stopped <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUpDoomedLocked()
	s.interrupt, s.stopped = stop, stopped
}

func (s *stream) giveUpDoomedLocked() {
	for _, f := range s.doomed {
		if slices.Contains(s.all, f) && f.IsOpen() {
			s.giveUp(f, abandonedDeleted)
		}
	}
	s.doomed = nil
}

// countUnread names what of a deleted file is lost because the collector ends
// while it is not delivered. One that may have been compressed is not lost: it is
// looked for by its content at the next start.
func (s *stream) countUnread(f *tail.File) {
	if !f.IsOpen() {
		return
	}
	size, linked, err := f.Stat()
	if st := f.Status(); err == nil && !linked && st.Committed < size && !s.hasPackedSince(f.Birth()) {
		s.lost(f, abandonedStopped, st.Committed, size-st.Committed)
	}
	s.c.deps.Deleted.release(s, f.ID())
}
