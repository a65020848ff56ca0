package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"logferry/agent/etcdsource"
	"logferry/agent/rollout"
	"logferry/agent/task"
)

// forecast says what becomes of a text that was just stored; nil when it
// reaches every agent at once, or the fleet cannot be read.
type forecast struct {
	Waves []rollout.Step              `json:"waves"`
	Now   *etcdsource.RolloutProgress `json:"now,omitempty"` // nil: every agent has it already

	spec task.Rollout
}

func (s remote) forecast(ctx context.Context, entry etcdsource.Entry) *forecast {
	fleet, err := s.Fleet(ctx)
	if err != nil {
		return nil
	}
	spec, waves := fleet.Forecast(entry)
	if spec == nil {
		return nil
	}
	f := &forecast{Waves: waves, spec: *spec}
	_, f.Now, _ = fleet.Task(entry.Group, entry.Name)
	return f
}

// progress says how far the newest version of a task has come; nil when it has
// reached every agent, for older versions, and when the fleet cannot be read.
func (s remote) progress(ctx context.Context, entry etcdsource.Entry) *etcdsource.RolloutProgress {
	if f := s.forecast(ctx, entry); f != nil && f.Now != nil && f.Now.Revision == entry.Modified {
		return f.Now
	}
	return nil
}

// progressOf says how far those tasks have come whose newest version has not
// reached every agent, by qualified name. Without a rollout in any of them nothing more is read.
func (s remote) progressOf(ctx context.Context, entries []etcdsource.Entry) map[string]*etcdsource.RolloutProgress {
	out := map[string]*etcdsource.RolloutProgress{}
	if !slices.ContainsFunc(entries, func(e etcdsource.Entry) bool {
		plan, err := task.PlanOf(e.Raw, e.Name)
		return err == nil && plan.Rollout != nil
	}) {
		return out
	}
	fleet, err := s.Fleet(ctx)
	if err != nil {
		return out
	}
	for _, entry := range entries {
		if now, p, there := fleet.Task(entry.Group, entry.Name); there && p != nil && now.Modified == entry.Modified {
			out[entry.Qualified()] = p
		}
	}
	return out
}

// rolloutWords is rolloutLine in a few words.
func rolloutWords(p *etcdsource.RolloutProgress) string {
	switch {
	case p.Phase == rollout.Back && p.Good == 0:
		return "stopped on all agents"
	case p.Phase == rollout.Back:
		return fmt.Sprintf("went back to revision %d", p.Good)
	case p.Wave == 0:
		return "waits for its first wave"
	}
	return fmt.Sprintf("in wave %d of %d", p.Wave, len(p.Waves))
}

// say tells it to people.
func (f *forecast) say(t *table, name string) {
	if f == nil {
		return
	}
	if f.Now == nil {
		t.row("every agent has this text already")
		return
	}
	waves := make([]string, len(f.Waves))
	for i, w := range f.Waves {
		waves[i] = fmt.Sprintf("%s (%s)", w.Wave, count(w.Agents, "agent"))
		if i == 0 && len(w.Names) > 0 {
			waves[i] = fmt.Sprintf("%s (%s)", w.Wave, strings.Join(w.Names, ", "))
		}
	}
	t.row(fmt.Sprintf("it goes out in %s: %s", count(len(waves), "wave"), strings.Join(waves, ", ")))
	t.row(fmt.Sprintf("each wave goes when the one before has been well for %s; what is not well for %s goes back, a refusal or dead letters at once",
		f.spec.PauseOrDefault(), f.spec.TimeoutOrDefault()))
	t.row(fmt.Sprintf("follow it with 'logferry status %s --watch'", name))
}

// rolloutLine tells people how far a change has come.
func rolloutLine(name string, p *etcdsource.RolloutProgress) string {
	wave := fmt.Sprintf("wave %d of %d", p.Wave, len(p.Waves))
	if p.Wave > 0 && p.Wave <= len(p.Waves) {
		wave += fmt.Sprintf(" (%s)", p.Waves[p.Wave-1])
	}
	on := ""
	if p.Agent != "" {
		on = " on " + p.Agent
	}
	switch {
	case p.Phase == rollout.Back && p.Good == 0:
		return fmt.Sprintf("%s: revision %d was stopped in %s, there is no version before it to go back to; it was not well%s: %s", name, p.Revision, wave, on, p.Reason)
	case p.Phase == rollout.Back:
		return fmt.Sprintf("%s: revision %d went back to revision %d in %s; it was not well%s: %s", name, p.Revision, p.Good, wave, on, p.Reason)
	case p.Wave == 0:
		return fmt.Sprintf("%s: revision %d goes out in %s; %s", name, p.Revision, count(len(p.Waves), "wave"), p.Reason)
	}
	line := fmt.Sprintf("%s: revision %d is in %s since %s, %d of %d agents have it", name, p.Revision, wave, moment(p.Since), p.Have, p.Agents)
	if len(p.Names) > 0 && len(p.Names) <= namesShown {
		line += " (" + strings.Join(p.Names, ", ") + ")"
	}
	switch {
	case p.Reason != "":
		line += fmt.Sprintf("; it waits%s: %s", on, p.Reason)
	default:
		line += "; all is well"
	}
	if p.Leader == "" {
		line += "; no agent moves it on at the moment"
	}
	return line
}
