package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
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
	cfg    Config        // of what is for all agents, or of one group
	name   func() string // of this agent's keys; empty: it is not registered
	log    *slog.Logger
	store  *Store
	ttl    time.Duration
	now    func() time.Time
}

// NewConductor returns a conductor on the connection of the registrar's source.
func NewConductor(r *Registrar, log *slog.Logger) *Conductor {
	return &Conductor{
		source: r.source, cfg: r.source.cfg, name: func() string { return r.Status().Name }, log: log,
		ttl: leaderTTL, now: time.Now,
	}
}

// Run offers this agent while a rollout that concerns it is under way, until
// ctx ends. It is called once. Each group has a leader of its own.
func (c *Conductor) Run(ctx context.Context) error {
	c.source.link.enter()
	defer func() { _ = c.source.link.leave() }()
	var groups sync.WaitGroup
	for _, cfg := range c.cfg.scopes() {
		one := *c
		one.cfg, one.store = cfg, &Store{cfg: cfg, log: c.log, link: c.source.link, scoped: true}
		groups.Go(func() { one.run(ctx) })
	}
	groups.Wait()
	return ctx.Err()
}

func (c *Conductor) view() rolloutView { return c.source.rolloutView(c.cfg.group) }

// run is Run for one group.
func (c *Conductor) run(ctx context.Context) {
	var quiet rateLimit
	for failures := 0; wait(ctx, conductorLook); {
		if view := c.view(); !view.underWay || view.leader != "" || c.name() == "" {
			failures = 0
			continue
		}
		// Of many agents that see the same, few should try at once.
		if !wait(ctx, rand.N(conductorWait)) || c.view().leader != "" {
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
}

// Leads says whether this is an agent that moves rollouts on at the moment, for
// all agents or for one of its groups.
func (c *Conductor) Leads() bool {
	name := c.name()
	return name != "" && slices.ContainsFunc(c.cfg.scopes(), func(cfg Config) bool { return c.source.rolloutView(cfg.group).leader == name })
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
	lost, held := holdLease(ctx, client, t.lease, c.ttl)
	defer held()
	c.log.Info("this agent moves rollouts on", "agent", t.value.Agent, "prefix", c.cfg.base())

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
	return t.run(ctx, lost, fleets, blind)
}

// claim makes this agent the leader if there is none.
func (c *Conductor) claim(ctx context.Context, client *clientv3.Client) (*turn, error) {
	t := &turn{
		Conductor: c, client: client, value: leaderValue{Agent: c.name(), Since: c.now().UTC().Truncate(time.Second)},
		seen: map[string]rollout.Seen{}, before: map[string]found{}, plans: map[string]readPlan{},
	}
	ctx, cancel := context.WithTimeout(ctx, c.source.cfg.RequestTimeout)
	defer cancel()
	// In a large fleet many offer themselves before they see who was first: they
	// should find out without a write.
	held, err := client.Get(ctx, c.leaderKey(), clientv3.WithCountOnly())
	if err == nil && held.Count > 0 {
		err = errOutvoted
	}
	if err != nil {
		return nil, err
	}
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

func (c *Conductor) leaderKey() string { return c.cfg.rollouts() + leaderName }

// resign lets another agent lead at once, if etcd can be reached.
func (t *turn) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_, _ = t.client.Revoke(ctx, t.lease)
}
