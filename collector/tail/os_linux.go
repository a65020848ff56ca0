package tail

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func fdPath(fd int, _ string) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// resolvedPath asks the kernel what was opened, so that no symlink can be
// changed between the check and the open.
func resolvedPath(fd int, path string) (string, error) {
	p, err := os.Readlink(fdPath(fd, path))
	return strings.TrimSuffix(p, " (deleted)"), err
}

// birthTime is the creation time in Unix nanoseconds, or 0 where the file
// system keeps none.
func birthTime(fd int) int64 { return statBirth(fd, "", unix.AT_EMPTY_PATH) }

func statBirth(fd int, path string, flags int) int64 {
	var stx unix.Statx_t
	if err := unix.Statx(fd, path, flags, unix.STATX_BTIME, &stx); err != nil || stx.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return stx.Btime.Sec*int64(time.Second) + int64(stx.Btime.Nsec)
}

// BirthOf is the creation time of the file at path in Unix nanoseconds, or 0
// where the file system keeps none.
func BirthOf(path string) int64 { return statBirth(unix.AT_FDCWD, path, 0) }
