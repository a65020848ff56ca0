package rollout

import "logferry/agent/task"

// Step is one wave as it would be if it were opened now.
type Step struct {
	Wave   string   `json:"wave"`
	Agents int      `json:"agents"`          // with those of the waves before
	Names  []string `json:"names,omitempty"` // if they are few
}

// Forecast says whom each wave of a task would reach.
func Forecast(name string, spec task.Rollout, agents []Agent) []Step {
	st := State{Phase: Rolling}
	out := make([]Step, len(spec.Waves))
	for i, w := range spec.Waves {
		st = open(st, Input{Name: name, Spec: spec, Agents: agents}, i+1)
		out[i] = Step{Wave: w.String(), Agents: st.Size, Names: st.First}
	}
	return out
}
