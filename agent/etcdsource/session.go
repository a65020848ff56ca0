package etcdsource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"logferry/agent/task"
)

var (
	errCompacted  = errors.New("the watch fell behind a compaction")
	errWentBack   = errors.New("the revision went back, etcd was restored or replaced")
	errNoAnswer   = errors.New("the watch was not answered in time")
	errSilent     = errors.New("the watch gave no sign of life in time")
	errLostWatch  = errors.New("the watch was closed")
	errConnection = errors.New("the connection broke")
)

// session lists and watches over one connection until that fails. It drops the
// client then: nothing of a connection that failed is left in the next session.
func (s *Source) session(ctx context.Context) error {
	client, err := s.link.get(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() == nil { // at the agent's end the registrar still needs it
			s.link.drop(client)
		}
	}()
	resumed, err := s.resume(ctx, client)
	if err != nil {
		return fmt.Errorf("find etcd again: %w", err)
	}
	for {
		if !resumed {
			if _, err := s.list(ctx, client); err != nil {
				return fmt.Errorf("list tasks: %w", err)
			}
		}
		resumed = false
		err := s.watch(ctx, client)
		s.resumable = connectionFails(err) || errors.Is(err, errConnection) || errors.Is(err, errSilent)
		if !errors.Is(err, errCompacted) && !errors.Is(err, errWentBack) {
			return fmt.Errorf("watch tasks: %w", err)
		}
		s.log.Info("listing all tasks again", "reason", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff(0)):
		}
	}
}

// resume says whether the watch can go on where it broke off: then thousands of
// agents that find etcd again together ask for what they have missed, and not
// for all tasks.
func (s *Source) resume(ctx context.Context, client *clientv3.Client) (bool, error) {
	if !s.resumable || time.Since(s.Status().Synced) > s.cfg.ResyncInterval {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	resp, err := client.Get(ctx, s.set.prefix, clientv3.WithCountOnly())
	if err != nil {
		return false, err
	}
	h := resp.Header
	return h.ClusterId == s.cluster && h.RaftTerm >= s.term && h.Revision >= s.set.revision, nil
}

// list makes the set what etcd holds now. It reports whether that changed
// the set.
func (s *Source) list(ctx context.Context, client *clientv3.Client) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	values, states, revision, err := s.read(ctx, client)
	if err != nil {
		return false, err
	}
	if revision < s.set.revision {
		s.log.Warn("etcd is older than what was seen before, its tasks are taken all the same",
			"revision", revision, "seen", s.set.revision)
	}
	before := s.set.refusals()
	changed := s.set.replace(values, states, revision)
	changed = s.fetchMissing(ctx, client) || changed
	s.logRefusals(before)
	due := changed || !s.synced || s.cacheFailed.Load()
	s.mu.Lock()
	s.status.Revision, s.status.Others, s.status.Synced, s.status.decoded = s.set.revision, len(s.set.others), time.Now(), s.set.decoded
	s.unsent = s.unsent || due
	s.mu.Unlock()
	s.tellRollouts()
	if due {
		s.synced = true
		s.deliver()
	}
	return changed, nil
}

// read lists the tasks and the states of their rollouts as they were at one
// moment. The states are nil where the login may not read them.
func (s *Source) read(ctx context.Context, client *clientv3.Client) (map[string]value, map[string][]byte, int64, error) {
	tasks := clientv3.OpGet(s.set.prefix, clientv3.WithPrefix())
	resp, err := client.Txn(ctx).Then(tasks, clientv3.OpGet(s.set.rolloutPrefix, clientv3.WithPrefix())).Commit()
	denied := is(err, rpctypes.ErrPermissionDenied)
	if denied {
		resp, err = client.Txn(ctx).Then(tasks).Commit()
	}
	if err != nil {
		return nil, nil, 0, err
	}
	if denied && !s.set.roll.denied {
		s.log.Warn("rollouts cannot be read, changes that go from wave to wave do not reach this agent; grant its role readwrite", "prefix", s.set.rolloutPrefix)
	}
	s.set.roll.denied, s.cluster, s.term = denied, resp.Header.ClusterId, resp.Header.RaftTerm
	values := map[string]value{}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		values[s.set.nameOf(kv.Key)] = valueOf(kv)
	}
	if denied {
		return values, nil, resp.Header.Revision, nil
	}
	states := map[string][]byte{}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		states[strings.TrimPrefix(string(kv.Key), s.set.rolloutPrefix)] = kv.Value
	}
	return values, states, resp.Header.Revision, nil
}

func valueOf(kv *mvccpb.KeyValue) value {
	return value{raw: kv.Value, rev: kv.ModRevision, created: kv.CreateRevision}
}

// watcher is the state of one watch.
type watcher struct {
	s      *Source
	client *clientv3.Client
	events clientv3.WatchChan
	states clientv3.WatchChan // of rollouts; nil: they may not be read
	broken <-chan struct{}    // closed: the connection broke
	base   int64              // revision of the last listing; events up to it are known

	progress *time.Ticker // asks for a sign of life
	silence  *time.Timer  // ran out: no sign of life came
	resync   *time.Timer
	flush    *time.Timer // ran out: the events came to rest
	pending  time.Time   // of the first event that is not delivered; zero: none
}

