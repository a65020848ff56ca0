package filemode

import "golang.org/x/sys/unix"

func readOnly(fs *unix.Statfs_t) bool { return fs.Flags&unix.ST_RDONLY != 0 }
