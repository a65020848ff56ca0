package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

// agent is a simulated one: a real source and a real registrar, and in the
// place of pipelines a list of what was applied.
type agent struct {
	app       int
	source    *etcdsource.Source
	registrar *etcdsource.Registrar
	started   time.Time
	digest    atomic.Uint64

	mu   sync.Mutex
	revs map[string]int64 // of the tasks that it runs
	seen []arrival
	sets int // snapshots that it was given
}

// arrival is one version of a task that an agent applied.
type arrival struct {
	task string
	rev  int64
	at   time.Time
}

func newAgent(number int, opts options, endpoints []string) (*agent, error) {
	id := fmt.Sprintf("agent-%05d", number)
	a := &agent{app: number % opts.apps, started: time.Now(), revs: map[string]int64{}}
	labels := map[string]string{"app": appName(a.app), "env": "prod", "zone": fmt.Sprintf("zone-%d", number%3)}
	allow, err := task.NewAllowList([]string{"/var/log/**"})
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	a.source, err = etcdsource.New(etcdsource.Config{
		Endpoints: endpoints, AllowPaths: allow, Identity: task.Identity{ID: id, Host: id, Labels: labels},
	}, quiet)
	if err != nil {
		return nil, err
	}
	a.registrar, err = etcdsource.NewRegistrar(a.source, etcdsource.RegistrarConfig{
		Agent:  etcdsource.Agent{ID: id, Host: id, Version: "simulated", Labels: labels, Started: a.started.UTC().Truncate(time.Second), HTTP: id + ":9600", Instance: id},
		Tasks:  a.reports,
		Digest: func() (all, urgent uint64) { return a.digest.Load(), 0 },
	}, quiet)
	return a, err
}

// run is the agent's life.
func (a *agent) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.source.Run(ctx, a.apply) })
	wg.Go(func() { _ = a.registrar.Run(ctx) })
	wg.Wait()
}

// apply stands for the supervisor.
func (a *agent) apply(snap task.Snapshot) {
	now, digest := time.Now(), fnv.New64a()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sets++
	for _, t := range snap.Tasks {
		rev := snap.Revisions[t.Name]
		if a.revs[t.Name] != rev {
			a.seen = append(a.seen, arrival{t.Name, rev, now})
			a.revs[t.Name] = rev
		}
		fmt.Fprintln(digest, t.Name, rev)
	}
	a.digest.Store(digest.Sum64())
}

// reports are what a busy agent says: its numbers grow all the time.
func (a *agent) reports() []etcdsource.TaskReport {
	records := uint64(time.Since(a.started).Milliseconds())
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]etcdsource.TaskReport, 0, len(a.revs))
	for name, rev := range a.revs {
		out = append(out, etcdsource.TaskReport{Name: name, State: "running", Revision: rev, Files: 3, Records: records, Bytes: 190 * records})
	}
	return out
}

// ready says whether the agent follows the tasks and stands in etcd.
func (a *agent) ready() bool {
	return a.source.Connected() && a.registrar.Status().Registered
}

// applied says when an agent had a version of a task, or one after it.
func (a *agent) applied(name string, rev int64) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.seen {
		if s.task == name && s.rev >= rev {
			return s.at, true
		}
	}
	return time.Time{}, false
}

// given is how often the agent was given a set.
func (a *agent) given() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sets
}

// fleet is all simulated agents.
type fleet struct {
	agents []*agent
	stop   func() // ends them and waits for it
}

// startFleet starts agents one after another, so many a second.
func startFleet(ctx context.Context, opts options, endpoints []string) (*fleet, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	f := &fleet{stop: func() { cancel(); running.Wait() }}
	tick := time.NewTicker(max(time.Second/time.Duration(opts.ramp), time.Microsecond))
	defer tick.Stop()
	for n := range opts.agents {
		a, err := newAgent(n, opts, endpoints)
		if err != nil {
			f.stop()
			return nil, err
		}
		f.agents = append(f.agents, a)
		running.Go(func() { a.run(ctx) })
		select {
		case <-ctx.Done():
			f.stop()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	return f, nil
}

// ready is how many agents are.
func (f *fleet) ready() int {
	n := 0
	for _, a := range f.agents {
		if a.ready() {
			n++
		}
	}
	return n
}

// troubles counts the agents that are ready, and the reasons of the others.
func (f *fleet) troubles() (ready int, others map[string]int) {
	others = map[string]int{}
	for _, a := range f.agents {
		source, registered := a.source.Status(), a.registrar.Status()
		switch {
		case !source.Connected:
			others["tasks: "+end(source.LastError)]++
		case !registered.Registered:
			others["registration: "+end(registered.LastError)]++
		default:
			ready++
		}
	}
	return ready, others
}

// end is what an error ends with, which tells more than where etcd is.
func end(text string) string {
	parts := strings.Split(text, ": ")
	return strings.Join(parts[max(0, len(parts)-2):], ": ")
}

// selected is how many agents a task is for.
func (f *fleet) selected(j job) int {
	n := 0
	for _, a := range f.agents {
		if j.app == everyone || j.app == a.app {
			n++
		}
	}
	return n
}

// given is how often each agent was given a set.
func (f *fleet) given() []int {
	sets := make([]int, len(f.agents))
	for i, a := range f.agents {
		sets[i] = a.given()
	}
	return sets
}

// strayed counts the sets that agents were given beyond those that edits made
// necessary.
func (f *fleet) strayed(before []int, edits []edit) int {
	n := 0
	for i, a := range f.agents {
		due := 0
		for _, e := range edits {
			if e.job.app == everyone || e.job.app == a.app {
				due++
			}
		}
		n += max(0, a.given()-before[i]-due)
	}
	return n
}
