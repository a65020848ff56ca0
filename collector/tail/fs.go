package tail

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FS is how files are reached: the system calls that reading needs, and no
// others. Kernel is what an agent uses; tests put one before it that fails.
//
// Errors wrap the kernel's numbers, so that errors.Is(err, unix.EIO) works.
// It is used from many goroutines.
type FS interface {
	// Look asks what stands under path, symbolic links followed.
	Look(path string) (Info, error)
	// Open opens a file for reading, without waiting for anything.
	Open(path string, links Links) (fd int, err error)
	// Inspect asks what an open file is, its creation time included.
	Inspect(fd int) (Info, error)
	// Size asks for the size in bytes of an open file, and whether any name
	// still leads to it. It is asked before each read.
	Size(fd int) (size int64, linked bool, err error)
	// Pread reads at an offset; 0 bytes mean the end. It may read less than asked for.
	Pread(fd int, b []byte, off int64) (int, error)
	// PreadNow is Pread of what is in memory, and says what the size is afterwards.
	// It never waits: unix.EAGAIN asks for a Pread, and unix.EOPNOTSUPP says
	// that the file system has no such reads.
	PreadNow(fd int, b []byte, off int64) (n int, size int64, err error)
	// ReadDir lists a directory, in any order.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Close gives a descriptor back.
	Close(fd int)
}

// Links says which links an open may pass on its way.
type Links uint8

const (
	LinksAll     Links = iota // all: what was opened is not looked at
	LinksOfFiles              // symbolic links; not those of /proc, which lead into what other processes see
	LinksRefused              // none, in no part of the path
)

// Kernel is the file system of this host.
type Kernel struct{}

// Look implements FS.
func (Kernel) Look(path string) (Info, error) { return Look(path) }

// Open implements FS.
func (Kernel) Open(path string, links Links) (fd int, err error) {
	err = ignoringEINTR(func() (err error) {
		fd, err = openFile(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, links)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Size implements FS.
func (Kernel) Size(fd int) (size int64, linked bool, err error) {
	var st unix.Stat_t
	err = ignoringEINTR(func() error { return unix.Fstat(fd, &st) })
	return st.Size, st.Nlink > 0, err
}

// Pread implements FS.
func (Kernel) Pread(fd int, b []byte, off int64) (n int, err error) {
	err = ignoringEINTR(func() error { n, err = unix.Pread(fd, b, off); return err })
	return max(n, 0), err
}

// ReadDir implements FS.
func (Kernel) ReadDir(dir string) ([]fs.DirEntry, error) {
	// A named pipe in the directory's place must not be waited for.
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	return d.ReadDir(-1)
}

// Close implements FS.
func (Kernel) Close(fd int) { _ = unix.Close(fd) }

// fs is the file system that a task's files are on.
func (d *Deps) fs() FS {
	if d.FS == nil {
		return Kernel{}
	}
	return d.FS
}

func (d *Deps) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// readFull reads until b is full or the file ends.
func readFull(fs FS, fd int, b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		m, err := fs.Pread(fd, b[n:], off+int64(n))
		if err != nil || m == 0 {
			return n, err
		}
		n += m
	}
	return n, nil
}
