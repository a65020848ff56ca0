package kafka

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff returns how long to wait after failed attempt number attempt, from
// 0: first doubled each time up to longest, less up to a half of it by chance.
func backoff(first, longest time.Duration, attempt int) time.Duration {
	d := longest
	if attempt < 30 {
		d = min(longest, first<<attempt)
	}
	return d - rand.N(d/2+1)
}

// sleep waits for d, or until ctx ends; then it returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
