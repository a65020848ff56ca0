package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"logferry/agent/task"
	"logferry/collector/checkpoint"
)

// Supervisor runs one pipeline for each task of the newest snapshots. Changing
// one task touches that task alone: each has a keeper goroutine of its own
// that stops the old version, waits for its acknowledgements, and starts the
// new one at the committed offsets.
//
// Run is called once; Apply and Tasks may be called from any goroutine.
type Supervisor struct {
	build  func(t task.Task, remote bool) (*pipeline, error)
	forget func(name string) // drops the metrics of a removed task
	self   task.Identity
	order  []string // sources, the strongest first
	log    *slog.Logger
	aside  func(name string) uint64 // dead letters of a task since the program started; nil: there are none

	places   *checkpoint.Store                      // of tasks in their files; nil: none can be taken over
	reach    func(context.Context, task.Task) error // says why a task's cluster cannot be reached; nil: nobody looks
	changed  chan struct{}
	finished chan struct{} // some task finished, or what should run changed

	mu        sync.Mutex
	snapshots map[string]task.Snapshot
	keepers   map[string]*keeper
	stopped   map[string]want    // that are paused
	leaving   map[string]*keeper // removed or paused, and perhaps still draining
	refused   map[string]refusal
	others    int    // tasks of the sources that are for other agents
	missing   string // a source of which no snapshot is part of what should run yet; empty: there is none
}

type refusal struct {
	task.Refusal
	source string
}

// want is the version of a task that should run.
type want struct {
	task     task.Task
	source   string
	revision int64 // of etcd, that wrote it; 0: it is not from there
}

// NewSupervisor makes a supervisor for the agent self and the sources named in
// order: when two define a task of the same name that is for this agent, the
// first one's stands and the other is refused.
func NewSupervisor(self task.Identity, order []string, build func(task.Task, bool) (*pipeline, error), forget func(string), log *slog.Logger) *Supervisor {
	return &Supervisor{
		build: build, forget: forget, self: self, order: order, log: log,
		changed: make(chan struct{}, 1), finished: make(chan struct{}, 1), snapshots: map[string]task.Snapshot{}, keepers: map[string]*keeper{}, leaving: map[string]*keeper{}, refused: map[string]refusal{},
	}
}

// Apply replaces the snapshot of one source.
func (s *Supervisor) Apply(source string, snap task.Snapshot) {
	s.mu.Lock()
	s.snapshots[source] = snap
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run keeps the tasks running until ctx ends, then stops all of them at once,
// each within its drain time.
func (s *Supervisor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.changed:
			s.reconcile(ctx, &wg)
			s.noteFinished()
		}
	}
}

// reconcile compares the desired set with what runs.
func (s *Supervisor) reconcile(ctx context.Context, wg *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	desired, refused, others := s.desiredLocked()
	s.refused, s.others, s.stopped, s.missing = refused, others, map[string]want{}, s.unheardLocked()
	for name, w := range desired {
		if w.task.Paused {
			s.stopped[name] = w
			delete(desired, name)
		}
	}
	for name, k := range s.keepers {
		if _, ok := desired[name]; !ok {
			_, paused := s.stopped[name]
			s.log.Info("task removed", "task", name, "paused", paused)
			delete(s.keepers, name)
			s.leaving[name] = k
			k.set(nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(desired)) {
		w := desired[name]
		k := s.keepers[name]
		if k == nil {
			k = newKeeper(s, name)
			if old := s.leaving[name]; old != nil {
				k.after = old.done
			}
			s.keepers[name] = k
			k.set(&w) // before it runs: a keeper that wants nothing ends
			wg.Go(func() {
				k.run(ctx)
				s.left(k)
			})
			continue
		}
		k.set(&w)
	}
	s.signalWaitingLocked()
}

// unheardLocked names a source that has delivered no snapshot; empty: each has.
func (s *Supervisor) unheardLocked() (name string) {
	for _, source := range s.order {
		if _, heard := s.snapshots[source]; !heard {
			name = source
		}
	}
	return name
}

// left forgets a removed keeper that has ended.
func (s *Supervisor) left(k *keeper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving[k.name] == k {
		delete(s.leaving, k.name)
		s.signalWaitingLocked()
	}
}

func (s *Supervisor) desiredLocked() (desired map[string]want, refused map[string]refusal, others int) {
	desired, refused = map[string]want{}, map[string]refusal{}
	for _, source := range s.order {
		snap := s.snapshots[source]
		for _, r := range snap.Refused {
			refused[r.Name] = refusal{r, source}
		}
		for _, t := range snap.Tasks {
			if !t.Select.Matches(s.self) {
				others++
				continue
			}
			if first, taken := desired[t.Name]; taken {
				r := refusal{task.Refusal{Name: t.Name, Origin: source,
					Error: fmt.Sprintf("a task named %q is already defined by %s; rename one of them", t.Name, first.source)}, source}
				if s.refused[t.Name] != r { // other refusals are logged by their source
					s.log.Warn("task refused", "task", t.Name, "source", source, "error", r.Error)
				}
				refused[t.Name] = r
				continue
			}
			desired[t.Name] = want{task: t, source: source, revision: snap.Revisions[t.Name]}
		}
	}
	return desired, refused, others
}

// Task returns the version of a task that runs, is to run or is paused; nil: the
// agent has none of that name.
func (s *Supervisor) Task(name string) *task.Task {
	s.mu.Lock()
	k := s.keepers[name]
	w, paused := s.stopped[name]
	s.mu.Unlock()
	if k != nil {
		if now := k.current(); now != nil {
			return &now.task
		}
	}
	if paused {
		return &w.task
	}
	return nil
}

// Names lists the tasks that Task finds, sorted.
func (s *Supervisor) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := append(slices.Collect(maps.Keys(s.keepers)), slices.Collect(maps.Keys(s.stopped))...)
	slices.Sort(names)
	return names
}

// Others returns how many tasks of the sources are for other agents.
func (s *Supervisor) Others() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others
}

// Applied reports whether every source has delivered a snapshot.
func (s *Supervisor) Applied() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.snapshots) == len(s.order)
}

// ReloadOK reports whether the newest snapshots hold no refused task.
func (s *Supervisor) ReloadOK() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.refused) == 0
}
