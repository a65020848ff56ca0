package etcdsource

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// merge makes one channel of many. It is closed when one of them is, or ctx
// ends; done sees to that and waits for it.
func merge(ctx context.Context, watches []clientv3.WatchChan) (all <-chan clientv3.WatchResponse, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan clientv3.WatchResponse)
	var forwarding, closing sync.WaitGroup
	for _, watch := range watches {
		forwarding.Go(func() {
			defer cancel()
			for {
				select {
				case <-ctx.Done():
					return
				case resp, ok := <-watch:
					if !ok {
						return
					}
					select {
					case out <- resp:
					case <-ctx.Done():
						return
					}
				}
			}
		})
	}
	closing.Go(func() {
		forwarding.Wait()
		close(out)
	})
	return out, func() { cancel(); closing.Wait() }
}

// breaks returns a channel that is closed when the connection that works now
// does not any more, which the client alone would try to mend without a word.
// done ends the waiting.
func breaks(ctx context.Context, client *clientv3.Client) (broken <-chan struct{}, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if conn := client.ActiveConnection(); !conn.WaitForStateChange(ctx, connectivity.Ready) {
			return
		}
		close(gone)
	})
	return gone, func() { cancel(); waiting.Wait() }
}
