package etcdsource

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

const (
	debounce      = 40 * time.Millisecond  // quiet time after an event before a snapshot is made
	maxDebounce   = 400 * time.Millisecond // longest that events which never end put off a snapshot
	cacheGrace    = 500 * time.Millisecond // how long etcd has for its first answer before the cache is published
	retryMin      = 250 * time.Millisecond // first pause after a failure
	retryMax      = 10 * time.Second       // longest pause
	retryBusy     = time.Minute            // longest pause while etcd does not answer in time: it has too much to do
	returnSpread  = 2 * time.Second        // over which agents come back that lost etcd together
	stableSession = time.Minute            // a session this long starts the pauses over
)

// Status is how the source stands with etcd at one moment.
type Status struct {
	Connected bool      `json:"connected"`            // logged in, listed, and watching
	Revision  int64     `json:"revision"`             // of the newest set known; from the cache until etcd answered
	Synced    time.Time `json:"synced,omitzero"`      // last complete listing; zero: none since the start
	LastError string    `json:"last_error,omitempty"` // one line; empty while connected
	Others    int       `json:"others"`               // tasks that are for other agents

	decoded int // texts of tasks, since the start
}

// Source is the task.Source of the tasks in etcd. Run is called once; Status
// and Connected may be called from any goroutine.
type Source struct {
	cfg  Config
	log  *slog.Logger
	link *link
	sets taskSets // belong to the goroutine of Run

	outbox      chan delivery // the newest set that waits for publish; never more than one
	synced      bool          // etcd was listed since the start; belongs to Run
	late        int           // answers in a row that came after their deadline; belongs to Run
	resumable   bool          // nothing but the connection failed since; belongs to Run
	cluster     uint64        // id of the etcd that was listed last; belongs to Run
	term        uint64        // of its leader then; belongs to Run
	cacheFailed atomic.Bool
	answered    atomic.Bool // etcd does what the source asks, or says why not

	mu        sync.Mutex
	status    Status
	unsent    bool                   // changes wait for the next delivery
	sent      int                    // deliveries made
	published int                    // deliveries handed on, by their number
	applied   int64                  // revision of the last one
	rollouts  map[string]rolloutView // by group
	groups    map[string]string      // of the tasks that run or were refused, where they are of one
}

// rolloutView is what others may know of the set's rollouts.
type rolloutView struct {
	underWay bool   // one that concerns this agent is to be moved on
	leader   string // name of the agent that does; empty: none
	trials   map[string]time.Duration
	waves    []RolloutWave
}

// RolloutWave is how far a change that has not reached every agent has come.
type RolloutWave struct {
	Task  string
	Phase rollout.Phase // rolling or back
	Wave  int           // the newest that is open, or in which it went back; from 1
}

// RolloutWaves returns, sorted by task, those that concern this agent.
func (s *Source) RolloutWaves() []RolloutWave {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []RolloutWave
	for group, view := range s.rollouts {
		for _, w := range view.waves {
			if of, known := s.groups[w.Task]; !known || of == group {
				out = append(out, w)
			}
		}
	}
	slices.SortFunc(out, func(a, b RolloutWave) int { return strings.Compare(a.Task, b.Task) })
	return slices.CompactFunc(out, func(a, b RolloutWave) bool { return a.Task == b.Task })
}

// delivery is one snapshot on its way to publish and to the cache.
type delivery struct {
	number   int // counted from 1; 0: from the cache
	snapshot task.Snapshot
	cache    *cacheBody // nil: the cache holds it already, or there is none
}

var _ task.Source = (*Source)(nil)

// New returns a source that touches neither etcd nor the disk before Run.
func New(cfg Config, log *slog.Logger) (*Source, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Source{
		cfg: cfg, log: log, link: newAgentLink(cfg, log), sets: newTaskSets(cfg), outbox: make(chan delivery, 1),
	}, nil
}

// Name returns "etcd".
func (s *Source) Name() string { return "etcd" }

// Status returns how the source stands with etcd.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Connected reports whether changes in etcd are seen at once.
func (s *Source) Connected() bool { return s.Status().Connected }

// Applied returns the revision up to which everything that concerns this agent
// was handed on; 0: nothing yet.
func (s *Source) Applied() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unsent && s.sent > 0 && s.published == s.sent {
		return s.status.Revision
	}
	return s.applied
}

// Trials returns, for each task of which this agent has a change that is being
// tried, for how much longer than before its oldest line may wait.
func (s *Source) Trials() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]time.Duration{}
	for group, view := range s.rollouts {
		for name, d := range view.trials {
			if s.groups[name] == group {
				out[name] = d
			}
		}
	}
	return out
}

