package tail

import (
	"math/bits"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
)

// placeFlags open a name and not what stands there.
const placeFlags = unix.O_PATH | unix.O_CLOEXEC

func fdPath(fd int, _ string) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// resolvedPath asks the kernel what was opened, so that no symlink can be
// changed between the check and the open.
func resolvedPath(fd int, path string) (string, error) {
	p, err := os.Readlink(fdPath(fd, path))
	if named, deleted := strings.CutSuffix(p, " (deleted)"); deleted && err == nil {
		if _, linked, err := (Kernel{}).Size(fd); err != nil || !linked {
			return named, err
		}
	}
	return p, err
}

// canResolve tells whether openat2 exists (Linux 5.6) and may be used here.
var canResolve = sync.OnceValue(func() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
})

// openFile leaves it to the kernel to stop at links, so that nobody can put one
// in the way after a look. Links of /proc are stopped at because what lies
// behind one may be mounted under a name that this process knows for another file.
func openFile(path string, flags int, links Links) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags)}
	switch {
	case links == LinksAll || !canResolve():
		return unix.Open(path, flags, 0)
	case links == LinksOfFiles:
		how.Resolve = unix.RESOLVE_NO_MAGICLINKS
	default:
		how.Resolve = unix.RESOLVE_NO_SYMLINKS
	}
	return unix.Openat2(unix.AT_FDCWD, path, &how)
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

// PreadNow implements FS. Its calls are not announced to the Go runtime, which
// would wake its monitor thread: the kernel does not let them wait.
func (Kernel) PreadNow(fd int, b []byte, off int64) (n int, size int64, err error) {
	var stx unix.Statx_t
	iov := unix.Iovec{Base: unsafe.SliceData(b)}
	iov.SetLen(len(b))
	low, high := uintptr(off), uintptr(uint64(off)>>(bits.UintSize/2)>>(bits.UintSize/2))
	r, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1, low, high, unix.RWF_NOWAIT)
	if errno == 0 {
		_, _, errno = unix.RawSyscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData("\x00"))),
			unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_SIZE, uintptr(unsafe.Pointer(&stx)), 0)
	}
	if errno != 0 {
		return 0, 0, errno
	}
	return int(r), int64(stx.Size), nil
}
