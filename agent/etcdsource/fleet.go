package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// Fleet is what etcd holds of agents and tasks at one revision.
type Fleet struct {
	Revision int64
	Members  []Member                // sorted by name
	Tasks    []Entry                 // sorted by qualified name
	Rollouts map[string]RolloutEntry // by qualified name
	Leaders  map[string]string       // by group: name of the agent that moves rollouts on, where one does
}

// Member is one agent that runs: its registration and what it reports.
type Member struct {
	Name   string // of its keys; the id unless another agent holds that
	Agent  Agent
	Report Report // with a zero At: there is none yet
	Error  string // what cannot be read of the two; with a remedy
}

// Applied is the revision of the newest set of tasks that the agent is known
// to have applied.
func (m Member) Applied() int64 { return max(m.Agent.Revision, m.Report.Revision) }

// fleetSet is a fleet that events are applied to. It belongs to one goroutine.
type fleetSet struct {
	store    *Store
	prefixes []string // of all that may be read of it
	revision int64
	agents   map[string]Agent
	reports  map[string]Report
	tasks    map[string]Entry
	rollouts map[string]RolloutEntry
	leaders  map[string]string
	broken   map[string]string // by key: why its value cannot be read
}

// put takes over a key; one of no known kind is left alone.
func (f *fleetSet) put(kv *mvccpb.KeyValue) {
	f.remove(kv.Key)
	key := string(kv.Key)
	switch kind, group, name := f.store.cfg.place(key); {
	case kind == "tasks":
		f.tasks[Qualified(group, name)] = f.store.Group(group).entry(kv)
	case kind == "rollouts":
		f.putRollout(group, name, kv)
	case kind == "agents" && group == "":
		readMember(f, key, name, kv.Value, f.agents)
	case kind == "status" && group == "":
		readMember(f, key, name, kv.Value, f.reports)
	}
}

func (f *fleetSet) putRollout(group, name string, kv *mvccpb.KeyValue) {
	if name == leaderName {
		var who leaderValue
		_ = json.Unmarshal(kv.Value, &who)
		f.leaders[group] = who.Agent
		return
	}
	st := RolloutEntry{Modified: kv.ModRevision}
	_ = json.Unmarshal(kv.Value, &st.State) // one that cannot be read is of no version, and is written anew
	f.rollouts[Qualified(group, name)] = st
}

func readMember[T any](f *fleetSet, key, name string, text []byte, into map[string]T) {
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		f.broken[key] = fmt.Sprintf("%s cannot be read: %v; delete the key, its agent writes it anew", key, err)
	}
	into[name] = v
}

func (f *fleetSet) remove(key []byte) {
	delete(f.broken, string(key))
	switch kind, group, name := f.store.cfg.place(string(key)); {
	case kind == "tasks":
		delete(f.tasks, Qualified(group, name))
	case kind == "rollouts" && name == leaderName:
		delete(f.leaders, group)
	case kind == "rollouts":
		delete(f.rollouts, Qualified(group, name))
	case kind == "agents" && group == "":
		delete(f.agents, name)
	case kind == "status" && group == "":
		delete(f.reports, name)
	}
}

// fleet returns what the set holds now.
func (f *fleetSet) fleet() Fleet {
	out := Fleet{Revision: f.revision, Rollouts: maps.Clone(f.rollouts), Leaders: maps.Clone(f.leaders)}
	for _, name := range slices.Sorted(maps.Keys(f.tasks)) {
		out.Tasks = append(out.Tasks, f.tasks[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.agents)) {
		m := Member{Name: name, Agent: f.agents[name], Report: f.reports[name], Error: f.broken[f.store.cfg.agents()+name]}
		if text := f.broken[f.store.cfg.reports()+name]; m.Error == "" {
			m.Error = text
		}
		if m.Agent.ID == "" {
			m.Agent.ID = name
		}
		out.Members = append(out.Members, m)
	}
	return out
}

// Fleet reads all agents, their reports and all tasks, as they were at one
// moment.
func (s *Store) Fleet(ctx context.Context) (Fleet, error) {
	set, err := s.readFleet(ctx)
	if err != nil {
		return Fleet{}, err
	}
	return set.fleet(), nil
}

func (s *Store) readFleet(ctx context.Context) (*fleetSet, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c, err := s.link.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", explain(s.cfg, err))
	}
	prefixes := s.fleetPrefixes()
	resp, err := readAll(ctx, c, prefixes)
	if is(err, rpctypes.ErrPermissionDenied) && !s.scoped { // a role from before groups
		prefixes = prefixes[:len(prefixes)-1]
		resp, err = readAll(ctx, c, prefixes)
	}
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", explain(s.cfg, err))
	}
	set := &fleetSet{
		store: s, prefixes: prefixes, revision: resp.Header.Revision,
		agents: map[string]Agent{}, reports: map[string]Report{}, tasks: map[string]Entry{}, broken: map[string]string{},
		rollouts: map[string]RolloutEntry{}, leaders: map[string]string{},
	}
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			set.put(kv)
		}
	}
	return set, nil
}