// GroupOf returns the group that a task is of; empty: it is for all agents.
func (s *Source) GroupOf(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[name]
}

func (s *Source) rolloutView(group string) rolloutView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rollouts[group]
}

// tellRollouts lets others know what the sets know. Run alone calls it.
func (s *Source) tellRollouts() {
	views := make(map[string]rolloutView, len(s.sets))
	for _, set := range s.sets {
		views[set.cfg.group] = rolloutView{underWay: set.underWay(), leader: set.roll.leader, trials: set.trials(), waves: set.waves()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rollouts = views
}

func (s *Source) updateStatus(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// Run implements task.Source. The set in the cache is published when etcd
// does not answer at once.
func (s *Source) Run(ctx context.Context, publish func(task.Snapshot)) error {
	s.link.enter()
	defer func() { _ = s.link.leave() }()
	fallback := s.loadCache()
	failed := make(chan struct{})
	useFallback := sync.OnceFunc(func() { close(failed) })
	var publisher sync.WaitGroup
	defer publisher.Wait()
	publisher.Go(func() { s.publishLoop(ctx, fallback, failed, publish) })

	var quiet rateLimit
	for failures := 0; ; failures++ {
		began := time.Now()
		err := explain(s.cfg, s.session(ctx))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.answered.Store(!lostContact(err))
		s.updateStatus(func(st *Status) { st.Connected, st.LastError = false, err.Error() })
		useFallback()
		if time.Since(began) > stableSession {
			failures = 0
		}
		if s.late++; !tooLate(err) {
			s.late = 0
		}
		pause := pauseAfter(err, failures)
		s.log.Log(ctx, quiet.level(err.Error()), "no connection to etcd, the tasks known so far stay", "error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// publishLoop hands snapshots on, so that a slow publish holds up nothing else; of
// those that come meanwhile only the newest is kept. The fallback goes first
// if etcd failed or is late.
func (s *Source) publishLoop(ctx context.Context, fallback *delivery, failed <-chan struct{}, publish func(task.Snapshot)) {
	var late <-chan time.Time
	if fallback != nil {
		late = time.After(cacheGrace)
	} else {
		failed = nil
	}
	for {
		var d delivery
		select {
		case <-ctx.Done():
			return
		case <-late:
			d = *fallback
		case <-failed:
			d = *fallback
		case d = <-s.outbox:
		}
		late, failed = nil, nil
		if d.cache != nil {
			err := saveCache(s.cfg.CachePath, *d.cache)
			s.cacheFailed.Store(err != nil)
			if err != nil {
				s.log.Warn("cannot keep the task cache, a start without etcd would use an older set; check the disk", "error", err)
			}
		}
		publish(d.snapshot)
		s.mu.Lock()
		s.published, s.applied = d.number, d.snapshot.Revision
		s.mu.Unlock()
	}
}

// send puts a delivery in the place of one that still waits. Run alone calls it.
func (s *Source) send(d delivery) {
	select {
	case <-s.outbox:
	default:
	}
	s.outbox <- d
}

// deliver publishes the set as it is now.
func (s *Source) deliver() {
	s.mu.Lock()
	s.unsent = false
	s.sent++
	number := s.sent
	s.mu.Unlock()
	d := delivery{number: number, snapshot: s.snapshot()}
	if s.cfg.CachePath != "" {
		body := s.sets.export()
		d.cache = &body
	}
	s.send(d)
}

// snapshot joins the sets, and notes which group each task is of.
func (s *Source) snapshot() task.Snapshot {
	snap, groups := s.sets.snapshot()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups == nil {
		s.groups = groups
	}
	maps.Copy(s.groups, groups) // what was removed may be draining, and keeps its group
	return snap
}

// loadCache fills the set from the cache; nil if there is none.
func (s *Source) loadCache() *delivery {
	path := s.cfg.CachePath
	if path == "" {
		return nil
	}
	body, err := loadCache(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errDamaged):
		aside, asideErr := setAside(path)
		s.log.Error("task cache is damaged and was set aside, waiting for etcd", "path", path, "aside", aside, "error", errors.Join(err, asideErr))
		return nil
	default:
		s.log.Error("cannot read the task cache, waiting for etcd; check its permissions", "path", path, "error", err)
		return nil
	}
	if body.Prefix != s.sets[0].prefix {
		s.log.Info("task cache is of another prefix and is not used", "path", path, "prefix", body.Prefix)
		return nil
	}
	s.sets.restore(body)
	s.updateStatus(func(st *Status) { st.Revision, st.Others = body.Revision, s.sets.others() })
	s.tellRollouts()
	return &delivery{snapshot: s.snapshot()}
}
