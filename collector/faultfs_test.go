package collector

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"logferry/collector/tail"
)

// errShort makes a read yield one byte of what it was asked for.
var errShort = errors.New("short read")

// faultFS is the kernel's file system with a fault before it: each operation
// is counted and may be made to fail.
type faultFS struct {
	tail.Kernel
	fault  func(op operation) error // nil: the operation is done
	strict bool                     // no name is missing that is there

	mu    sync.Mutex
	count int
	done  []operation
	open  map[int]string // descriptor → path
	bad   []string       // what must never be done
}

// operation is one call: the n-th, from 0.
type operation struct {
	n          int
	name, path string
	fd         int // -1: it names a path
}

func (o operation) String() string { return fmt.Sprintf("%d: %s %s", o.n, o.name, o.path) }

func newFaultFS(fault func(operation) error) *faultFS {
	return &faultFS{fault: fault, open: map[int]string{}}
}

// next counts an operation and says how it is to fail.
func (f *faultFS) next(name, path string, fd int) error {
	f.mu.Lock()
	op := operation{f.count, name, path, fd}
	f.count++
	f.done = append(f.done, op)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	if err := fault(op); err != nil {
		if errors.Is(err, unix.ENOENT) && name != "open" && (name != "look" || f.strict || filepath.Ext(path) == ".log") {
			err = unix.EIO // a name that is there is not missing; one that was listed may be
		}
		return &fs.PathError{Op: name, Path: path, Err: err}
	}
	return nil
}

// set puts another fault in place.
func (f *faultFS) set(fault func(operation) error) {
	f.mu.Lock()
	f.fault = fault
	f.mu.Unlock()
}

func (f *faultFS) heal() { f.set(nil) }

func (f *faultFS) pathOf(fd int, name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, ok := f.open[fd]
	if !ok {
		f.bad = append(f.bad, fmt.Sprintf("%s of descriptor %d, which is not open", name, fd))
	}
	return path
}

// leaked lists what was opened and not closed, and what was done to
// descriptors that were not open.
func (f *faultFS) leaked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := append([]string(nil), f.bad...)
	for fd, path := range f.open {
		list = append(list, fmt.Sprintf("descriptor %d of %s is still open", fd, path))
	}
	return list
}

func (f *faultFS) Look(path string) (tail.Info, error) {
	if err := f.next("look", path, -1); err != nil {
		return tail.Info{}, err
	}
	return f.Kernel.Look(path)
}

func (f *faultFS) Open(path string, links tail.Links) (int, error) {
	if err := f.next("open", path, -1); err != nil {
		return -1, err
	}
	fd, err := f.Kernel.Open(path, links)
	if err == nil {
		f.mu.Lock()
		f.open[fd] = path
		f.mu.Unlock()
	}
	return fd, err
}

func (f *faultFS) Inspect(fd int) (tail.Info, error) {
	if err := f.next("inspect", f.pathOf(fd, "inspect"), fd); err != nil {
		return tail.Info{}, err
	}
	return f.Kernel.Inspect(fd)
}

func (f *faultFS) Size(fd int) (int64, bool, error) {
	if err := f.next("size", f.pathOf(fd, "size"), fd); err != nil {
		return 0, false, err
	}
	return f.Kernel.Size(fd)
}

func (f *faultFS) Pread(fd int, b []byte, off int64) (int, error) {
	err := f.next("pread", f.pathOf(fd, "pread"), fd)
	switch {
	case errors.Is(err, errShort):
		b = b[:min(len(b), 1)]
	case err != nil:
		return 0, err
	}
	return f.Kernel.Pread(fd, b, off)
}

func (f *faultFS) PreadNow(fd int, b []byte, off int64) (int, int64, error) {
	err := f.next("pread now", f.pathOf(fd, "pread now"), fd)
	switch {
	case errors.Is(err, errShort):
		b = b[:min(len(b), 1)]
	case err != nil:
		return 0, 0, err
	}
	return f.Kernel.PreadNow(fd, b, off)
}

func (f *faultFS) ReadDir(dir string) ([]os.DirEntry, error) {
	if err := f.next("readdir", dir, -1); err != nil {
		return nil, err
	}
	return f.Kernel.ReadDir(dir)
}

func (f *faultFS) Close(fd int) {
	_ = f.pathOf(fd, "close")
	f.mu.Lock()
	delete(f.open, fd)
	f.mu.Unlock()
	f.Kernel.Close(fd)
}

// once fails the n-th operation, and no other.
func once(n int, err error) func(operation) error {
	return func(op operation) error {
		if op.n == n {
			return err
		}
		return nil
	}
}
