package collector

import (
	"log/slog"
	"sync"
	"time"
)

// noticeEvery is how often a warning of one kind is logged at most, whatever
// the number of files that cause it.
const noticeEvery = time.Minute

// notices lets one warning of a kind through at a time, and tells with the next
// how many were held back. It may be used from several goroutines.
type notices struct {
	log   *slog.Logger
	every time.Duration

	mu   sync.Mutex
	last map[string]time.Time
	held map[string]int
}

func newNotices(log *slog.Logger) *notices {
	return &notices{log: log, every: noticeEvery, last: map[string]time.Time{}, held: map[string]int{}}
}

// warn logs a constant message, which is its kind.
func (n *notices) warn(msg string, args ...any) {
	n.mu.Lock()
	last, before := n.last[msg]
	if before && time.Since(last) < n.every {
		n.held[msg]++
		n.mu.Unlock()
		return
	}
	held := n.held[msg]
	n.last[msg], n.held[msg] = time.Now(), 0
	n.mu.Unlock()
	if held > 0 {
		args = append(args, "not_logged_since", held)
	}
	n.log.Warn(msg, args...)
}
