package collector

import (
	"log/slog"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/rate"
	"logferry/collector/shape"
	"logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
)

// Config says which files one collector reads, and how.
type Config struct {
	Task string // for metrics, checkpoints and the records' source
	Host string // the agent's id

	Paths   []string // absolute doublestar globs
	Exclude []string // globs; without a slash they match the base name
	Links   tail.Links
	Allow   func(path, resolved string) error // see tail.Deps

	StartEnd      bool          // files of the first look: only what is appended later
	IgnoreOlder   time.Duration // 0: none; files unchanged for longer start at their end
	CloseInactive time.Duration
	RotateWait    time.Duration
	Poll          bool
	PollInterval  time.Duration
	Reconcile     time.Duration // how often everything is looked at again, events or not

	Drain          time.Duration // how long what was read of a named pipe may take to be handed on once the task ends
	MaxLineBytes   int
	DropLong       bool
	KeepCR         bool
	Unit           frame.Unit                          // what the files' text consists of
	Groups         *frame.Groups                       // which lines are one record; nil: each one is
	GroupQuiet     time.Duration                       // how long a file must be quiet until its last group, or a container's line of which parts are missing, is complete
	Wrapped        func(path string) *frame.Containers // how the lines of the file at a path are wrapped; nil, or a nil result: not at all
	Shape          *shape.Shape                        // what is left out of the records, and replaced in them; nil: nothing
	Envelope       *envelope.Envelope                  // what records carry beside their text; nil: what they have by themselves
	Throttle       *rate.Limiter                       // holds reading to a rate; nil: it is held to none
	RecordOverhead int                                 // bytes that the sink holds a record beside its value
}

// Deps is what the collectors of an agent share.
type Deps struct {
	Store   *checkpoint.Store
	Watcher *watch.Watcher // nil: everything is polled
	Pool    *tail.Pool
	FS      tail.FS          // nil: tail.Kernel
	Now     func() time.Time // the clock that stamps files; nil: time.Now
	Budget  tail.Budget      // this task's part
	Deleted *Deleted         // what deleted files may hold; nil: anything
	Metrics *Metrics
	Log     *slog.Logger
	Tap     func(b *record.Batch) // shown each batch as it is sent, by the goroutine that read it; must not wait or keep it. nil: nobody looks
}
