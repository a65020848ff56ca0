package etcdsource

import (
	"time"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// RolloutProgress is how far a change of a task has come.
type RolloutProgress struct {
	Phase    rollout.Phase `json:"phase"`                 // rolling or back
	Revision int64         `json:"revision"`              // that goes out, or went back
	Good     int64         `json:"good,omitempty"`        // revision of the last good version; 0: the task is new
	Wave     int           `json:"wave"`                  // the newest that is open, from 1; 0: none is yet
	Waves    []string      `json:"waves"`                 // all of them
	Agents   int           `json:"agents"`                // of the open waves
	Have     int           `json:"have"`                  // of these have the change
	Names    []string      `json:"names,omitempty"`       // of the agents of the open waves, if they are few
	Since    time.Time     `json:"since,omitzero"`        // when the wave was opened, or the change went back
	Agent    string        `json:"agent,omitempty"`       // on which it is not well
	Reason   string        `json:"reason,omitempty"`      // what is not well; empty: all is
	Leader   string        `json:"moved_on_by,omitempty"` // agent that opens the next wave; empty: none does at the moment
}

// progress returns how far a task's newest text has come; nil when it reaches
// every agent.
func (f Fleet) progress(entry Entry) *RolloutProgress {
	plan, err := planOf(entry.Raw, entry.Name)
	if err != nil || plan.Rollout == nil || plan.Paused {
		return nil
	}
	p := &RolloutProgress{Phase: rollout.Rolling, Revision: entry.Modified, Leader: f.Leaders[entry.Group]}
	for _, w := range plan.Rollout.Waves {
		p.Waves = append(p.Waves, w.String())
	}
	st, known := f.Rollouts[entry.Qualified()]
	switch {
	case !known || !st.About(entry.Created, entry.version()):
		p.Reason = "no agent has begun yet"
		return p
	case st.Phase == rollout.Done:
		return nil
	}
	p.Phase, p.Good, p.Wave, p.Since, p.Agent, p.Reason = st.Phase, st.Good.Revision, st.Wave, st.Since, st.Agent, st.Reason
	p.Agents, p.Names = st.Size, st.First
	if st.Phase == rollout.Rolling {
		h := st.Health(entry.Name, f.concerned(entry.Group, entry.Name, plan.Select))
		p.Agents, p.Have, p.Agent, p.Reason = h.Agents, h.Have, h.Agent, h.Text
		if h.Nobody {
			p.Reason = "no agent of this wave runs"
		}
	}
	return p
}

// Forecast says whom each wave of a task's text would reach now; nil when the
// text reaches every agent at once.
func (f Fleet) Forecast(entry Entry) (*task.Rollout, []rollout.Step) {
	name := entry.Name
	plan, err := planOf(entry.Raw, name)
	if err != nil || plan.Rollout == nil || plan.Paused {
		return nil, nil
	}
	return plan.Rollout, rollout.Forecast(name, *plan.Rollout, f.concerned(entry.Group, name, plan.Select))
}

// Task returns the task of a group and a name as it is, and how far its newest change has
// come: nil when it has reached every agent.
func (f Fleet) Task(group, name string) (Entry, *RolloutProgress, bool) {
	for _, entry := range f.Tasks {
		if entry.Name == name && entry.Group == group {
			return entry, f.progress(entry), true
		}
	}
	return Entry{}, nil, false
}

// wanted returns the revision that agents are to have of a task when all is
// settled, and whether there is one.
func (p *RolloutProgress) wanted(newest int64) (revision int64, exists bool) {
	if p == nil || p.Phase != rollout.Back {
		return newest, true
	}
	return p.Good, p.Good != 0
}