// readAll reads all keys with any of the prefixes, as they were at one moment.
func readAll(ctx context.Context, c *clientv3.Client, prefixes []string) (*clientv3.TxnResponse, error) {
	var ops []clientv3.Op
	for _, prefix := range prefixes {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	return c.Txn(ctx).Then(ops...).Commit()
}

// fleetPrefixes are those of all that a fleet consists of; the last is that of
// all groups, unless the store is for what one of them does.
func (s *Store) fleetPrefixes() []string {
	if s.scoped {
		return []string{s.cfg.tasks(), s.cfg.rollouts(), s.cfg.agents(), s.cfg.reports()}
	}
	all := s.cfg.in("")
	return []string{all.tasks(), all.rollouts(), all.agents(), all.reports(), all.groups()}
}

// showShare is how many times longer than one show takes the pause after it is,
// at least: showing a large fleet must not keep a processor busy.
const showShare = 4

// WatchFleet calls show with the fleet as it is, and again after changes, once
// in each interval at most, always from its own goroutine. Should etcd fail,
// show gets the error with the last fleet known, and WatchFleet goes on when
// etcd answers. It returns an error when the first reading fails, and nil when
// ctx ends.
func (s *Store) WatchFleet(ctx context.Context, interval time.Duration, show func(Fleet, error)) error {
	var last Fleet
	for failures := 0; ; {
		set, err := s.readFleet(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
			show(set.fleet(), nil)
			err = s.followFleet(ctx, set, interval, show)
			last = set.fleet()
		case last.Revision == 0:
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errCompacted) {
			show(last, err)
		}
		if client := s.link.current(); client != nil {
			s.link.drop(client) // nothing of a connection that failed is left
		}
		if !wait(ctx, backoff(failures)) {
			return nil
		}
		failures++
	}
}

// followFleet applies what changes after the reading of set, until the watch
// is lost or ctx ends.
func (s *Store) followFleet(ctx context.Context, set *fleetSet, interval time.Duration, show func(Fleet, error)) error {
	client, err := s.link.get(ctx)
	if err != nil {
		return explain(s.cfg, err)
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	base := set.revision
	watches, err := s.openWatches(ctx, cancel, client, set.prefixes, base)
	if err != nil {
		return explain(s.cfg, err)
	}
	events, merged := merge(ctx, watches)
	defer merged()
	progress, silence, due := time.NewTicker(s.cfg.WatchTimeout/5), time.NewTimer(s.cfg.WatchTimeout), time.NewTimer(time.Hour)
	due.Stop()
	defer func() { progress.Stop(); silence.Stop(); due.Stop() }()
	waiting, pause := false, interval // waiting: changes are not shown yet
	for {
		var resp clientv3.WatchResponse
		var open bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			return errSilent
		case <-due.C:
			began := time.Now()
			show(set.fleet(), nil)
			waiting, pause = false, max(interval, showShare*time.Since(began))
			continue
		case <-progress.C:
			if err := askProgress(ctx, client, s.cfg.RequestTimeout); err != nil {
				return explain(s.cfg, err)
			}
			continue
		case resp, open = <-events:
		}
		if !open {
			return errLostWatch
		}
		silence.Reset(s.cfg.WatchTimeout)
		changed, err := set.apply(resp, base)
		if err != nil {
			return explain(s.cfg, err)
		}
		if changed && !waiting {
			waiting = true
			due.Reset(pause)
		}
	}
}

// openWatches begins at what is known; apply skips that. See Source.watch.
func (s *Store) openWatches(ctx context.Context, cancel func(), client *clientv3.Client, prefixes []string, base int64) (watches []clientv3.WatchChan, err error) {
	unanswered := time.AfterFunc(s.cfg.RequestTimeout, cancel)
	for _, prefix := range prefixes {
		watches = append(watches, client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(base)))
	}
	if !unanswered.Stop() {
		return watches, errNoAnswer
	}
	return watches, nil
}

// apply takes over the events after base.
func (f *fleetSet) apply(resp clientv3.WatchResponse, base int64) (changed bool, err error) {
	if resp.CompactRevision != 0 {
		return false, fmt.Errorf("%w at revision %d", errCompacted, resp.CompactRevision)
	}
	if err := resp.Err(); err != nil {
		return false, err
	}
	for _, ev := range resp.Events {
		if ev.Kv.ModRevision <= base {
			continue
		}
		changed, f.revision = true, max(f.revision, ev.Kv.ModRevision)
		if ev.Type == clientv3.EventTypeDelete {
			f.remove(ev.Kv.Key)
		} else {
			f.put(ev.Kv)
		}
	}
	return changed, nil
}

// askProgress requests a sign of life on the watches of ctx.
func askProgress(ctx context.Context, client *clientv3.Client, timeout time.Duration) error {
	// The client mends a broken connection by itself, and says nothing while it
	// tries; a new session finds out why.
	if state := client.ActiveConnection().GetState(); state != connectivity.Ready {
		return fmt.Errorf("%w: it is %s", errConnection, state)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := client.RequestProgress(ctx); err != nil {
		return fmt.Errorf("ask for progress: %w", err)
	}
	return nil
}
