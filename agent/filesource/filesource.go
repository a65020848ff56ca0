// Package filesource yields the tasks of local files. Its promise: a file
// that cannot be read or is wrong never stops what runs; its last good tasks
// stay, and the refusal names the file and the line.
package filesource

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"logferry/agent/task"
)

// Config says where task files are.
type Config struct {
	// Globs are doublestar globs of task files, YAML or JSON. A relative one
	// begins in the working directory of New's caller.
	Globs []string
	// CheckInterval is how often the files are read again without any event;
	// default 30s.
	CheckInterval time.Duration
	// Debounce is how long the directories must be quiet after a change before
	// the files are read; default 100ms.
	Debounce time.Duration
}

// SetDefaults fills in what is not set.
func (c *Config) SetDefaults() {
	if c.CheckInterval == 0 {
		c.CheckInterval = 30 * time.Second
	}
	if c.Debounce == 0 {
		c.Debounce = 100 * time.Millisecond
	}
}

// Validate reports a configuration that cannot work.
func (c Config) Validate() error {
	if len(c.Globs) == 0 {
		return fmt.Errorf("tasks.files: is empty; list globs such as /etc/logferry/tasks.d/*.yaml")
	}
	for i, g := range c.Globs {
		if g == "" || !doublestar.ValidatePattern(g) {
			return fmt.Errorf("tasks.files[%d]: %q is not a valid glob; close its brackets and braces", i, g)
		}
	}
	if c.CheckInterval < 0 || c.Debounce < 0 {
		return fmt.Errorf("tasks.files: negative interval; leave it out for the default")
	}
	return nil
}

// maxDelay bounds how long changes that never end can put off the reading of
// files, in multiples of Config.Debounce.
const maxDelay = 10

// Source is the task.Source of local files. Reload may be called from any
// goroutine, Run once.
type Source struct {
	cfg    Config
	log    *slog.Logger
	reload chan struct{}
	files  fileSet
}

var _ task.Source = (*Source)(nil)

// New returns a source that reads nothing before Run.
func New(cfg Config, log *slog.Logger) (*Source, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	globs := make([]string, len(cfg.Globs))
	for i, g := range cfg.Globs {
		full, err := filepath.Abs(g)
		if err != nil {
			return nil, fmt.Errorf("resolve tasks.files glob %q: %w", g, err)
		}
		globs[i] = full
	}
	cfg.Globs = globs
	return &Source{cfg: cfg, log: log, reload: make(chan struct{}, 1), files: newFileSet(globs)}, nil
}

// Name returns "files".
func (s *Source) Name() string { return "files" }

// Reload asks Run to read all files now and to publish, whether or not
// anything changed. It does not wait.
func (s *Source) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// Run implements task.Source.
func (s *Source) Run(ctx context.Context, publish func(task.Snapshot)) error {
	w := newWatcher(s.log)
	defer w.close()
	s.refresh(true, w, publish)

	check := time.NewTicker(s.cfg.CheckInterval)
	defer check.Stop()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	defer settled.Stop()
	var firstChange time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.reload:
			s.refresh(true, w, publish)
		case <-check.C:
			s.refresh(false, w, publish)
		case <-settled.C:
			firstChange = time.Time{}
			s.refresh(false, w, publish)
		case event := <-w.changes():
			if !s.files.concerns(event.Name) {
				continue
			}
			if firstChange.IsZero() {
				firstChange = time.Now()
			}
			left := maxDelay*s.cfg.Debounce - time.Since(firstChange)
			settled.Reset(max(0, min(s.cfg.Debounce, left)))
		case err := <-w.errors():
			s.log.Warn("watch on task files failed, reading all of them again", "error", err)
			s.refresh(false, w, publish)
		}
	}
}

// refresh reads the files and publishes what they say if it is new, or always.
func (s *Source) refresh(always bool, w *watcher, publish func(task.Snapshot)) {
	// The watch comes before the reading, so that no change falls between. What
	// was read may name further directories.
	for range 10 {
		dirs := s.files.directories()
		w.cover(dirs)
		snapshot, changed, refused := s.files.read()
		for _, r := range refused {
			s.log.Warn("task file refused, what ran before stays", "task", r.Name, "origin", r.Origin, "error", r.Error)
		}
		if changed || always {
			publish(snapshot)
		}
		always = false
		if maps.Equal(dirs, s.files.directories()) {
			return
		}
	}
}
