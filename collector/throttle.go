package collector

import (
	"context"

	"logferry/collector/rate"
	"logferry/collector/tail"
	"logferry/internal/record"
)

// throttled is a budget of which nothing is taken while more was read than the
// rate allows. What a reader holds meanwhile is what it holds while Kafka is away.
type throttled struct {
	tail.Budget
	limit *rate.Limiter
}

// Acquire implements tail.Budget.
func (t throttled) Acquire(ctx context.Context, n int) error {
	if err := t.limit.Wait(ctx); err != nil {
		return err
	}
	return t.Budget.Acquire(ctx, n)
}

// textBytes is the length of the records' values.
func textBytes(b *record.Batch) (n int) {
	for i := range b.Records {
		n += len(b.Records[i].Value)
	}
	return n
}
