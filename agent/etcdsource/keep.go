package etcdsource

import (
	"context"
	"encoding/json"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// anyRevision lets a write not depend on what is there.
const anyRevision = -1

// write stores a task's text, if its newest change is that of a revision. Where
// the text goes from wave to wave, the last good one is kept beside it, for
// agents that have never seen that.
func (s *Store) write(ctx context.Context, c *clientv3.Client, name string, raw []byte, modified int64) (Entry, error) {
	key := s.cfg.tasks() + name
	plan, err := planOf(raw, name)
	planned := err == nil && plan.Rollout != nil && !plan.Paused
	for {
		var conditions []clientv3.Cmp
		ops := []clientv3.Op{clientv3.OpPut(key, string(raw)), clientv3.OpGet(key)}
		if modified != anyRevision {
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", modified))
		}
		if planned {
			keep, unchanged, err := s.keep(ctx, c, name)
			switch {
			case is(err, rpctypes.ErrPermissionDenied): // a role from before rollouts: etcd's history has it for a while
				planned = false
			case err != nil:
				return Entry{}, err
			default:
				conditions, ops = append(conditions, unchanged...), append(ops, keep...)
			}
		}
		resp, err := c.Txn(ctx).If(conditions...).Then(ops...).Else(clientv3.OpGet(key)).Commit()
		if planned && is(err, rpctypes.ErrPermissionDenied) {
			planned = false
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		if resp.Succeeded {
			return s.entry(resp.Responses[1].GetResponseRange().Kvs[0]), nil
		}
		now := resp.Responses[0].GetResponseRange().Kvs
		if modified != anyRevision && (len(now) == 0 && modified != 0 || len(now) == 1 && now[0].ModRevision != modified) {
			return Entry{}, ErrConflict
		}
	}
}

// keep returns what keeps the last good text of a task, while nothing of what
// that was decided on changes.
func (s *Store) keep(ctx context.Context, c *clientv3.Client, name string) (ops []clientv3.Op, unchanged []clientv3.Cmp, err error) {
	key, stateKey, goodKey := s.cfg.tasks()+name, s.cfg.rollouts()+name, s.cfg.goods()+name
	resp, err := c.Txn(ctx).Then(clientv3.OpGet(key), clientv3.OpGet(stateKey)).Commit()
	if err != nil {
		return nil, nil, err
	}
	var now, state *mvccpb.KeyValue
	for i, kv := range []**mvccpb.KeyValue{&now, &state} {
		var rev int64
		if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) == 1 {
			*kv, rev = kvs[0], kvs[0].ModRevision
		}
		unchanged = append(unchanged, clientv3.Compare(clientv3.ModRevision([]string{key, stateKey}[i]), "=", rev))
	}
	switch {
	case now == nil:
		ops = append(ops, clientv3.OpDelete(goodKey))
	case isGood(s.entry(now), state):
		ops = append(ops, clientv3.OpPut(goodKey, string(now.Value)))
	}
	return ops, unchanged, nil
}

// isGood says whether a task's newest text has reached every agent.
func isGood(now Entry, state *mvccpb.KeyValue) bool {
	plan, err := planOf(now.Raw, now.Name)
	switch {
	case err != nil, plan.Paused:
		return false
	case plan.Rollout == nil:
		_, err := task.Aim(now.Raw, now.Name, now.Name)
		return err == nil
	case state == nil:
		return false
	}
	var st rollout.State
	return json.Unmarshal(state.Value, &st) == nil && st.Phase == rollout.Done && st.About(now.Created, now.version())
}
