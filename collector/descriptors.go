package collector

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freedAtOnce is how many quiet files are closed for one that wants a
	// descriptor.
	freedAtOnce = 16
	// freeRound is how often all files are asked whether they can be closed:
	// with n files waiting for descriptors, looking through n for each of them would not end.
	freeRound = 10 * time.Millisecond
)

// shortage is what a collector knows of descriptors that it could not get.
type shortage struct {
	mu      sync.Mutex
	waiting map[*stream]bool // streams that want one
	round   []*stream        // not yet asked to give theirs
	began   time.Time        // of the round
}

func outOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// starved is told by a stream whether it wants for a descriptor. One that does
// has the descriptors of quiet files given back. One warning stands for all.
func (c *Collector) starved(s *stream, err error) {
	c.short.mu.Lock()
	if !outOfDescriptors(err) {
		delete(c.short.waiting, s)
		c.short.mu.Unlock()
		return
	}
	c.short.waiting[s] = true
	n := len(c.short.waiting)
	c.short.mu.Unlock()
	c.makeRoom(n, err)
}

// makeRoom says that n files wait for descriptors and closes some that can
// spare theirs.
func (c *Collector) makeRoom(n int, err error) {
	c.notices.warn("the limit of open files is reached, fewer are read at a time; raise it (LimitNOFILE in systemd, ulimit -n), or lower close_inactive",
		"limit", openFilesLimit(), "files_waiting", n, "error", err)
	c.freeDescriptors()
}

// freeDescriptors closes some files of parked streams.
func (c *Collector) freeDescriptors() {
	for closed := 0; closed < freedAtOnce; {
		s := c.nextToFree()
		if s == nil {
			return
		}
		if s.closeParked() {
			closed++
		}
	}
}

// nextToFree is the next stream of the round; nil when all were asked lately.
func (c *Collector) nextToFree() *stream {
	c.short.mu.Lock()
	defer c.short.mu.Unlock()
	if len(c.short.round) == 0 {
		if time.Since(c.short.began) < freeRound {
			return nil
		}
		c.short.round, c.short.began = c.all(), time.Now()
	}
	if len(c.short.round) == 0 {
		return nil
	}
	s := c.short.round[0]
	c.short.round[0] = nil
	c.short.round = c.short.round[1:]
	return s
}

// openFilesLimit is the number of descriptors that the process may have.
func openFilesLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
