package etcdsource

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseRetry is the pause after a renewal that has failed.
const leaseRetry = time.Second

// holdLease renews a lease three times in its time to live. lost is closed when
// etcd says that it is gone, when it has not been renewed for its whole time, and
// when the client is closed. done ends the renewals, and does not take the lease
// away.
//
// The client's own KeepAlive wakes up three times a second and asks twice a
// second for as long as an answer is late, which is what thousands of agents
// must not do to an etcd that is busy.
func holdLease(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID, ttl time.Duration) (lost <-chan struct{}, done func()) {
	held, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	stop := context.AfterFunc(client.Ctx(), cancel)
	gone := make(chan struct{})
	h := &holder{client: client, request: &etcdserverpb.LeaseKeepAliveRequest{ID: int64(lease)}, ttl: ttl, end: time.Now().Add(ttl)}
	var holding sync.WaitGroup
	holding.Go(func() {
		h.run(held)
		close(gone)
	})
	return gone, func() { stop(); cancel(); holding.Wait() }
}

// holder keeps one lease. It belongs to one goroutine.
type holder struct {
	client  *clientv3.Client
	request *etcdserverpb.LeaseKeepAliveRequest
	ttl     time.Duration
	end     time.Time // when the lease ends unless it is renewed

	stream etcdserverpb.Lease_LeaseKeepAliveClient // nil: none is open
	cancel context.CancelFunc                      // of stream
}

// run returns when the lease is lost or ctx ends.
func (h *holder) run(ctx context.Context) {
	defer h.drop()
	for pause := h.ttl / 3; wait(ctx, pause); {
		alive, err := h.renew(ctx)
		switch {
		case err == nil && !alive, !time.Now().Before(h.end):
			return
		case err == nil:
			pause = h.ttl / 3
		default:
			h.drop()
			pause = min(leaseRetry, time.Until(h.end))
		}
	}
}

// renew asks once, and waits for the answer for as long as the time to the next
// renewal, or the end of the lease.
func (h *holder) renew(ctx context.Context) (alive bool, err error) {
	open := ctx
	if h.stream == nil {
		open, h.cancel = context.WithCancel(ctx)
	}
	late := time.AfterFunc(min(h.ttl/3, time.Until(h.end)), h.cancel)
	defer late.Stop()
	if h.stream == nil {
		if h.stream, err = etcdserverpb.NewLeaseClient(h.client.ActiveConnection()).LeaseKeepAlive(open); err != nil {
			return false, err
		}
	}
	asked := time.Now()
	if err := h.stream.Send(h.request); err != nil {
		return false, err
	}
	resp, err := h.stream.Recv()
	if err != nil {
		return false, err
	}
	if resp.TTL <= 0 {
		return false, nil
	}
	h.end = asked.Add(h.ttl)
	return true, nil
}

// drop gives the stream up.
func (h *holder) drop() {
	if h.cancel != nil {
		h.cancel()
	}
	h.stream, h.cancel = nil, nil
}
