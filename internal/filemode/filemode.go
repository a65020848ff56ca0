// Package filemode tells whether a file of this program is open to users whom
// it does not belong to.
package filemode

import (
	"os"

	"golang.org/x/sys/unix"
)

// OthersMayWrite reports whether every user of the host may change what an open
// file says. On a file system that is mounted for reading only nobody may,
// whatever the file's mode.
func OthersMayWrite(f *os.File) bool {
	if !allows(f, 0o002) {
		return false
	}
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &fs)
	return err != nil || !readOnly(&fs)
}

// OthersMayRead reports whether every user of the host may read the file at a
// path, or write to it. It is false of a file that is not there.
func OthersMayRead(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return allows(f, 0o006)
}

// allows looks at regular files alone: what a pipe or a device is open to is
// nothing that it keeps.
func allows(f *os.File, bits os.FileMode) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&bits != 0
}
