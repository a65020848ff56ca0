package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	dirMask  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	fileMask = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_ONESHOT
)

// Watcher reads one inotify instance. It may be used from several goroutines.
type Watcher struct {
	f   *os.File
	fd  int
	log *slog.Logger

	mu    sync.Mutex
	ended bool // fd is closed; its number may belong to somebody else
	dirs  map[int32]map[*Watch]func(Event)
	files map[int32][]*Watch // nearly always one, of very many
}

// Watch is one registration, ended with Close.
type Watch struct {
	w    *Watcher
	wd   int32
	file func() // of a file
}

// New opens an inotify instance.
func New(log *slog.Logger) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		if errors.Is(err, unix.EMFILE) {
			return nil, fmt.Errorf("open inotify: no instances left; raise fs.inotify.max_user_instances: %w", err)
		}
		return nil, fmt.Errorf("open inotify: %w", err)
	}
	return &Watcher{
		f: os.NewFile(uintptr(fd), "inotify"), fd: fd, log: log,
		dirs: map[int32]map[*Watch]func(Event){}, files: map[int32][]*Watch{},
	}, nil
}

// Dir calls fn for each name that appears in or leaves a directory. fn runs on
// the watcher's goroutine and must not block.
func (w *Watcher) Dir(path string, fn func(Event)) (*Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.addLocked(path, dirMask)
	if err != nil {
		return nil, err
	}
	h := &Watch{w: w, wd: int32(wd)}
	if w.dirs[h.wd] == nil {
		w.dirs[h.wd] = map[*Watch]func(Event){}
	}
	w.dirs[h.wd][h] = fn
	return h, nil
}

// File calls fn at the first write to, truncation, rename or deletion of the
// file at path (which may be a /proc/self/fd name), and never after that. fn
// runs on the watcher's goroutine and must not block. Look at the file once
// more after arming it: what was written before is not reported.
func (w *Watcher) File(path string, fn func()) (*Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.addLocked(path, fileMask)
	if err != nil {
		return nil, err
	}
	h := &Watch{w: w, wd: int32(wd), file: fn}
	w.files[h.wd] = append(w.files[h.wd], h)
	return h, nil
}

func (w *Watcher) addLocked(path string, mask uint32) (int, error) {
	if w.ended {
		return 0, ErrEnded
	}
	wd, err := unix.InotifyAddWatch(w.fd, path, mask)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return 0, ErrLimit
	case err != nil:
		return 0, fmt.Errorf("watch %s: %w", path, err)
	}
	return wd, nil
}

func (w *Watcher) removeLocked(wd int32) {
	if !w.ended {
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
	}
}

// end closes the instance, and with it every watch.
func (w *Watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		_ = w.f.Close()
	}
}

// Close ends a registration; the function is not called after it returned,
// unless the call is under way. Closing twice, or after a one-shot fired, does nothing.
func (h *Watch) Close() {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.dirs[h.wd]; m != nil {
		if delete(m, h); len(m) == 0 {
			delete(w.dirs, h.wd)
			w.removeLocked(h.wd)
		}
		return
	}
	all := w.files[h.wd]
	i := slices.Index(all, h)
	if i < 0 {
		return
	}
	if all = slices.Delete(all, i, i+1); len(all) > 0 {
		w.files[h.wd] = all
		return
	}
	delete(w.files, h.wd)
	w.removeLocked(h.wd)
}

// Run hands events out until ctx ends, then closes the instance.
func (w *Watcher) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.end)
	defer stop()
	defer w.end()
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read inotify: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
			b = b[size:]
			w.dispatch(wd, mask, name)
		}
	}
}

func (w *Watcher) dispatch(wd int32, mask uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.log.Warn("inotify queue overflowed, everything is looked at again; raise fs.inotify.max_queued_events if this repeats")
		w.wakeAll()
		return
	}
	w.mu.Lock()
	var dirs []func(Event)
	files, ok := w.files[wd]
	if ok {
		delete(w.files, wd)
	} else if m, ok := w.dirs[wd]; ok {
		for _, fn := range m {
			dirs = append(dirs, fn)
		}
		if mask&unix.IN_IGNORED != 0 {
			delete(w.dirs, wd)
		}
	}
	w.mu.Unlock()

	ev := Event{
		Name: name, IsDir: mask&unix.IN_ISDIR != 0,
		Gone:     mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0,
		Overflow: mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_UNMOUNT) != 0,
	}
	for _, h := range files {
		h.file()
	}
	for _, fn := range dirs {
		fn(ev)
	}
}

// wakeAll answers lost events: every directory is told to look again, and
// every file watch fires.
func (w *Watcher) wakeAll() {
	w.mu.Lock()
	var files []*Watch
	var dirs []func(Event)
	for wd, all := range w.files {
		files = append(files, all...)
		delete(w.files, wd)
		w.removeLocked(wd)
	}
	for _, m := range w.dirs {
		for _, fn := range m {
			dirs = append(dirs, fn)
		}
	}
	w.mu.Unlock()
	for _, h := range files {
		h.file()
	}
	for _, fn := range dirs {
		fn(Event{Overflow: true})
	}
}
