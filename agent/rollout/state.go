// Package rollout decides how a change of a task goes from wave to wave. Its
// promise: the same state, agents and reports lead to the same step, whoever
// decides; without somebody who decides, nothing goes further.
//
// It is plain data and pure functions: it knows neither etcd nor a clock.
package rollout

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"logferry/agent/task"
)

// Phase says where a rollout is.
type Phase string

const (
	Rolling Phase = "rolling" // agents of the open waves have the change
	Done    Phase = "done"    // every agent has it, and it is the last good version
	Back    Phase = "back"    // a wave was not well: every agent has the last good version
)

// Version names one text of a task.
type Version struct {
	Revision int64  `json:"revision"` // of etcd, that wrote it
	Hash     string `json:"hash"`     // of its text, by HashOf
}

// State is what a fleet knows of one task's rollout. All that agents need to
// decide for themselves is in it.
type State struct {
	Created int64   `json:"created"`       // revision that created the task: one that was removed and made again is another
	Target  Version `json:"target"`        // what goes out
	Good    Version `json:"good,omitzero"` // what the other agents have; zero: the task is new, or that is not known any more
	Phase   Phase   `json:"phase"`

	Wave   int      `json:"wave"`             // the newest that is open, from 1
	Waves  []string `json:"waves"`            // all of them, as the task's text has them
	UpTo   string   `json:"up_to,omitempty"`  // agents whose Place is not behind this have the change
	Labels []string `json:"labels,omitempty"` // so have those with one of these labels, "ring=canary"
	Size   int      `json:"size"`             // how many agents the open waves had when the newest was opened
	First  []string `json:"first,omitempty"`  // their names, if they are few

	Since  time.Time `json:"since"`            // when the wave was opened, or the phase ended
	Agent  string    `json:"agent,omitempty"`  // on which it was not well
	Reason string    `json:"reason,omitempty"` // what was not
}

// maxNamed is how many agents of a wave are named.
const maxNamed = 20

// everyone is behind no agent's place.
const everyone = "ffffffffffffffff"

// HashOf names a text.
func HashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Place is where an agent stands in the order in which a task's changes reach
// agents: 16 hexadecimal digits, the same at each change, and different for
// each task, so that it is not always the same agents that try everything first.
func Place(name, agent string) string {
	sum := sha256.Sum256([]byte(name + "\x00" + agent))
	return fmt.Sprintf("%016x", binary.BigEndian.Uint64(sum[:8]))
}

// Base is the last good version, for what comes after this rollout.
func (s State) Base() Version {
	if s.Phase == Done {
		return s.Target
	}
	return s.Good
}

// Reaches says whether the change is for an agent at this moment.
func (s State) Reaches(name string, agent task.Identity) bool {
	switch s.Phase {
	case Done:
		return true
	case Rolling:
		return s.UpTo != "" && Place(name, agent.ID) <= s.UpTo || s.labelled(agent)
	}
	return false
}

func (s State) labelled(agent task.Identity) bool {
	return slices.ContainsFunc(s.Labels, func(text string) bool {
		w, err := task.ParseWave(text)
		value, has := agent.Labels[w.Label]
		return err == nil && has && value == w.Value
	})
}

// About says whether a state speaks of a version of a task that was created at
// a revision.
func (s State) About(created int64, v Version) bool { return s.Created == created && s.Target == v }
