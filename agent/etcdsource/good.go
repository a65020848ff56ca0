package etcdsource

import (
	"context"
	"maps"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
)

// fetchMissing looks up the last good texts that this agent has never seen, and
// reports whether the snapshot changes by what it found. What is not there now
// is looked for again at the next change and the next listing.
func (s *taskSet) fetchMissing(ctx context.Context, client *clientv3.Client) bool {
	changed := false
	for name, want := range maps.Clone(s.roll.missing) {
		p, ok := s.roll.newest[name]
		if !ok {
			delete(s.roll.missing, name)
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		text := findText(ctx, client, s.cfg, name, want)
		cancel()
		if text != nil {
			s.roll.fetched[name] = value{raw: text, rev: want.Revision, created: p.created}
			changed = s.settle(name) || changed
		}
	}
	return changed
}

// findText returns the text of a version: from where commands keep it, or from
// etcd's history; nil when it is in neither.
func findText(ctx context.Context, client *clientv3.Client, cfg Config, name string, want rollout.Version) []byte {
	for _, get := range []func() (*clientv3.GetResponse, error){
		func() (*clientv3.GetResponse, error) { return client.Get(ctx, cfg.goods()+name) },
		func() (*clientv3.GetResponse, error) {
			return client.Get(ctx, cfg.tasks()+name, clientv3.WithRev(want.Revision))
		},
	} {
		resp, err := get()
		if err == nil && len(resp.Kvs) == 1 && rollout.HashOf(resp.Kvs[0].Value) == want.Hash {
			return resp.Kvs[0].Value
		}
	}
	return nil
}
