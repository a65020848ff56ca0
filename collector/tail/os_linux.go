package tail

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
)

func fdPath(fd int, _ string) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// resolvedPath asks the kernel what was opened, so that no symlink can be
// changed between the check and the open.
func resolvedPath(fd int, path string) (string, error) {
	p, err := os.Readlink(fdPath(fd, path))
	return strings.TrimSuffix(p, " (deleted)"), err
}

func born(stx *unix.Statx_t) int64 {
	if stx.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return nanos(stx.Btime)
}

func nanos(t unix.StatxTimestamp) int64 { return t.Sec*int64(time.Second) + int64(t.Nsec) }

// Look asks, in one system call, what stands under path, symbolic links
// followed.
func Look(path string) (Info, error) {
	info, err := statx(unix.AT_FDCWD, path, 0)
	if err != nil {
		return Info{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return info, nil
}

// Inspect implements FS.
func (Kernel) Inspect(fd int) (Info, error) { return statx(fd, "", unix.AT_EMPTY_PATH) }

// statx leaves Birth 0 where the file system keeps none.
func statx(fd int, path string, flags int) (Info, error) {
	var stx unix.Statx_t
	err := ignoringEINTR(func() error {
		return unix.Statx(fd, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &stx)
	})
	if err != nil {
		return Info{}, err
	}
	return Info{
		ID:   checkpoint.FileID{Dev: unix.Mkdev(stx.Dev_major, stx.Dev_minor), Ino: stx.Ino},
		Size: int64(stx.Size), Mode: uint32(stx.Mode) & unix.S_IFMT, Modified: nanos(stx.Mtime),
		Changed: nanos(stx.Ctime), Birth: born(&stx),
	}, nil
}
