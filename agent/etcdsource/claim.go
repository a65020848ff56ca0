package etcdsource

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// clashReminder is how often a clash of ids is logged while it lasts.
const clashReminder = 10 * time.Minute

func (c Config) agents() string  { return c.Prefix + "/agents/" }
func (c Config) reports() string { return c.Prefix + "/status/" }

// claim registers the agent under its id, or, when another agent lives under
// that, under a name of its own that shows the clash.
func (r *Registrar) claim(ctx context.Context, client *clientv3.Client) error {
	id := r.cfg.Agent.ID
	for range 3 { // the key may change between the look and the write
		holder, rev, err := r.holder(ctx, client)
		if err != nil {
			return err
		}
		name, clash := id, r.clashWith(holder)
		condition := clientv3.Compare(clientv3.ModRevision(r.source.cfg.agents()+id), "=", rev)
		if clash != nil {
			name = id + "~" + r.cfg.Agent.Process
		}
		taken, err := r.register(ctx, client, name, clash, condition)
		if err != nil {
			return err
		}
		if taken {
			return nil
		}
	}
	return fmt.Errorf("agents with the id %q register at the same time; give each agent an id of its own", id)
}

// holder returns who is registered under the id, with the revision of that;
// nil and perhaps a revision when nobody is who can be told.
func (r *Registrar) holder(ctx context.Context, client *clientv3.Client) (holder *Agent, rev int64, err error) {
	err = r.request(ctx, func(ctx context.Context) error {
		resp, err := client.Get(ctx, r.source.cfg.agents()+r.cfg.Agent.ID)
		if err != nil || len(resp.Kvs) == 0 {
			return err
		}
		kv := resp.Kvs[0]
		rev = kv.ModRevision
		var found Agent
		if kv.Lease != 0 && json.Unmarshal(kv.Value, &found) == nil && found.Process != "" {
			holder = &found
		}
		return nil
	})
	return holder, rev, err
}

// clashWith says whether the holder of the id is another agent that lives. What
// the same state_dir has left is this agent's own past, unless this
// agent had the id before: then two live on copies of one state_dir.
func (r *Registrar) clashWith(holder *Agent) *Clash {
	own := r.cfg.Agent
	switch {
	case holder == nil, holder.Process == own.Process:
		return nil
	case holder.Instance == own.Instance && r.name == "":
		return nil
	}
	return &Clash{Host: holder.Host, HTTP: holder.HTTP, Started: holder.Started}
}

// register writes the registration if the condition holds.
func (r *Registrar) register(ctx context.Context, client *clientv3.Client, name string, clash *Clash, condition clientv3.Cmp) (bool, error) {
	value, err := r.registration(clash)
	if err != nil {
		return false, err
	}
	ops := []clientv3.Op{clientv3.OpPut(r.source.cfg.agents()+name, value, clientv3.WithLease(r.lease))}
	if r.name != "" && r.name != name {
		ops = append(ops, r.forget()...)
	}
	var taken bool
	err = r.request(ctx, func(ctx context.Context) error {
		resp, err := client.Txn(ctx).If(condition).Then(ops...).Commit()
		if err == nil {
			taken = resp.Succeeded
		}
		return err
	})
	if err != nil || !taken {
		return false, err
	}
	if r.name != name {
		r.reported = ""
	}
	r.tell(name, clash)
	r.name, r.clash, r.written = name, clash, value
	r.setStatus(Registration{Registered: true, Name: name, Clash: clash})
	return true, nil
}

// forget removes the keys of the name that is given up, as far as they are this
// agent's own: those of the id belong to the other agent by now.
func (r *Registrar) forget() []clientv3.Op {
	if r.name == r.cfg.Agent.ID {
		return nil
	}
	return []clientv3.Op{clientv3.OpDelete(r.source.cfg.agents() + r.name), clientv3.OpDelete(r.source.cfg.reports() + r.name)}
}

// tell logs what a registration means that is about to be taken note of.
func (r *Registrar) tell(name string, clash *Clash) {
	switch {
	case clash != nil && time.Since(r.warned) >= clashReminder:
		r.warned = time.Now()
		r.log.Error("another agent has the same id, give each agent an id of its own; if it is gone, the id is free when its lease ends",
			"id", r.cfg.Agent.ID, "registered_as", name, "other_host", clash.Host, "other_http", clash.HTTP, "other_started", clash.Started)
	case clash == nil && r.clash != nil:
		r.warned = time.Time{}
		r.log.Info("id is free again, registered under it", "id", name)
	case r.name != name && clash == nil:
		r.log.Info("registered in etcd", "agent", name, "lease_ttl", r.cfg.LeaseTTL)
	}
}

// registration returns the value of the agent's key as it is now.
func (r *Registrar) registration(clash *Clash) (string, error) {
	own := r.cfg.Agent
	own.Revision, own.Clash = r.applied, clash
	value, err := json.Marshal(own)
	return string(value), err
}

// write brings both keys up to date. A key that was removed or taken over by
// somebody is claimed again.
func (r *Registrar) write(ctx context.Context, client *clientv3.Client) error {
	if r.clash != nil { // the id may be free by now
		if err := r.claim(ctx, client); err != nil {
			return fmt.Errorf("register agent: %w", err)
		}
	}
	for range 2 {
		mine, err := r.put(ctx, client)
		if err != nil {
			return fmt.Errorf("report status: %w", err)
		}
		if mine {
			return nil
		}
		r.reported = "" // whoever removed the one may have removed the other
		if err := r.claim(ctx, client); err != nil {
			return fmt.Errorf("register agent: %w", err)
		}
	}
	return fmt.Errorf("registration %s%s is removed again and again; find out by whom", r.source.cfg.agents(), r.name)
}

// put writes what has changed in one transaction, if what was written before is
// still this agent's.
func (r *Registrar) put(ctx context.Context, client *clientv3.Client) (mine bool, err error) {
	registration, err := r.registration(r.clash)
	if err != nil {
		return false, err
	}
	report := Report{ID: r.cfg.Agent.ID, Revision: r.source.Applied(), Tasks: r.cfg.Tasks()}
	timeless, err := report.encode()
	if err != nil {
		return false, err
	}
	value := report.encodedAt(timeless, time.Now())
	key, statusKey, lease := r.source.cfg.agents()+r.name, r.source.cfg.reports()+r.name, clientv3.WithLease(r.lease)
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(key), "=", r.lease)}
	if r.reported != "" {
		conditions = append(conditions, clientv3.Compare(clientv3.LeaseValue(statusKey), "=", r.lease))
	}
	var ops []clientv3.Op
	if registration != r.written {
		ops = append(ops, clientv3.OpPut(key, registration, lease))
	}
	if string(timeless) != r.reported {
		ops = append(ops, clientv3.OpPut(statusKey, string(value), lease))
	}
	err = r.request(ctx, func(ctx context.Context) error {
		resp, err := client.Txn(ctx).If(conditions...).Then(ops...).Commit()
		if err == nil {
			mine = resp.Succeeded
		}
		return err
	})
	if mine {
		r.written, r.reported = registration, string(timeless)
	}
	return mine, err
}