// watch follows the changes after the last listing until the watch is lost.
func (s *Source) watch(ctx context.Context, client *clientv3.Client) error {
	// A member without a leader ends the watch instead of serving a silent one.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	unanswered := time.AfterFunc(s.cfg.RequestTimeout, cancel)
	// etcd answers no request for progress on a watch that begins behind its
	// newest revision, so this one begins at what is known; take skips that.
	events := client.Watch(ctx, s.set.prefix, clientv3.WithPrefix(), clientv3.WithRev(s.set.revision))
	var states clientv3.WatchChan
	if !s.set.roll.denied {
		states = client.Watch(ctx, s.set.rolloutPrefix, clientv3.WithPrefix(), clientv3.WithRev(s.set.revision))
	}
	if !unanswered.Stop() {
		return errNoAnswer
	}
	broken, done := breaks(ctx, client)
	defer done()
	w := &watcher{
		s: s, broken: broken, client: client, events: events, states: states, base: s.set.revision,
		progress: time.NewTicker(s.cfg.WatchTimeout / 5),
		silence:  time.NewTimer(s.cfg.WatchTimeout),
		resync:   time.NewTimer(jitter(s.cfg.ResyncInterval)),
		flush:    time.NewTimer(time.Hour),
	}
	w.flush.Stop()
	defer w.stop()
	return w.run(ctx)
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

func (w *watcher) stop() {
	w.progress.Stop()
	w.silence.Stop()
	w.resync.Stop()
	w.flush.Stop()
	if !w.pending.IsZero() {
		w.s.deliver()
	}
}

func (w *watcher) run(ctx context.Context) error {
	w.s.updateStatus(func(st *Status) { st.Connected, st.LastError = true, "" })
	w.s.log.Info("watching tasks in etcd", "prefix", w.s.set.prefix, "revision", w.base)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case resp, ok := <-w.events:
			if !ok {
				return errLostWatch
			}
			if err := w.take(ctx, resp); err != nil {
				return err
			}
		case resp, ok := <-w.states:
			if !ok {
				return errLostWatch
			}
			if err := w.take(ctx, resp); err != nil {
				return err
			}
		case <-w.flush.C:
			w.pending = time.Time{}
			w.s.deliver()
		case <-w.progress.C:
			if err := askProgress(ctx, w.client, w.s.cfg.RequestTimeout); err != nil {
				return err
			}
		case <-w.silence.C:
			return errSilent
		case <-w.broken:
			return errConnection
		case <-w.resync.C:
			if err := w.relist(ctx); err != nil {
				return err
			}
		}
	}
}

// take applies one response to the set.
func (w *watcher) take(ctx context.Context, resp clientv3.WatchResponse) error {
	if resp.CompactRevision != 0 {
		return fmt.Errorf("%w at revision %d", errCompacted, resp.CompactRevision)
	}
	if err := resp.Err(); err != nil {
		return err
	}
	w.silence.Reset(w.s.cfg.WatchTimeout)
	set, before, changed := w.s.set, w.s.set.refusals(), false
	for _, ev := range resp.Events {
		if ev.Kv.ModRevision <= w.base {
			continue
		}
		if name, ok := strings.CutPrefix(string(ev.Kv.Key), set.rolloutPrefix); ok {
			changed = set.setState(name, ev.Kv.Value) || changed // of a deleted one there is no value
			continue
		}
		set.revision = max(set.revision, ev.Kv.ModRevision)
		name := set.nameOf(ev.Kv.Key)
		if ev.Type == clientv3.EventTypeDelete {
			changed = set.remove(name) || changed
			continue
		}
		changed = set.put(name, valueOf(ev.Kv)) || changed
	}
	changed = w.s.fetchMissing(ctx, w.client) || changed
	w.s.mu.Lock()
	w.s.status.Revision, w.s.status.Others, w.s.status.decoded = set.revision, len(set.others), set.decoded
	w.s.unsent = w.s.unsent || changed
	w.s.mu.Unlock()
	w.s.tellRollouts()
	if !changed {
		return nil
	}
	w.s.logRefusals(before)
	if w.pending.IsZero() {
		w.pending = time.Now()
	}
	w.flush.Reset(max(0, min(debounce, maxDebounce-time.Since(w.pending))))
	return nil
}

// relist compares the set with a complete listing: a watch can lose events.
func (w *watcher) relist(ctx context.Context) error {
	before := w.s.set.revision
	if _, err := w.s.list(ctx, w.client); err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	if w.s.set.revision < before {
		return errWentBack
	}
	w.base = w.s.set.revision
	w.resync.Reset(jitter(w.s.cfg.ResyncInterval))
	return nil
}

// refusals returns what is refused at this moment.
func (s *taskSet) refusals() map[string]task.Refusal {
	m := make(map[string]task.Refusal, len(s.bad))
	for name, b := range s.bad {
		m[name] = b.refusal
	}
	return m
}

// logRefusals logs what was not refused before.
func (s *Source) logRefusals(before map[string]task.Refusal) {
	for name, b := range s.set.bad {
		if before[name] != b.refusal {
			s.log.Warn("task refused, its last good version stays", "task", name, "origin", b.refusal.Origin, "error", b.refusal.Error)
		}
	}
}
