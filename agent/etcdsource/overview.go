package etcdsource

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// States of a task on one agent as an overview shows them: those of TaskReport
// that it tells apart, and two of its own.
const (
	stateRunning  = "running"
	stateRefused  = "refused"
	stateFailing  = "failing"
	stateStopped  = "stopped"
	stateDraining = "draining"
	stateFinished = "finished"
	statePending  = "pending" // the agent has not told yet that it took the newest version
	stateUnknown  = "unknown" // the agent runs more tasks than its report can hold
)

// TaskOnAgent is what one task does on one agent. Its state is that which the
// agent reports, save for these: refused, although the last good version runs;
// pending, while an older version runs; draining, while the agent has not told
// that it is not meant any more; unknown.
type TaskOnAgent struct {
	Agent string `json:"agent"` // name of its keys
	Host  string `json:"host"`
	TaskReport
}

// Troubled says whether somebody should look at it.
func (t TaskOnAgent) Troubled() bool { return t.State == stateRefused || t.State == stateFailing }

// TaskOverview is what one task does on all agents. Sums and extremes are
// those of the agents' newest reports.
type TaskOverview struct {
	Name     string `json:"name"`
	Group    string `json:"group,omitempty"` // empty: it is for all agents
	Revision int64  `json:"revision"`        // of its newest version; 0: it is not in etcd
	Error    string `json:"error,omitempty"` // why no agent can take the newest version
	Agents   int    `json:"agents"`          // that it is for, or that run it
	Running  int    `json:"running"`
	Pending  int    `json:"pending"` // and draining
	Refused  int    `json:"refused"`
	Failing  int    `json:"failing"`
	Stopped  int    `json:"stopped"`
	Finished int    `json:"finished,omitempty"`
	Unknown  int    `json:"unknown"`

	Files         int       `json:"files"`
	Records       uint64    `json:"records"`
	Bytes         uint64    `json:"bytes"`
	LagBytes      int64     `json:"lag_bytes"`
	LagSeconds    float64   `json:"lag_seconds"`             // of the agent that is furthest behind
	OldestUnacked time.Time `json:"oldest_unacked,omitzero"` // zero: nothing waits

	Rollout *RolloutProgress `json:"rollout,omitempty"` // nil: the newest version is for every agent

	On []TaskOnAgent `json:"on"` // sorted by agent
}

// Qualified is the task's name with its group.
func (t TaskOverview) Qualified() string { return Qualified(t.Group, t.Name) }

// Troubled says whether somebody should look at the task.
func (t TaskOverview) Troubled() bool {
	return t.Error != "" || t.Refused > 0 || t.Failing > 0 || t.Rollout != nil && t.Rollout.Phase == rollout.Back
}

// Overview joins what the tasks ask for with what the agents report, sorted
// by the tasks' qualified names. Tasks that agents have from their own files are part of
// it.
func (f Fleet) Overview() []TaskOverview {
	reports := make([]map[string]TaskReport, len(f.Members))
	for i, m := range f.Members {
		reports[i] = make(map[string]TaskReport, len(m.Report.Tasks))
		for _, r := range m.Report.Tasks {
			reports[i][Qualified(r.Group, r.Name)] = r
		}
	}
	all := map[string]TaskOverview{}
	for _, entry := range f.Tasks {
		key := entry.Qualified()
		o := TaskOverview{Name: entry.Name, Group: entry.Group, Revision: entry.Modified, On: []TaskOnAgent{}}
		aim, err := task.Aim(entry.Raw, fmt.Sprintf("%s@rev %d", entry.Name, entry.Modified), entry.Name)
		if err != nil {
			o.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		o.Rollout = f.progress(entry)
		wanted, exists := o.Rollout.wanted(entry.Modified)
		for i, m := range f.Members {
			r, reported := reports[i][key]
			delete(reports[i], key)
			meant := m.sees(entry.Group) && aim.Matches(m.identity())
			if reported || meant && err == nil {
				state := stateOn(m, r, reported, meant, wanted)
				if !exists && !reported {
					state = stateStopped // it went back, and there is nothing to go back to
				}
				o.add(m, r, state)
			}
		}
		all[key] = o
	}
	for i, m := range f.Members {
		for key, r := range reports[i] {
			o, known := all[key]
			if !known {
				o = TaskOverview{Name: r.Name, Group: r.Group}
			}
			o.add(m, r, stateOn(m, r, true, r.Revision == 0, 0))
			all[key] = o
		}
	}
	out := make([]TaskOverview, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[key])
	}
	return out
}

// stateOn says what a task does on an agent that is meant or not. newest is the
// revision that it is to have; 0 is older than any.
func stateOn(m Member, r TaskReport, reported, meant bool, newest int64) string {
	switch {
	case !reported && m.Report.Omitted > 0:
		return stateUnknown
	case !reported:
		return statePending
	case r.Refused:
		return stateRefused
	case !meant && m.Applied() < newest, !meant && r.State == stateRunning:
		return stateDraining // it has not heard yet, or has not said, that it is not meant any more
	case (r.State == stateRunning || r.State == stateStopped || r.State == stateFinished) && r.Revision < newest:
		return statePending
	}
	return r.State
}

func (o *TaskOverview) add(m Member, r TaskReport, state string) {
	o.Agents++
	switch state {
	case stateRunning:
		o.Running++
	case stateRefused:
		o.Refused++
	case stateFailing:
		o.Failing++
	case stateStopped:
		o.Stopped++
	case stateFinished:
		o.Finished++
	case stateUnknown:
		o.Unknown++
	default:
		o.Pending++
	}
	o.Files += r.Files
	o.Records += r.Records
	o.Bytes += r.Bytes
	o.LagBytes += r.LagBytes
	o.LagSeconds = max(o.LagSeconds, r.LagSeconds)
	if !r.OldestUnacked.IsZero() && (o.OldestUnacked.IsZero() || r.OldestUnacked.Before(o.OldestUnacked)) {
		o.OldestUnacked = r.OldestUnacked
	}
	r.Name, r.Group, r.State = o.Name, o.Group, state
	o.On = append(o.On, TaskOnAgent{Agent: m.Name, Host: m.Agent.Host, TaskReport: r})
}
