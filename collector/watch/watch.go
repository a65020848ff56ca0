// Package watch wakes whoever waits for a file or a directory. One Watcher
// serves the whole agent, because the kernel allows 128 inotify instances a
// user.
//
// A directory is watched for names that come and go, never for writes: a
// watch that reports every write costs half a core at a few hundred thousand
// writes a second. A file is watched only while nobody reads it, and only for
// its first write: the watch is one-shot and armed again when the file is
// quiet once more. The watch of a file that is written to now and then is kept.
package watch

import "errors"

// ErrUnsupported means that this system has no inotify: everything is polled.
var ErrUnsupported = errors.New("file watches are not supported on this system")

// ErrLimit means that the kernel's watch limit is reached.
var ErrLimit = errors.New("no inotify watches left; raise fs.inotify.max_user_watches")

// ErrEnded means that the watcher's Run has ended.
var ErrEnded = errors.New("the watcher has ended")

// Event is one change of a directory.
type Event struct {
	Name     string // the entry's name within the directory; empty when everything may have changed
	IsDir    bool   // the entry is a directory
	Gone     bool   // the name was removed or renamed away
	Overflow bool   // events were lost, or the directory itself is gone: look at everything again
}
