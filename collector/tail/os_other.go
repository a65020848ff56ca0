//go:build !linux

package tail

import (
	"path/filepath"
)

func fdPath(_ int, path string) string { return path }

func resolvedPath(_ int, path string) (string, error) { return filepath.EvalSymlinks(path) }

func birthTime(int) int64 { return 0 }

// BirthOf is the creation time of the file at path in Unix nanoseconds, or 0
// where the file system keeps none.
func BirthOf(string) int64 { return 0 }
