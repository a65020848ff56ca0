package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"logferry/agent/task"
	"logferry/collector"
)

// TaskState says what a task is doing on this agent.
type TaskState string

const (
	TaskPending  TaskState = "pending"  // known, not yet started
	TaskRunning  TaskState = "running"  // its pipeline runs
	TaskDraining TaskState = "draining" // it reads no more and waits for acknowledgements
	TaskFailing  TaskState = "failing"  // its pipeline cannot be started, or cannot deliver
	TaskStopped  TaskState = "stopped"  // it is paused
	TaskRefused  TaskState = "refused"  // its definition is not valid and there was never a valid one
	TaskFinished TaskState = "finished" // it reads once, and all of that is delivered
)

// restartDelay is the pause before a pipeline that ended by itself runs again.
const restartDelay = time.Second

// keeper runs the versions of one task, one after the other.
type keeper struct {
	s      *Supervisor
	name   string
	signal chan struct{}   // want changed
	after  <-chan struct{} // closed when the removed keeper of the same name has ended; nil: there is none
	done   chan struct{}   // closed when run has returned

	mu      sync.Mutex
	want    *want // nil: removed
	running *pipeline
	version want // what running was built from, or could not be
	state   TaskState
	err     string
	started time.Time
	aside   uint64 // dead letters before the version came
	waiting bool   // for another task to go, see takeOver
	held    string // why want does not run, while version runs on; see vet.go
	ended   intake // of a version that is finished; nil otherwise
}

func newKeeper(s *Supervisor, name string) *keeper {
	return &keeper{s: s, name: name, signal: make(chan struct{}, 1), done: make(chan struct{}), state: TaskPending}
}

