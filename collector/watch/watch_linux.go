package watch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	dirMask  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	keptMask = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF
	fileMask = keptMask | unix.IN_ONESHOT
)

// maxEvent is the length of an event with the longest name, in bytes.
const maxEvent = unix.SizeofInotifyEvent + unix.NAME_MAX + 1

// Watcher reads one inotify instance. It may be used from several goroutines.
type Watcher struct {
	f   *os.File
	fd  int
	log *slog.Logger

	mu    sync.Mutex
	ended bool // fd is closed; its number may belong to somebody else
	dirs  map[int32]map[*Watch]func(Event)
	files map[int32]watched
}

// watched is a file. keeps says that the kernel keeps its watch after an event,
// which it does for as long as one of those who wait for it wants every write.
type watched struct {
	all   []*Watch // nearly always one, of very many files
	keeps bool
}

// Watch is one registration, ended with Close.
type Watch struct {
	w    *Watcher
	wd   int32
	file func()           // of a file
	kept func(plain bool) // of a file that is watched on
}

// fire tells of an event; plain says that it was a write, and that a kept watch goes on.
func (h *Watch) fire(plain bool) {
	if h.kept != nil {
		h.kept(plain)
		return
	}
	h.file()
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
		dirs: map[int32]map[*Watch]func(Event){}, files: map[int32]watched{},
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
	return w.file(path, &Watch{w: w, file: fn})
}

// Keep calls fn(true) at every write to or truncation of the file at path, and
// fn(false) when anything else happens to it, or when events were lost, and
// never after that. Otherwise it is as File. It is for files that are written to
// now and then: a watch that is kept saves arming it for each line.
func (w *Watcher) Keep(path string, fn func(plain bool)) (*Watch, error) {
	return w.file(path, &Watch{w: w, kept: fn})
}

func (w *Watcher) file(path string, h *Watch) (*Watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mask := uint32(fileMask)
	if h.kept != nil {
		mask = keptMask
	}
	wd, err := w.addLocked(path, mask)
	if err != nil {
		return nil, err
	}
	of := w.files[int32(wd)]
	if h.kept == nil && of.keeps { // it is no longer: the kernel has one mask a file
		again, err := w.addLocked(path, keptMask)
		if err == nil && again != wd { // it fired in between
			again, err = w.addLocked(path, fileMask)
		}
		if err != nil {
			return nil, err
		}
		wd, of = again, w.files[int32(again)]
	}
	h.wd = int32(wd)
	of.all, of.keeps = append(of.all, h), of.keeps || h.kept != nil
	w.files[h.wd] = of
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
	ended := w.ended
	w.ended = true
	w.mu.Unlock()
	if !ended {
		_ = w.f.Close() // waits for the function that is handed an event, which may need the lock
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
	of := w.files[h.wd]
	i := slices.Index(of.all, h)
	if i < 0 {
		return
	}
	if len(of.all) > 1 {
		of.all = slices.Concat(of.all[:i], of.all[i+1:]) // who is told of an event just now has the list as it was
		w.files[h.wd] = of
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
	raw, err := w.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("read inotify: %w", err)
	}
	buf := make([]byte, 64<<10)
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		failed = w.readOn(fd, buf)
		return failed != nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("read inotify: %w", cmp.Or(failed, err))
}

// readOn hands out what is there. What comes later makes fd readable anew.
//
// The reads are not announced to the runtime, which would wake its monitor thread:
// they never block.
func (w *Watcher) readOn(fd uintptr, buf []byte) error {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)))
		switch errno {
		case 0:
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
			continue
		default:
			return errno
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
			b = b[size:]
			w.dispatch(wd, mask, name)
		}
		if len(buf)-int(n) >= maxEvent {
			return nil // another event would have had room
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
	plain := mask == unix.IN_MODIFY
	files, ok := w.firedLocked(wd, plain, mask&unix.IN_IGNORED != 0)
	if m := w.dirs[wd]; !ok && m != nil {
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
		h.fire(plain)
	}
	for _, fn := range dirs {
		fn(ev)
	}
}

// firedLocked returns who is to be told of an event of a file, and forgets those
// who are told once. gone says that the kernel has no such watch any more. ok is
// false when it is no file's.
func (w *Watcher) firedLocked(wd int32, plain, gone bool) (told []*Watch, ok bool) {
	of, ok := w.files[wd]
	if !ok {
		return nil, false
	}
	if plain && of.keeps {
		once := func(h *Watch) bool { return h.kept == nil }
		if !slices.ContainsFunc(of.all, once) {
			return of.all, true // as for each line of a file that gets one now and then
		}
		told = of.all
		if of.all = slices.DeleteFunc(slices.Clone(told), once); len(of.all) > 0 {
			w.files[wd] = of
			return told, true
		}
		of.all = told
	}
	delete(w.files, wd)
	if of.keeps && !gone {
		w.removeLocked(wd)
	}
	return of.all, true
}

// wakeAll answers lost events: every directory is told to look again, and
// every file watch fires.
func (w *Watcher) wakeAll() {
	w.mu.Lock()
	var files []*Watch
	var dirs []func(Event)
	for wd, of := range w.files {
		files = append(files, of.all...)
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
		h.fire(false)
	}
	for _, fn := range dirs {
		fn(Event{Overflow: true})
	}
}
