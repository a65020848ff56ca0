//go:build !linux

package checkpoint

func (s *Store) releasePages() {}
