package collector

import (
	"log/slog"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
)

// Config says which files one collector reads, and how.
type Config struct {
	Task string // for metrics, checkpoints and the records' source
	Host string // the agent's id

	Paths   []string // absolute doublestar globs
	Exclude []string // globs; without a slash they match the base name
	Allow   func(resolved string) error

	StartEnd      bool          // files of the first look: only what is appended later
	IgnoreOlder   time.Duration // 0: none; files unchanged for longer start at their end
	CloseInactive time.Duration
	RotateWait    time.Duration
	Poll          bool
	PollInterval  time.Duration
	Reconcile     time.Duration // how often everything is looked at again, events or not

	MaxLineBytes   int
	DropLong       bool
	KeepCR         bool
	RecordOverhead int // bytes that the sink holds a record beside its value
}

// Deps is what the collectors of an agent share.
type Deps struct {
	Store   *checkpoint.Store
	Watcher *watch.Watcher // nil: everything is polled
	Pool    *tail.Pool
	FS      tail.FS     // nil: tail.Kernel
	Budget  tail.Budget // this task's part
	Metrics *Metrics
	Log     *slog.Logger
}

// FileStatus is a moment's view of one file, for the API.
type FileStatus struct {
	Task       string    `json:"task"`
	Path       string    `json:"path"`
	File       string    `json:"file"`       // "device-inode" in hex
	State      FileState `json:"state"`      //
	Size       int64     `json:"size_bytes"` //
	Read       int64     `json:"read_bytes"` // offset of the next line to read
	Committed  int64     `json:"committed_bytes"`
	LagBytes   int64     `json:"lag_bytes"`   // size less committed
	LagSeconds float64   `json:"lag_seconds"` // since when the committed offset is behind; 0 when it is not
	Started    time.Time `json:"started"`     // when this agent began to read the file
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
)

// FileStates lists all states, for the metric.
var FileStates = []FileState{FileReading, FileQuiet, FileClosed, FileRotated, FileFailed}
