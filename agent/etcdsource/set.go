package etcdsource

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"logferry/agent/task"
)

// value is what etcd holds under one key.
type value struct {
	raw     []byte
	rev     int64 // of its last change
	created int64 // revision that created the key
}

type goodTask struct {
	value
	task task.Task
}

type badTask struct {
	value
	refusal task.Refusal
}

// taskSet is what is known of the tasks in etcd: of each name the last good
// version, and the newest one if it was refused. It belongs to one goroutine.
type taskSet struct {
	cfg      Config // of one group, or of what is for all agents
	prefix   string // of the keys, with its slash
	allow    task.AllowList
	self     task.Identity
	revision int64
	good     map[string]goodTask
	bad      map[string]badTask
	others   map[string]value // of tasks that are for other agents; none of these is good or bad
	roll     rollouts
	aims     map[string]bool // by the lines that select agents: whether this one is meant
	decoded  int             // texts that had to be decoded

	rolloutPrefix string

	known [2]int64 // revisions up to which the watches of tasks and of rollouts have told
}

// Kinds of keys that a set follows.
const (
	ofTasks = iota
	ofStates
	ofOthers // of something else, or of another group
)

// find says what a key holds.
func (s *taskSet) find(key string) (kind int, name string) {
	if name, ok := strings.CutPrefix(key, s.prefix); ok {
		return ofTasks, name
	}
	if name, ok := strings.CutPrefix(key, s.rolloutPrefix); ok {
		return ofStates, name
	}
	return ofOthers, ""
}

// maxAims bounds what is remembered of selectors.
const maxAims = 1000

func newTaskSet(cfg Config) *taskSet {
	return &taskSet{
		cfg: cfg, prefix: cfg.tasks(), allow: cfg.AllowPaths, self: cfg.Identity,
		good: map[string]goodTask{}, bad: map[string]badTask{}, others: map[string]value{}, aims: map[string]bool{},
		roll: newRollouts(), rolloutPrefix: cfg.rollouts(),
	}
}

// use takes over a value and reports whether the snapshot changes by it.
func (s *taskSet) use(name string, v value) bool {
	good, wasGood := s.good[name]
	bad, wasBad := s.bad[name]
	switch {
	case wasGood && bytes.Equal(good.raw, v.raw):
		s.good[name] = goodTask{v, good.task}
		delete(s.bad, name)
		return wasBad || good.rev != v.rev
	case wasBad && bad.rev == v.rev && bytes.Equal(bad.raw, v.raw):
		return false
	}
	if other, known := s.others[name]; known && bytes.Equal(other.raw, v.raw) {
		s.others[name] = v
		return false
	}
	if !wasGood && !wasBad && !s.meant(v.raw) {
		s.others[name] = v
		return false
	}
	s.decoded++
	origin := s.origin(name, v.rev)
	t, selected, err := task.DecodeFor(v.raw, origin, name, s.allow, s.self)
	switch {
	case !selected && (err == nil || !wasGood):
		s.drop(name)
		s.others[name] = v
		return wasGood || wasBad
	case err != nil: // also of a version for others: what is not valid takes nothing away
		refusal := task.Refuse(name, origin, err)
		refusal.Revision = v.rev
		s.bad[name] = badTask{v, refusal}
	default:
		s.good[name] = goodTask{v, t}
		delete(s.bad, name)
	}
	delete(s.others, name)
	return true
}

// meant says whether a text may be for this agent. In a large fleet most texts
// are not, and those are not worth decoding.
func (s *taskSet) meant(raw []byte) bool {
	lines, ok := task.AimText(raw)
	if !ok {
		return true
	}
	meant, known := s.aims[string(lines)]
	if !known {
		s.decoded++
		aim, err := task.AimOf(lines)
		meant = err != nil || aim.Matches(s.self)
		if len(s.aims) >= maxAims {
			clear(s.aims)
		}
		s.aims[string(lines)] = meant
	}
	return meant
}

func (s *taskSet) origin(name string, rev int64) string {
	return fmt.Sprintf("etcd:%s%s@rev %d", s.prefix, name, rev)
}

// remove forgets a name and reports whether the snapshot changes by it.
func (s *taskSet) remove(name string) bool {
	s.roll.forget(name)
	return s.drop(name)
}

// drop is remove for a task of which versions are kept for later.
func (s *taskSet) drop(name string) bool {
	_, wasGood := s.good[name]
	_, wasBad := s.bad[name]
	delete(s.good, name)
	delete(s.bad, name)
	delete(s.others, name)
	return wasGood || wasBad
}

// replace makes the set what a complete listing says, and reports whether the
// snapshot changes by it. With nil states those known so far stay.
func (s *taskSet) replace(values map[string]value, states map[string][]byte, revision int64) bool {
	s.revision, s.known = revision, [2]int64{revision, revision}
	changed := false
	if states != nil {
		s.roll.leader = ""
		for name := range s.roll.states {
			if _, there := states[name]; !there {
				changed = s.setState(name, nil) || changed
			}
		}
	}
	for name, text := range states {
		changed = s.setState(name, text) || changed
	}
	for name := range s.names() {
		if _, there := values[name]; !there {
			changed = s.remove(name) || changed
		}
	}
	for name, v := range values {
		changed = s.put(name, v) || changed
	}
	return changed
}

func (s *taskSet) names() map[string]bool {
	names := map[string]bool{}
	for name := range s.good {
		names[name] = true
	}
	for name := range s.bad {
		names[name] = true
	}
	for name := range s.others {
		names[name] = true
	}
	for name := range s.roll.newest {
		names[name] = true
	}
	return names
}

func (s *taskSet) snapshot() task.Snapshot {
	snap := task.Snapshot{Revision: s.revision, Revisions: make(map[string]int64, len(s.good))}
	for _, name := range slices.Sorted(maps.Keys(s.good)) {
		snap.Tasks = append(snap.Tasks, s.good[name].task)
		snap.Revisions[name] = s.good[name].rev
	}
	for _, name := range slices.Sorted(maps.Keys(s.bad)) {
		snap.Refused = append(snap.Refused, s.bad[name].refusal)
	}
	return snap
}

// nameOf returns the part of a key behind the prefix.
func (s *taskSet) nameOf(key []byte) string { return strings.TrimPrefix(string(key), s.prefix) }
