package filesource

import (
	"log/slog"

	"github.com/fsnotify/fsnotify"
)

// watcher tells when something happens in a set of directories. Without
// inotify it stays silent, and the periodic check does the work.
type watcher struct {
	log    *slog.Logger
	fs     *fsnotify.Watcher // nil: inotify is not to be had
	failed map[string]bool   // directories whose failure was logged
}

func newWatcher(log *slog.Logger) *watcher {
	w := &watcher{log: log, failed: map[string]bool{}}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("cannot watch task files, reading them periodically; raise fs.inotify.max_user_instances", "error", err)
		return w
	}
	w.fs = fs
	return w
}

// cover makes dirs the directories that are watched. Each one is added anew:
// that costs nothing when it is watched already, and finds the new directory
// when another one has taken its name.
func (w *watcher) cover(dirs map[string]bool) {
	if w.fs == nil {
		return
	}
	for _, d := range w.fs.WatchList() {
		if !dirs[d] {
			// It fails only if the kernel dropped the watch with its directory.
			_ = w.fs.Remove(d)
		}
	}
	for d := range dirs {
		err := w.fs.Add(d)
		if err != nil && !w.failed[d] {
			w.log.Warn("cannot watch directory of task files, reading it periodically", "path", d, "error", err)
		}
		w.failed[d] = err != nil
	}
}

func (w *watcher) changes() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

func (w *watcher) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

func (w *watcher) close() {
	if w.fs != nil {
		_ = w.fs.Close()
	}
}
