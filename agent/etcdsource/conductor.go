package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// leaderTTL is how long after its last sign of life the agent that moves waves
// on is replaced.
const leaderTTL = 10 * time.Second

const (
	conductorLook = 250 * time.Millisecond // between two looks at whether there is something to do
	conductorWait = time.Second            // longest pause before an agent offers itself
	conductorDark = 15 * time.Second       // longest that one leads without a view of the fleet
	conductorShow = 200 * time.Millisecond // between two readings of the fleet, at least
	historySteps  = 20                     // versions looked back for the last good one
)

var errDark = errors.New("the fleet cannot be seen, another agent may see it")

var errOutvoted = errors.New("another agent moves waves on by now")

// leaderValue is the value of PREFIX/rollouts/~leader.
type leaderValue struct {
	Agent string    `json:"agent"`
	Since time.Time `json:"since"`
}

// Conductor moves rollouts from wave to wave, while this is the one agent of the
// fleet that does. Its promise: each step is one transaction that holds only
// while nothing it was decided on has changed, so any agent may die at any moment,
// or believe for a while that it still leads, and no step is made twice or
// too early.
type Conductor struct {
	source *Source
	name   func() string // of this agent's keys; empty: it is not registered
	log    *slog.Logger
	store  *Store
	ttl    time.Duration
	now    func() time.Time
}

// NewConductor returns a conductor on the connection of the registrar's source.
func NewConductor(r *Registrar, log *slog.Logger) *Conductor {
	return &Conductor{
		source: r.source, name: func() string { return r.Status().Name }, log: log,
		store: &Store{cfg: r.source.cfg, log: log, link: r.source.link}, ttl: leaderTTL, now: time.Now,
	}
}

// Run offers this agent while a rollout that concerns it is under way, until
// ctx ends. It is called once.
func (c *Conductor) Run(ctx context.Context) error {
	c.source.link.enter()
	defer func() { _ = c.source.link.leave() }()
	var quiet rateLimit
	for failures := 0; wait(ctx, conductorLook); {
		if view := c.source.rolloutView(); !view.underWay || view.leader != "" || c.name() == "" {
			failures = 0
			continue
		}
		// Of many agents that see the same, few should try at once.
		if !wait(ctx, rand.N(conductorWait)) || c.source.rolloutView().leader != "" {
			continue
		}
		err := c.lead(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if errors.Is(err, errOutvoted) {
			wait(ctx, conductorWait) // until the winner's key is seen
			continue
		}
		pause := backoff(failures)
		failures++
		level := slog.LevelDebug
		if !connectionFails(err) {
			level = quiet.level(err.Error())
		}
		c.log.Log(ctx, level, "this agent cannot move rollouts on, another one may", "error", explain(c.source.cfg, err), "retry_in", pause)
		wait(ctx, pause)
	}
	return ctx.Err()
}

// lead moves rollouts on until none is under way that concerns this agent (nil),
// or the lease or the connection is lost.
func (c *Conductor) lead(ctx context.Context) error {
	client, err := c.source.link.get(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t, err := c.claim(ctx, client)
	if err != nil {
		return err
	}
	defer t.resign(ctx)
	signs, err := client.KeepAlive(ctx, t.lease)
	if err != nil {
		return fmt.Errorf("keep lease alive: %w", err)
	}
	c.log.Info("this agent moves rollouts on", "agent", t.value.Agent)

	fleets := make(chan *Fleet, 1) // nil: the newest is not known
	blind := make(chan error, 1)   // why there will be none
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		blind <- c.store.WatchFleet(ctx, conductorShow, func(f Fleet, err error) {
			select {
			case <-fleets:
			default:
			}
			if err != nil {
				fleets <- nil
				return
			}
			fleets <- &f
		})
	})
	return t.run(ctx, signs, fleets, blind)
}

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

// claim makes this agent the leader if there is none.
func (c *Conductor) claim(ctx context.Context, client *clientv3.Client) (*turn, error) {
	t := &turn{
		Conductor: c, client: client, value: leaderValue{Agent: c.name(), Since: c.now().UTC().Truncate(time.Second)},
		seen: map[string]rollout.Seen{}, before: map[string]found{}, plans: map[string]readPlan{},
	}
	ctx, cancel := context.WithTimeout(ctx, c.source.cfg.RequestTimeout)
	defer cancel()
	grant, err := client.Grant(ctx, int64(c.ttl/time.Second))
	if err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	t.lease = grant.ID
	value, err := json.Marshal(t.value)
	if err != nil {
		return nil, err
	}
	key := c.leaderKey()
	resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(value), clientv3.WithLease(t.lease))).Commit()
	if err == nil && !resp.Succeeded {
		err = errOutvoted
	}
	if err != nil {
		t.resign(ctx)
		return nil, err
	}
	t.mine = clientv3.Compare(clientv3.CreateRevision(key), "=", resp.Header.Revision)
	return t, nil
}

func (c *Conductor) leaderKey() string { return c.source.cfg.rollouts() + leaderName }

// resign lets another agent lead at once, if etcd can be reached.
func (t *turn) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_, _ = t.client.Revoke(ctx, t.lease)
}

func (t *turn) run(ctx context.Context, signs <-chan *clientv3.LeaseKeepAliveResponse, fleets <-chan *Fleet, blind <-chan error) error {
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
		case _, ok := <-signs:
			if !ok {
				return errLeaseLost
			}
			continue
		case fleet = <-fleets:
			if fleet == nil { // what was well may not be so meanwhile
				clear(t.seen)
				dark = t.now()
			}
		case <-look.C:
		}
		if !t.source.rolloutView().underWay {
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
	for name := range fleet.Rollouts {
		if !tasks[name] {
			if err := t.outlived(ctx, fleet, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// step makes the next step of one rollout.
func (t *turn) step(ctx context.Context, fleet *Fleet, entry Entry, plan task.Plan) error {
	have, known := fleet.Rollouts[entry.Name]
	if known && have.Phase != rollout.Rolling && have.About(entry.Created, entry.version()) {
		return nil
	}
	in := rollout.Input{
		Name: entry.Name, Spec: *plan.Rollout, Created: entry.Created, Target: entry.version(),
		Agents: fleet.concerned(entry.Name, plan.Select), Seen: t.seen[entry.Name], Now: t.now(),
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
	task, key := t.source.cfg.tasks()+entry.Name, t.source.cfg.rollouts()+entry.Name
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
	have, known := fleet.Rollouts[name]
	if !known {
		return nil
	}
	var rev int64
	for _, entry := range fleet.Tasks {
		if entry.Name == name {
			rev = entry.Modified
		}
	}
	task, key := t.source.cfg.tasks()+name, t.source.cfg.rollouts()+name
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
	resp, err := t.client.Get(ctx, t.source.cfg.goods()+entry.Name)
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
func (f Fleet) concerned(name string, aim *task.Selector) []rollout.Agent {
	var out []rollout.Agent
	for _, m := range f.Members {
		a := rollout.Agent{Identity: m.identity(), Name: m.Name}
		if !aim.Matches(a.Identity) {
			continue
		}
		for _, r := range m.Report.Tasks {
			if r.Name == name {
				a.Reported, a.Revision, a.State, a.Error = true, r.Revision, r.State, strings.ReplaceAll(r.Error, "\n", "; ")
				a.Refused, a.DeadLetters, a.LagGrows = r.RefusedRevision, r.DeadLetters, r.LagGrows
			}
		}
		out = append(out, a)
	}
	return out
}

func (m Member) identity() task.Identity {
	return task.Identity{ID: m.Agent.ID, Host: m.Agent.Host, Labels: m.Agent.Labels}
}