// set says which version should run; nil removes the task.
func (k *keeper) set(w *want) {
	k.mu.Lock()
	same := k.want != nil && w != nil && k.want.sameWork(*w)
	if same && k.want.revision != w.revision { // a new version, although nothing starts
		k.aside = k.deadLetters()
	}
	k.want = w
	k.version = k.newestLocked(k.version)
	k.mu.Unlock()
	if same {
		return
	}
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

func (k *keeper) deadLetters() uint64 {
	if k.s.aside == nil {
		return 0
	}
	return k.s.aside(k.name)
}

// tryLocked takes note that a version is what runs, or cannot be started.
func (k *keeper) tryLocked(w want) {
	if !k.version.sameWork(w) {
		k.aside = k.deadLetters()
	}
	k.version = k.newestLocked(w)
}

// newestLocked returns the newest version whose work is that of v: it differs in
// its revision and in which other agents it is for.
func (k *keeper) newestLocked(v want) want {
	if k.want != nil && k.want.sameWork(v) {
		return *k.want
	}
	return v
}

func (w want) sameWork(other want) bool {
	return w.source == other.source && task.SameWork(w.task, other.task)
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	if k.after != nil {
		<-k.after // both at once would read the same files from the same offsets
	}
	for ctx.Err() == nil {
		w := k.current()
		if w == nil {
			k.s.forget(k.name)
			return
		}
		ready, err := k.takeOver(*w)
		switch {
		case err != nil:
			k.mu.Lock()
			k.tryLocked(*w)
			k.mu.Unlock()
			k.failed(err)
		case !ready:
			select {
			case <-k.signal:
			case <-ctx.Done():
			}
			continue
		case k.changedMeanwhile() || k.runVersion(ctx, *w):
			continue
		}
		pause := time.NewTimer(restartDelay)
		select {
		case <-k.signal:
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// changedMeanwhile takes what signalled up to now for seen: the version is to be
// looked at again then.
func (k *keeper) changedMeanwhile() bool {
	select {
	case <-k.signal:
		return true
	default:
		return false
	}
}

func (k *keeper) current() *want {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want
}

// runVersion runs one version until the task changes or ctx ends (true), or
// until it fails (false).
func (k *keeper) runVersion(ctx context.Context, w want) bool {
	p, err := k.s.build(w.task, w.source == sourceEtcd)
	if err != nil {
		k.mu.Lock()
		k.tryLocked(w)
		k.mu.Unlock()
		k.failed(err)
		return false
	}
	k.mu.Lock()
	k.running, k.state, k.err, k.started, k.ended = p, TaskRunning, "", time.Now(), nil
	k.tryLocked(w)
	k.mu.Unlock()
	k.s.log.Info("task started", "task", k.name, "source", w.source, "topic", w.task.Topic, "paths", w.task.Paths)

	changed, err := k.runUntilChanged(ctx, p, w)
	k.mu.Lock()
	k.running, k.held = nil, ""
	k.mu.Unlock()
	if err != nil {
		k.failed(err)
	}
	if !changed && err == nil && p.once != nil {
		if report := p.once.Report(); !report.Finished.IsZero() {
			return k.rest(ctx, p, report)
		}
	}
	if changed {
		k.s.log.Info("task stopped", "task", k.name)
	}
	return changed
}

func (k *keeper) runUntilChanged(ctx context.Context, p *pipeline, running want) (changed bool, err error) {
	pctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- p.run(pctx) }()
	if ended, err := k.waitForChange(ctx, done, p, running); ended {
		return false, err
	}
	k.setState(TaskDraining)
	stop()
	return true, <-done
}

// waitForChange returns when the pipeline is to stop, or (true) has ended by
// itself. A version that cannot deliver is no reason to stop one that does.
func (k *keeper) waitForChange(ctx context.Context, done <-chan error, p *pipeline, running want) (ended bool, err error) {
	vet := &vetting{stop: func() {}}
	defer func() { vet.stop() }()
	for {
		select {
		case err = <-done:
			return true, err
		case <-ctx.Done():
			return false, nil
		case err := <-vet.news:
			if k.hold(err); err == nil {
				return false, nil
			}
		case <-k.signal:
			vet.stop()
			vet = &vetting{stop: func() {}}
			if w := k.current(); w != nil && w.sameWork(running) { // back to what runs
				k.hold(nil)
				continue
			}
			next, needed := k.toVet(running, p)
			if !needed {
				k.hold(nil)
				return false, nil
			}
			vet = startVetting(ctx, next.task, k.s.reach)
		}
	}
}

// rest keeps what a finished task reports until the task changes or ctx ends. Nothing of it
// runs, and no file is open.
func (k *keeper) rest(ctx context.Context, p *pipeline, r collector.OnceReport) bool {
	k.mu.Lock()
	k.state, k.err, k.ended = TaskFinished, r.Error, p.once
	k.mu.Unlock()
	k.s.log.Info("task finished", "task", k.name, "files", r.Files, "failed", r.Failed, "records", r.Records, "bytes", r.Bytes)
	k.s.noteFinished()
	select {
	case <-k.signal:
	case <-ctx.Done():
	}
	return true
}

func (k *keeper) setState(st TaskState) {
	k.mu.Lock()
	k.state = st
	k.mu.Unlock()
}

func (k *keeper) failed(err error) {
	k.mu.Lock()
	first := k.err != err.Error()
	k.state, k.err = TaskFailing, err.Error()
	k.mu.Unlock()
	if first {
		k.s.log.Error("task cannot run, it is tried again", "task", k.name, "error", err)
	}
}

// TaskStatus is a moment's view of one task, for the API and the metrics.
type TaskStatus struct {
	Name     string     `json:"name"`
	Source   string     `json:"source"`
	State    TaskState  `json:"state"`
	Error    string     `json:"error,omitempty"`    // what is wrong now, or why the newest version was refused; with its remedy
	Held     bool       `json:"held,omitempty"`     // Task cannot deliver, and the last good version runs meanwhile
	Refused  bool       `json:"refused,omitempty"`  // the newest version was refused; what runs is the last good one
	Revision int64      `json:"revision,omitempty"` // of etcd, that wrote Task
	Started  time.Time  `json:"started,omitzero"`   // when the version that runs was started
	Task     *task.Task `json:"task,omitempty"`     // what runs, is paused, or cannot be started

	Files         int     `json:"files"`
	LagBytes      int64   `json:"lag_bytes"`
	LagSeconds    float64 `json:"lag_seconds"` // of the file that is furthest behind
	BufferedBytes int     `json:"buffered_bytes"`
	NotCollected  int     `json:"not_collected,omitempty"`         // paths that match and cannot or must not be read
	FirstRefused  string  `json:"not_collected_example,omitempty"` // the first of them, with its reason
	Abandoned     int64   `json:"abandoned_bytes,omitempty"`       // bytes of its files that were given up since its version was started
	SetAside      uint64  `json:"set_aside,omitempty"`             // records that became dead letters since its version came

	RefusedRevision int64 `json:"refused_revision,omitempty"` // of etcd, that wrote the newest version, if it was refused

	Once *collector.OnceReport `json:"once,omitempty"` // how far a task is that reads once

	// Since the agent's start; only the API fills them in.
	AckedRecords  uint64 `json:"acked_records"`
	AckedBytes    uint64 `json:"acked_bytes"` // of the records' values
	ProduceErrors uint64 `json:"produce_errors"`
	DeadLetters   uint64 `json:"dead_letters"`

	states  map[collector.FileState]int
	collect intake // of what runs or is finished; nil: there is none
}

// Tasks lists every task that this agent knows, sorted by name.
func (s *Supervisor) Tasks() []TaskStatus {
	s.mu.Lock()
	keepers := slices.Collect(maps.Values(s.keepers))
	refused := maps.Clone(s.refused)
	out := s.stoppedLocked()
	s.mu.Unlock()
	for _, k := range keepers {
		out = append(out, k.status())
	}
	for i := range out {
		if r, ok := refused[out[i].Name]; ok {
			out[i].Refused, out[i].Error, out[i].RefusedRevision = true, r.Origin+": "+r.Error, r.Revision
			delete(refused, out[i].Name)
		}
	}
	for name, r := range refused {
		out = append(out, TaskStatus{Name: name, Source: r.source, State: TaskRefused, Refused: true, Error: r.Origin + ": " + r.Error, RefusedRevision: r.Revision})
	}
	slices.SortFunc(out, func(a, b TaskStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// stoppedLocked lists the tasks that are paused.
func (s *Supervisor) stoppedLocked() []TaskStatus {
	var out []TaskStatus
	for name, w := range s.stopped {
		st := TaskStatus{Name: name, Source: w.source, State: TaskStopped, Revision: w.revision, Task: &w.task}
		if s.leaving[name] != nil {
			st.State = TaskDraining
		}
		out = append(out, st)
	}
	return out
}

// brief returns what can be said without a look at the files, and the pipeline
// that runs, if one does.
func (k *keeper) brief() (TaskStatus, *pipeline) {
	k.mu.Lock()
	p := k.running
	st := TaskStatus{Name: k.name, State: k.state, Error: k.err, Started: k.started, Source: k.version.source, Revision: k.version.revision}
	if k.version.task.Name != "" {
		t := k.version.task
		st.Task = &t
	}
	if k.held != "" && p != nil && k.want != nil {
		t := k.want.task
		st.State, st.Error, st.Held, st.Task, st.Source, st.Revision = TaskFailing, k.held, true, &t, k.want.source, k.want.revision
	}
	k.mu.Unlock()
	if p == nil || st.Held {
		return st, p
	}
	if err := p.sink.Err(); err != nil {
		st.Error = err.Error()
		if st.State == TaskRunning {
			st.State = TaskFailing
		}
		return st, p
	}
	if path, why, n := p.collect.CollectsNothing(); n > 0 && st.State == TaskRunning {
		st.State, st.Error = TaskFailing, collectsNothing(path, why, n)
	}
	return st, p
}

func collectsNothing(path, why string, n int) string {
	if n == 1 {
		return fmt.Sprintf("nothing is collected, the only path that matches cannot be: %s: %s", path, why)
	}
	return fmt.Sprintf("nothing is collected, none of the %d paths that match can be; %s: %s", n, path, why)
}

// status returns what one task does that is neither paused nor refused.
func (s *Supervisor) status(name string) (TaskStatus, bool) {
	s.mu.Lock()
	k := s.keepers[name]
	s.mu.Unlock()
	if k == nil {
		return TaskStatus{}, false
	}
	return k.status(), true
}

func (k *keeper) status() TaskStatus {
	st, p := k.brief()
	k.mu.Lock()
	aside, from := k.aside, k.ended
	k.mu.Unlock()
	if p != nil {
		st.BufferedBytes, from = p.account.Used(), p.collect
	}
	if from == nil {
		return st
	}
	if n := k.deadLetters(); n > aside && !st.Held {
		st.SetAside = n - aside
	}
	st.Abandoned = from.Abandoned()
	st.NotCollected, st.FirstRefused = from.NotCollected()
	totals := from.Totals()
	st.Files, st.LagBytes, st.LagSeconds = totals.Count(), totals.LagBytes, totals.LagSeconds
	st.states, st.collect = totals.Files, from
	if once, ok := from.(*collector.Once); ok {
		report := once.Report()
		st.Once = &report
	}
	return st
}
