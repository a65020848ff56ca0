package etcdsource

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// backoff returns the pause before the next attempt, of which half is chance,
// so that agents which lost etcd together do not come back together.
func backoff(failures int) time.Duration {
	d := min(retryMax, retryMin<<min(failures, 10))
	return d/2 + rand.N(d/2)
}

// pauseAfter returns the pause after a session has failed. Thousands of agents
// that lose etcd together come back one after another, and when that is still
// too much for it, ever more slowly: otherwise none of them would get its answer
// in time, and all would ask again.
func pauseAfter(err error, failures int) time.Duration {
	if failures == 0 {
		return rand.N(returnSpread)
	}
	limit := retryMax
	if tooLate(err) {
		limit = retryBusy
	}
	d := min(limit, retryMin<<min(failures, 10))
	return d/2 + rand.N(d/2)
}

// tooLate says whether etcd seems to have too much to do.
func tooLate(err error) bool {
	code := status.Code(err)
	return errors.Is(err, context.DeadlineExceeded) || code == codes.DeadlineExceeded || code == codes.ResourceExhausted
}

// maxLate bounds how often the time for a listing is doubled.
const maxLate = 3

// listTimeout is longer after answers that came too late: to give them up again
// would waste what etcd has done for them.
func (s *Source) listTimeout() time.Duration { return s.cfg.RequestTimeout << min(s.late, maxLate) }

// jitter spreads an interval by a fifth to either side.
func jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(d*2/5) }

// rateLimit keeps an error that stays the same from filling the log.
type rateLimit struct {
	text string
	at   time.Time
}

// level returns Warn for an error that is new or was last shown a minute ago,
// and Debug for its repetitions.
func (r *rateLimit) level(text string) slog.Level {
	if text == r.text && time.Since(r.at) < time.Minute {
		return slog.LevelDebug
	}
	r.text, r.at = text, time.Now()
	return slog.LevelWarn
}

// wait pauses; it reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
