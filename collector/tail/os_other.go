//go:build !linux

package tail

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
)

func fdPath(_ int, path string) string { return path }

func resolvedPath(_ int, path string) (string, error) { return filepath.EvalSymlinks(path) }

const placeFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK

func openFile(path string, flags int, _ Links) (int, error) { return unix.Open(path, flags, 0) }

// Look asks what stands under path, symbolic links followed.
func Look(path string) (Info, error) {
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(path, &st) }); err != nil {
		return Info{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return infoOf(&st), nil
}

// Inspect implements FS.
func (Kernel) Inspect(fd int) (Info, error) {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Fstat(fd, &st) })
	return infoOf(&st), err
}

func infoOf(st *unix.Stat_t) Info {
	id := checkpoint.FileID{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // systems have other types
	return Info{ID: id, Size: st.Size, Mode: uint32(st.Mode) & unix.S_IFMT, Modified: st.Mtim.Nano()}
}

// PreadNow implements FS.
func (Kernel) PreadNow(int, []byte, int64) (int, int64, error) { return 0, 0, unix.EOPNOTSUPP }
