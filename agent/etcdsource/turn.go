package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// turn is the time for which an agent leads.
type turn struct {
	*Conductor
	client *clientv3.Client
	value  leaderValue
	lease  clientv3.LeaseID
	mine   clientv3.Cmp // holds while the agent leads
	seen   map[string]rollout.Seen
	before map[string]found
	plans  map[string]readPlan
}

// readPlan is the plan of a task's version, or why it has none.
type readPlan struct {
	of   int64
	plan task.Plan
	err  error
}

func (t *turn) planOf(entry Entry) (task.Plan, error) {
	known, ok := t.plans[entry.Name]
	if !ok || known.of != entry.Modified {
		known.of = entry.Modified
		known.plan, known.err = planOf(entry.Raw, entry.Name)
		t.plans[entry.Name] = known
	}
	return known.plan, known.err
}

// found is the last good version of a task, as of one of its revisions.
type found struct {
	of      int64
	version rollout.Version
}

func (t *turn) run(ctx context.Context, lost <-chan struct{}, fleets <-chan *Fleet, blind <-chan error) error {
	look := time.NewTicker(conductorLook)
	defer look.Stop()
	var fleet *Fleet
	dark := t.now() // since when the fleet is not seen; only while it is not
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-blind:
			return fmt.Errorf("watch the fleet: %w", err)
		case <-lost:
			return errLeaseLost
		case fleet = <-fleets:
			if fleet == nil { // what was well may not be so meanwhile
				clear(t.seen)
				dark = t.now()
			}
		case <-look.C:
		}
		if !t.view().underWay {
			return nil
		}
		if fleet == nil {
			if t.now().Sub(dark) > conductorDark {
				return errDark
			}
			continue
		}
		if err := t.decide(ctx, fleet); err != nil {
			return err
		}
	}
}

// decide makes the next step of each rollout.
func (t *turn) decide(ctx context.Context, fleet *Fleet) error {
	tasks := map[string]bool{}
	for _, entry := range fleet.Tasks {
		tasks[entry.Name] = true
		plan, err := t.planOf(entry)
		switch {
		case err != nil, plan.Paused: // it stands still
			delete(t.seen, entry.Name)
		case plan.Rollout == nil:
			if err := t.outlived(ctx, fleet, entry.Name); err != nil {
				return err
			}
		default:
			if err := t.step(ctx, fleet, entry, plan); err != nil {
				return err
			}
		}
	}
	for key := range fleet.Rollouts {
		if name := strings.TrimPrefix(key, Qualified(t.cfg.group, "")); !tasks[name] {
			if err := t.outlived(ctx, fleet, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// step makes the next step of one rollout.
func (t *turn) step(ctx context.Context, fleet *Fleet, entry Entry, plan task.Plan) error {
	have, known := fleet.Rollouts[entry.Qualified()]
	if known && have.Phase != rollout.Rolling && have.About(entry.Created, entry.version()) {
		return nil
	}
	in := rollout.Input{
		Name: entry.Name, Spec: *plan.Rollout, Created: entry.Created, Target: entry.version(),
		Agents: fleet.concerned(entry.Group, entry.Name, plan.Select), Seen: t.seen[entry.Name], Now: t.now(),
	}
	if known {
		in.State = &have.State
	}
	if !known || have.Created != entry.Created {
		before, err := t.lastGood(ctx, entry)
		if err != nil {
			return fmt.Errorf("find the last good version of task %q: %w", entry.Name, err)
		}
		in.Before = before
	}
	next, seen := rollout.Next(in)
	t.seen[entry.Name] = seen
	if next == nil {
		return nil
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	task, key := t.cfg.tasks()+entry.Name, t.cfg.rollouts()+entry.Name
	done, err := t.commit(ctx, []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(task), "=", entry.Modified), clientv3.Compare(clientv3.ModRevision(key), "=", have.Modified),
	}, clientv3.OpPut(key, string(text)))
	if err != nil || !done {
		return err
	}
	t.tell(entry.Name, *next)
	return nil
}

func (t *turn) tell(name string, st rollout.State) {
	switch st.Phase {
	case rollout.Back:
		t.log.Warn("a change is not well and goes back", "task", name, "revision", st.Target.Revision, "to", st.Good.Revision, "wave", st.Wave, "agent", st.Agent, "reason", st.Reason)
	case rollout.Done:
		t.log.Info("a change has reached every agent", "task", name, "revision", st.Target.Revision)
	default:
		t.log.Info("a change goes out", "task", name, "revision", st.Target.Revision, "wave", st.Wave, "of", len(st.Waves), "agents", st.Size)
	}
}

// outlived removes a state whose task has no rollout any more, or is gone.
func (t *turn) outlived(ctx context.Context, fleet *Fleet, name string) error {
	delete(t.seen, name)
	have, known := fleet.Rollouts[Qualified(t.cfg.group, name)]
	if !known {
		return nil
	}
	var rev int64
	for _, entry := range fleet.Tasks {
		if entry.Name == name {
			rev = entry.Modified
		}
	}
	task, key := t.cfg.tasks()+name, t.cfg.rollouts()+name
	_, err := t.commit(ctx, []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(task), "=", rev), clientv3.Compare(clientv3.ModRevision(key), "=", have.Modified),
	}, clientv3.OpDelete(key))
	return err
}

// commit makes one step if this agent leads and nothing has changed that the
// step was decided on.
func (t *turn) commit(ctx context.Context, unchanged []clientv3.Cmp, op clientv3.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.source.cfg.RequestTimeout)
	defer cancel()
	resp, err := t.client.Txn(ctx).If(append(unchanged, t.mine)...).Then(op).Commit()
	if err != nil {
		return false, fmt.Errorf("move a rollout on: %w", err)
	}
	return resp.Succeeded, nil
}

