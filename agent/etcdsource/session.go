package etcdsource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

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
		s.resumable = lostContact(err)
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

// lostContact says whether an error is about the way to etcd, and not what etcd
// says of a request.
func lostContact(err error) bool {
	for _, lost := range []error{errConnection, errSilent, errLostWatch, errNoAnswer} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return connectionFails(err)
}

// resume says whether the watch can go on where it broke off: then thousands of
// agents that find etcd again together ask for what they have missed, and not
// for all tasks.
func (s *Source) resume(ctx context.Context, client *clientv3.Client) (bool, error) {
	if !s.resumable || time.Since(s.Status().Synced) > s.cfg.ResyncInterval {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.listTimeout())
	defer cancel()
	resp, err := client.Get(ctx, s.sets[0].prefix, clientv3.WithCountOnly())
	if err != nil {
		return false, err
	}
	h := resp.Header
	return h.ClusterId == s.cluster && h.RaftTerm >= s.term && h.Revision >= s.sets.revision(), nil
}

// list makes the set what etcd holds now. It reports whether that changed
// the set.
func (s *Source) list(ctx context.Context, client *clientv3.Client) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.listTimeout())
	defer cancel()
	listings, revision, err := s.read(ctx, client)
	if err != nil {
		return false, err
	}
	if revision < s.sets.revision() {
		s.log.Warn("etcd is older than what was seen before, its tasks are taken all the same",
			"revision", revision, "seen", s.sets.revision())
	}
	s.late = 0
	before, changed := s.sets.refusals(), false
	for i, set := range s.sets {
		changed = set.replace(listings[i].values, listings[i].states, revision) || changed
		changed = set.fetchMissing(ctx, client) || changed
	}
	s.logRefusals(before)
	due := changed || !s.synced || s.cacheFailed.Load()
	s.mu.Lock()
	s.status.Revision, s.status.Others, s.status.Synced, s.status.decoded = revision, s.sets.others(), time.Now(), s.sets.decoded()
	s.unsent = s.unsent || due
	s.mu.Unlock()
	s.tellRollouts()
	if due {
		s.synced = true
		s.deliver()
	}
	return changed, nil
}

// listing is all that etcd holds for one set.
type listing struct {
	values map[string]value
	states map[string][]byte // of rollouts; nil where the login may not read them
}

// read lists the tasks and the states of their rollouts as they were at one
// moment.
func (s *Source) read(ctx context.Context, client *clientv3.Client) ([]listing, int64, error) {
	var tasks, all []clientv3.Op
	for _, set := range s.sets {
		tasks = append(tasks, clientv3.OpGet(set.prefix, clientv3.WithPrefix()))
		all = append(all, tasks[len(tasks)-1], clientv3.OpGet(set.rolloutPrefix, clientv3.WithPrefix()))
	}
	resp, err := client.Txn(ctx).Then(all...).Commit()
	denied := is(err, rpctypes.ErrPermissionDenied)
	if denied {
		resp, err = client.Txn(ctx).Then(tasks...).Commit()
	}
	if err != nil {
		return nil, 0, err
	}
	s.cluster, s.term = resp.Header.ClusterId, resp.Header.RaftTerm
	listings := make([]listing, len(s.sets))
	for i, set := range s.sets {
		if denied && !set.roll.denied {
			s.log.Warn("rollouts cannot be read, changes that go from wave to wave do not reach this agent; grant its role readwrite", "prefix", set.rolloutPrefix)
		}
		set.roll.denied = denied
		at := i
		if !denied {
			at = 2 * i
			listings[i].states = map[string][]byte{}
			for _, kv := range resp.Responses[at+1].GetResponseRange().Kvs {
				listings[i].states[strings.TrimPrefix(string(kv.Key), set.rolloutPrefix)] = kv.Value
			}
		}
		listings[i].values = map[string]value{}
		for _, kv := range resp.Responses[at].GetResponseRange().Kvs {
			listings[i].values[set.nameOf(kv.Key)] = valueOf(kv)
		}
	}
	return listings, resp.Header.Revision, nil
}

func valueOf(kv *mvccpb.KeyValue) value {
	return value{raw: kv.Value, rev: kv.ModRevision, created: kv.CreateRevision}
}

// watcher is the state of one watch.
type watcher struct {
	s      *Source
	client *clientv3.Client
	events <-chan clientv3.WatchResponse // of all sets; closed when one of them is lost
	broken <-chan struct{}               // closed: the connection broke

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
	unanswered := time.AfterFunc(s.listTimeout(), cancel)
	// etcd answers no request for progress on a watch that begins behind its
	// newest revision, so this one begins at what is known; apply skips that.
	var watches []clientv3.WatchChan
	for _, set := range s.sets {
		watches = append(watches, client.Watch(ctx, set.prefix, clientv3.WithPrefix(), clientv3.WithRev(set.known[ofTasks])))
		if !set.roll.denied {
			watches = append(watches, client.Watch(ctx, set.rolloutPrefix, clientv3.WithPrefix(), clientv3.WithRev(set.known[ofStates])))
		}
	}
	if !unanswered.Stop() {
		return errNoAnswer
	}
	events, merged := merge(ctx, watches)
	defer merged()
	broken, done := breaks(ctx, client)
	defer done()
	w := &watcher{
		s: s, broken: broken, client: client, events: events,
		progress: time.NewTicker(s.cfg.WatchTimeout / 3),
		silence:  time.NewTimer(s.cfg.WatchTimeout),
		resync:   time.NewTimer(jitter(s.cfg.ResyncInterval)),
		flush:    time.NewTimer(time.Hour),
	}
	w.flush.Stop()
	defer w.stop()
	return w.run(ctx)
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
	w.s.answered.Store(true)
	w.s.updateStatus(func(st *Status) { st.Connected, st.LastError = true, "" })
	w.s.log.Info("watching tasks in etcd", "prefix", w.s.sets[0].prefix, "groups", w.s.cfg.Groups, "revision", w.s.sets.revision())
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
	sets, before := w.s.sets, w.s.sets.refusals()
	changed := sets.apply(resp.Events)
	for _, set := range sets {
		changed = set.fetchMissing(ctx, w.client) || changed
	}
	w.s.mu.Lock()
	w.s.status.Revision, w.s.status.Others, w.s.status.decoded = sets.revision(), sets.others(), sets.decoded()
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
	before := w.s.sets.revision()
	if _, err := w.s.list(ctx, w.client); err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	if w.s.sets.revision() < before {
		return errWentBack
	}
	w.resync.Reset(jitter(w.s.cfg.ResyncInterval))
	return nil
}

// logRefusals logs what was not refused before.
func (s *Source) logRefusals(before map[string]task.Refusal) {
	for name, refusal := range s.sets.refusals() {
		if before[name] != refusal {
			s.log.Warn("task refused, its last good version stays", "task", name, "origin", refusal.Origin, "error", refusal.Error)
		}
	}
}
