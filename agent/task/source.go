package task

import "context"

// Snapshot is everything that one source wants to run, at one moment. A
// snapshot replaces the one before it as a whole; there are no patches.
type Snapshot struct {
	// Revision is the etcd revision that the set was read at; 0 for sources
	// that have none.
	Revision int64
	// Revisions holds, by name, the etcd revision that wrote each of Tasks; nil
	// for sources that have none.
	Revisions map[string]int64
	// Tasks is sorted by name, each valid. A task whose newest version was
	// refused stands here in its last good version.
	Tasks []Task
	// Refused names what was not taken, and why.
	Refused []Refusal
}

// Refusal is one task definition that was not taken.
type Refusal struct {
	Name   string `json:"name"`
	Origin string `json:"origin"` // where it stands: a file with its line, or an etcd key with its revision
	Error  string `json:"error"`  // one line that says what to change

	Revision int64 `json:"revision,omitempty"` // of etcd, that wrote it; 0: it is not from there
}

// Source yields snapshots of the tasks that this agent is to run. Two exist:
// filesource and etcdsource.
type Source interface {
	// Name is a constant for logs, metrics and the API: "files", "etcd", "flags".
	Name() string
	// Run calls publish with the first snapshot as soon as there is one (from
	// its cache if need be) and again after every change, always from one
	// goroutine at a time. It returns ctx's error when ctx ends, and never
	// because of bad input or an unreachable server.
	Run(ctx context.Context, publish func(Snapshot)) error
}