// lastGood finds the version that a task had before its newest, when no state
// says which was good: the newest of those that reached every agent. What etcd
// has compacted, commands may have kept.
func (t *turn) lastGood(ctx context.Context, entry Entry) (rollout.Version, error) {
	if known, ok := t.before[entry.Name]; ok && known.of == entry.Modified {
		return known.version, nil
	}
	out := found{of: entry.Modified}
	for at, step := entry, 0; at.Version > 1 && step < historySteps; step++ {
		before, err := t.store.At(ctx, at.Name, at.Modified-1)
		if errors.Is(err, ErrCompacted) {
			if out.version, err = t.kept(ctx, entry); err != nil {
				return out.version, err
			}
			break
		}
		if err != nil {
			return out.version, err
		}
		at = before
		if plan, err := planOf(at.Raw, at.Name); err == nil && !plan.Paused && plan.Rollout == nil {
			if _, err := task.Aim(at.Raw, at.Name, at.Name); err == nil {
				out.version = at.version()
				break
			}
		}
	}
	t.before[entry.Name] = out
	return out.version, nil
}

// kept is the version that a command kept when it changed the task.
func (t *turn) kept(ctx context.Context, entry Entry) (rollout.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, t.source.cfg.RequestTimeout)
	defer cancel()
	resp, err := t.client.Get(ctx, t.cfg.goods()+entry.Name)
	if is(err, rpctypes.ErrPermissionDenied) {
		return rollout.Version{}, nil
	}
	if err != nil || len(resp.Kvs) == 0 || resp.Kvs[0].ModRevision < entry.Created {
		return rollout.Version{}, err
	}
	// It was kept by the change that came after it; when it was written itself is not known.
	return rollout.Version{Revision: min(resp.Kvs[0].ModRevision, entry.Modified) - 1, Hash: rollout.HashOf(resp.Kvs[0].Value)}, nil
}

func (e Entry) version() rollout.Version {
	return rollout.Version{Revision: e.Modified, Hash: rollout.HashOf(e.Raw)}
}

// RolloutEntry is the state of one rollout as it is stored.
type RolloutEntry struct {
	rollout.State
	Modified int64 `json:"-"` // revision of its last change
}

// concerned lists the agents that a task is for, with what they tell of it.
func (f Fleet) concerned(group, name string, aim *task.Selector) []rollout.Agent {
	var out []rollout.Agent
	for _, m := range f.Members {
		a := rollout.Agent{Identity: m.identity(), Name: m.Name}
		if !m.sees(group) || !aim.Matches(a.Identity) {
			continue
		}
		for _, r := range m.Report.Tasks {
			if r.Name == name && r.Group == group {
				a.Reported, a.Revision, a.State, a.Error = true, r.Revision, r.State, strings.ReplaceAll(r.Error, "\n", "; ")
				a.Refused, a.DeadLetters, a.LagGrows = r.RefusedRevision, r.DeadLetters, r.LagGrows
			}
		}
		out = append(out, a)
	}
	return out
}

// sees says whether the tasks of a group concern the agent.
func (m Member) sees(group string) bool {
	return group == "" || slices.Contains(m.Agent.Groups, group)
}

func (m Member) identity() task.Identity {
	return task.Identity{ID: m.Agent.ID, Host: m.Agent.Host, Labels: m.Agent.Labels}
}
