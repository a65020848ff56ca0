package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// Fleet is what etcd holds of agents and tasks at one revision.
type Fleet struct {
	Revision int64
	Members  []Member // sorted by name
	Tasks    []Entry  // sorted by name
	Rollouts map[string]RolloutEntry
	Leader   string // name of the agent that moves rollouts on; empty: none does
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
	revision int64
	agents   map[string]Agent
	reports  map[string]Report
	tasks    map[string]Entry
	rollouts map[string]RolloutEntry
	leader   string
	broken   map[string]string // by key: why its value cannot be read
}

// put takes over a key; one of no known kind is left alone.
func (f *fleetSet) put(kv *mvccpb.KeyValue) {
	f.remove(kv.Key)
	key, cfg := string(kv.Key), f.store.cfg
	if name, ok := strings.CutPrefix(key, cfg.tasks()); ok {
		f.tasks[name] = f.store.entry(kv)
	} else if name, ok := strings.CutPrefix(key, cfg.agents()); ok {
		readMember(f, key, name, kv.Value, f.agents)
	} else if name, ok := strings.CutPrefix(key, cfg.reports()); ok {
		readMember(f, key, name, kv.Value, f.reports)
	} else if name, ok := strings.CutPrefix(key, cfg.rollouts()); ok {
		f.putRollout(name, kv)
	}
}

func (f *fleetSet) putRollout(name string, kv *mvccpb.KeyValue) {
	if name == leaderName {
		var who leaderValue
		_ = json.Unmarshal(kv.Value, &who)
		f.leader = who.Agent
		return
	}
	st := RolloutEntry{Modified: kv.ModRevision}
	_ = json.Unmarshal(kv.Value, &st.State) // one that cannot be read is of no version, and is written anew
	f.rollouts[name] = st
}

func readMember[T any](f *fleetSet, key, name string, text []byte, into map[string]T) {
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		f.broken[key] = fmt.Sprintf("%s cannot be read: %v; delete the key, its agent writes it anew", key, err)
	}
	into[name] = v
}

func (f *fleetSet) remove(key []byte) {
	cfg, k := f.store.cfg, string(key)
	delete(f.broken, k)
	delete(f.tasks, strings.TrimPrefix(k, cfg.tasks()))
	delete(f.agents, strings.TrimPrefix(k, cfg.agents()))
	delete(f.reports, strings.TrimPrefix(k, cfg.reports()))
	delete(f.rollouts, strings.TrimPrefix(k, cfg.rollouts()))
	if k == cfg.rollouts()+leaderName {
		f.leader = ""
	}
}

// fleet returns what the set holds now.
func (f *fleetSet) fleet() Fleet {
	out := Fleet{Revision: f.revision, Rollouts: maps.Clone(f.rollouts), Leader: f.leader}
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
	var ops []clientv3.Op
	for _, prefix := range s.fleetPrefixes() {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	resp, err := c.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", explain(s.cfg, err))
	}
	set := &fleetSet{
		store: s, revision: resp.Header.Revision,
		agents: map[string]Agent{}, reports: map[string]Report{}, tasks: map[string]Entry{}, broken: map[string]string{},
		rollouts: map[string]RolloutEntry{},
	}
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			set.put(kv)
		}
	}
	return set, nil
}

func (s *Store) fleetPrefixes() [4]string {
	return [4]string{s.cfg.tasks(), s.cfg.agents(), s.cfg.reports(), s.cfg.rollouts()}
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
	watches, err := s.openWatches(ctx, cancel, client, base)
	if err != nil {
		return explain(s.cfg, err)
	}
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
		case resp, open = <-watches[0]:
		case resp, open = <-watches[1]:
		case resp, open = <-watches[2]:
		case resp, open = <-watches[3]:
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
func (s *Store) openWatches(ctx context.Context, cancel func(), client *clientv3.Client, base int64) (watches [4]clientv3.WatchChan, err error) {
	unanswered := time.AfterFunc(s.cfg.RequestTimeout, cancel)
	for i, prefix := range s.fleetPrefixes() {
		watches[i] = client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(base))
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
