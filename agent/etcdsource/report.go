package etcdsource

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
)

// Bounds of what an agent writes about itself.
const (
	maxReportBytes = 32 << 10 // of one status value
	maxErrorBytes  = 500      // of one error in it
	shortError     = 80       // of one error in a value that is too large otherwise
)

// Agent is the value of PREFIX/agents/ID: who runs, and where.
type Agent struct {
	ID       string            `json:"id"`
	Host     string            `json:"host"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels,omitempty"`
	Groups   []string          `json:"groups,omitempty"` // whose tasks concern it beside those for all agents
	Started  time.Time         `json:"started"`
	HTTP     string            `json:"http,omitempty"` // host:port of its metrics and API
	Revision int64             `json:"revision"`       // of the newest set of tasks that it has applied
	Instance string            `json:"instance"`       // stays the same over restarts with one state_dir
	Process  string            `json:"process"`        // differs with each start
	// Clash tells that another agent holds the id; this one stands under
	// ID~PROCESS then.
	Clash *Clash `json:"clash,omitempty"`
}

// Clash names the agent that holds an id which two agents want.
type Clash struct {
	Host    string    `json:"host"`
	HTTP    string    `json:"http,omitempty"`
	Started time.Time `json:"started"`
}

// TaskReport is what one task does on one agent.
type TaskReport struct {
	Name          string    `json:"name"`
	Group         string    `json:"group,omitempty"`    // that the task is of; empty: it is for all agents
	State         string    `json:"state"`              // pending, running, refused, failing, draining, stopped
	Revision      int64     `json:"revision,omitempty"` // that wrote the version which runs; 0: not from etcd
	Error         string    `json:"error,omitempty"`    // with its remedy
	Refused       bool      `json:"refused,omitempty"`  // the newest version was refused; the last good one runs
	Files         int       `json:"files"`
	NotCollected  int       `json:"not_collected,omitempty"`         // paths that match and cannot or must not be read
	FirstRefused  string    `json:"not_collected_example,omitempty"` // the first of them, with its reason
	Records       uint64    `json:"records"`                         // acknowledged since the agent started
	Bytes         uint64    `json:"bytes"`                           // of their values
	LagBytes      int64     `json:"lag_bytes"`
	LagSeconds    float64   `json:"lag_seconds"`
	OldestUnacked time.Time `json:"oldest_unacked,omitzero"` // since when the oldest bytes wait; zero: none do

	RefusedRevision int64  `json:"refused_revision,omitempty"` // of etcd, that wrote the version which was refused
	DeadLetters     uint64 `json:"dead_letters,omitempty"`     // since the version which runs was started
	Trial           bool   `json:"trial,omitempty"`            // it is a change that is being tried
	LagGrows        bool   `json:"lag_grows,omitempty"`        // while a change is tried: the oldest bytes wait for longer than its rollout allows
}

// Report is the value of PREFIX/status/ID: what an agent's tasks do.
type Report struct {
	ID       string         `json:"id"`
	At       time.Time      `json:"at"`       // when it was made
	Revision int64          `json:"revision"` // of the newest set of tasks that was applied
	States   map[string]int `json:"states"`   // how many tasks are in each state
	Tasks    []TaskReport   `json:"tasks"`    // sorted by name
	Omitted  int            `json:"omitted,omitempty"`
}

// troubled says whether somebody should look at the task.
func (t TaskReport) troubled() bool { return t.Error != "" || t.Refused || t.State != "running" }

// encode returns the report as JSON of at most maxReportBytes. What does not
// fit is shortened, errors first, then left out and counted, first the tasks that
// nobody waits to hear of.
func (r Report) encode() ([]byte, error) {
	r.States, r.Tasks = map[string]int{}, slices.Clone(r.Tasks)
	for i := range r.Tasks {
		r.States[r.Tasks[i].State]++
		r.Tasks[i].Error, r.Tasks[i].FirstRefused = cut(r.Tasks[i].Error, maxErrorBytes), cut(r.Tasks[i].FirstRefused, maxErrorBytes)
	}
	data, err := json.Marshal(r)
	if err != nil || len(data) <= maxReportBytes {
		return data, err
	}
	for i := range r.Tasks {
		r.Tasks[i].Error, r.Tasks[i].FirstRefused = cut(r.Tasks[i].Error, shortError), cut(r.Tasks[i].FirstRefused, shortError)
	}
	for {
		data, err = json.Marshal(r)
		if err != nil || len(data) <= maxReportBytes || len(r.Tasks) == 0 {
			return data, err
		}
		keep := min(len(r.Tasks)-1, len(r.Tasks)*maxReportBytes/len(data))
		r.Omitted += len(r.Tasks) - keep
		slices.SortStableFunc(r.Tasks, func(a, b TaskReport) int { return rank(a) - rank(b) })
		r.Tasks = r.Tasks[:keep]
		slices.SortFunc(r.Tasks, byName)
	}
}

// noTime is how a report without a time begins behind its id.
var noTime = []byte(`"at":"0001-01-01T00:00:00Z"`)

// encodedAt puts the time into what encode made of a report without one. To
// encode it again would cost as much as all else that an agent does for it.
func (r Report) encodedAt(timeless []byte, now time.Time) []byte {
	return bytes.Replace(timeless, noTime, []byte(`"at":"`+now.Format(timeLayout)+`"`), 1)
}

// timeLayout has milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

func rank(t TaskReport) int {
	switch {
	case t.Trial:
		return 0
	case t.troubled():
		return 1
	}
	return 2
}

func byName(a, b TaskReport) int {
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}

// cut shortens a text to at most n bytes, between two characters.
func cut(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	end := n - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
