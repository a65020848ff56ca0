package deadletter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockPause is the time between two attempts to get a lock that another holds.
const lockPause = 2 * time.Millisecond

// lockDir keeps everybody else from changing the letters of a directory. A
// directory needs no rights but to be read, and no file beside the letters.
// Where the file system has no such locks, who comes has it.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil, unlockable(err):
			return func() { _ = d.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, errors.Join(ctx.Err(), d.Close())
		}
	}
}

func unlockable(err error) bool {
	for _, e := range []error{syscall.EBADF, syscall.ENOLCK, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// appendLine appends a line, newline included, and brings it to the disk. A
// line that an earlier failure left unfinished is ended first, so that it
// spoils no other.
func appendLine(path string, line []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if size == 0 {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// replaceFile puts a new file in the place of one that exists, with its owner
// and mode, and returns it open.
func replaceFile(name string, content []byte) (f *os.File, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	fresh := name + ".new"
	f, err = os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, info.Mode().Perm())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(fresh))
			f = nil
		}
	}()
	giveTo(f, info)
	if _, err := f.Write(content); err != nil {
		return f, err
	}
	if err := f.Sync(); err != nil {
		return f, err
	}
	if err := os.Rename(fresh, name); err != nil {
		return f, err
	}
	return f, syncDir(filepath.Dir(name))
}

// giveTo lets a file that root made belong to whom another one belongs, so
// that the agent can go on with it.
func giveTo(f *os.File, owner os.FileInfo) {
	if st, ok := owner.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
