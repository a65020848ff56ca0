package checkpoint

import (
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// releasePages gives back the pages of the database that were looked at, all of which
// the kernel would count as the agent's memory. What is needed comes back from the kernel's cache.
func (s *Store) releasePages() {
	_ = s.db.View(func(tx *bolt.Tx) error { // while it runs, the mapping stays where it is
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		return nil
	})
}
