package collector

import (
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// FileStatus is a moment's view of one file, for the API.
type FileStatus struct {
	Task       string    `json:"task"`
	Path       string    `json:"path"`
	File       string    `json:"file"`       // "device-inode" in hex
	State      FileState `json:"state"`      //
	Size       int64     `json:"size_bytes"` //
	Read       int64     `json:"read_bytes"` // offset of the next line to read
	Committed  int64     `json:"committed_bytes"`
	LagBytes   int64     `json:"lag_bytes"`         // size less committed
	LagSeconds float64   `json:"lag_seconds"`       // since when the committed offset is behind; 0 when it is not
	Started    time.Time `json:"started"`           // when this agent began to read the file
	Deleted    bool      `json:"deleted,omitempty"` // no name leads to it; its disk space is free once it is read
	Error      string    `json:"error,omitempty"`
}

// FileState says what a file is doing.
type FileState string

const (
	FileReading FileState = "reading" // its tailer runs
	FileQuiet   FileState = "quiet"   // read to its end, its tailer sleeps
	FileClosed  FileState = "closed"  // quiet for close_inactive, its descriptor is closed
	FileRotated FileState = "rotated" // renamed or deleted, still watched
	FileFailed  FileState = "failed"  // it cannot be opened or read; it is tried again

	// Of a task that reads once, besides reading and failed.
	FileWaiting FileState = "waiting" // its turn has not come
	FileEnded   FileState = "ended"   // delivered to its end
)

// FileStates lists the states of files that are followed, for the metric.
var FileStates = []FileState{FileReading, FileQuiet, FileClosed, FileRotated, FileFailed}

// Totals sums up the files of one task.
type Totals struct {
	Files      map[FileState]int
	LagBytes   int64
	LagSeconds float64 // of the file that is furthest behind
}

// Count is the number of files.
func (t Totals) Count() (n int) {
	for _, in := range t.Files {
		n += in
	}
	return n
}

// Files lists what is collected at this moment.
func (c *Collector) Files() []FileStatus {
	var out []FileStatus
	c.eachFile(func(st FileStatus, id checkpoint.FileID) {
		out = append(out, st.named(id))
	})
	return out
}

// Totals sums up what is collected at this moment. It costs no memory for each
// file, as it is asked for at each scrape.
func (c *Collector) Totals() Totals {
	t := newTotals(FileStates)
	c.eachFile(func(st FileStatus, _ checkpoint.FileID) { t.add(st) })
	return t
}

// newTotals counts no file in each of the states.
func newTotals(states []FileState) Totals {
	t := Totals{Files: make(map[FileState]int, len(states))}
	for _, st := range states {
		t.Files[st] = 0
	}
	return t
}

func (t *Totals) add(st FileStatus) {
	t.Files[st.State]++
	t.LagBytes += st.LagBytes
	t.LagSeconds = max(t.LagSeconds, st.LagSeconds)
}

// eachFile calls yield for each file, without the name of its id; a path that
// was not opened yet has none.
func (c *Collector) eachFile(yield func(FileStatus, checkpoint.FileID)) {
	for _, s := range c.all() {
		s.eachFile(yield)
	}
}

// eachFile does that for one path.
func (s *stream) eachFile(yield func(FileStatus, checkpoint.FileID)) {
	s.mu.Lock()
	running, lastErr, all := s.running, s.lastErr, s.all
	s.mu.Unlock()
	st := FileStatus{Task: s.c.cfg.Task, Path: s.path, State: FileReading, Started: s.started}
	if lastErr != nil {
		st.State, st.Error = FileFailed, lastErr.Error()
	}
	if len(all) == 0 {
		yield(st, checkpoint.FileID{})
	}
	for _, f := range all {
		t := f.Status()
		yield(st.of(t, running, s.c.now()), t.ID)
	}
}

// named adds the name of the file's id.
func (st FileStatus) named(id checkpoint.FileID) FileStatus {
	if id != (checkpoint.FileID{}) {
		st.File = id.String()
	}
	return st
}

// of returns the status with what t tells of one file.
func (st FileStatus) of(t tail.Status, running bool, now time.Time) FileStatus {
	st.Size, st.Read, st.Committed, st.LagBytes, st.Deleted = t.Size, t.Read, t.Committed, max(t.Size-t.Committed, 0), t.Deleted
	switch {
	case st.State == FileFailed:
	case t.Rotated:
		st.State = FileRotated
	case running:
		st.State = FileReading
	case t.Open:
		st.State = FileQuiet
	default:
		st.State = FileClosed
	}
	switch {
	case !t.Oldest.IsZero():
		st.LagSeconds = time.Since(t.Oldest).Seconds()
	case st.LagBytes > 0:
		st.LagSeconds = max(now.Sub(t.Moved), 0).Seconds()
	}
	return st
}
