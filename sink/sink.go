// Package sink is the way out: where batches go, and who says that they
// arrived. Package kafka is the product; package stdout is for dry runs.
package sink

import (
	"context"

	"logferry/internal/record"
)

// Sink delivers the batches of one task.
type Sink interface {
	// Run takes batches from in until it is closed, delivers them, and calls
	// Done on each one exactly once when all of its records are acknowledged
	// or were set aside and counted. Records of one file leave in the order
	// of their batches.
	//
	// When in is closed, Run returns nil after the last batch is resolved. When ctx
	// ends it gives up at once and returns ctx's error; batches that are
	// not yet resolved stay so, and are read again after the next start.
	// Errors that time heals are retried for ever and never end Run.
	//
	// Run is called once. No goroutine that it started outlives it.
	Run(ctx context.Context, in <-chan *record.Batch) error

	// Err says what keeps the sink from delivering at this moment, with its
	// remedy; nil while it works. Safe for use from several goroutines.
	Err() error
}
