//go:build !linux

package tail

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func fdPath(_ int, path string) string { return path }

func resolvedPath(_ int, path string) (string, error) { return filepath.EvalSymlinks(path) }

func birthTime(int) int64 { return 0 }

// Look asks what stands under path, symbolic links followed.
func Look(path string) (Info, error) {
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(path, &st) }); err != nil {
		return Info{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Info{ID: StatID(&st), Size: st.Size, Mode: uint32(st.Mode) & unix.S_IFMT, Modified: st.Mtim.Nano()}, nil
}
