package etcdsource

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/task"
)

// taskSets are what concerns one agent: the tasks for all agents, and then
// those of each of its groups. They belong to one goroutine, and have the same
// revision.
type taskSets []*taskSet

func newTaskSets(cfg Config) taskSets {
	var sets taskSets
	for _, scope := range cfg.scopes() {
		sets = append(sets, newTaskSet(scope))
	}
	return sets
}

func (s taskSets) revision() int64 { return s[0].revision }

func (s taskSets) others() int {
	n := 0
	for _, set := range s {
		n += len(set.others)
	}
	return n
}

func (s taskSets) decoded() int {
	n := 0
	for _, set := range s {
		n += set.decoded
	}
	return n
}

// refusals returns what is refused at this moment, by qualified name.
func (s taskSets) refusals() map[string]task.Refusal {
	m := map[string]task.Refusal{}
	for _, set := range s {
		for name, b := range set.bad {
			m[Qualified(set.cfg.group, name)] = b.refusal
		}
	}
	return m
}

func (s taskSets) export() cacheBody {
	body := s[0].export()
	for _, set := range s[1:] {
		if body.Groups == nil {
			body.Groups = map[string]cacheBody{}
		}
		body.Groups[set.cfg.group] = set.export()
	}
	return body
}

// restore fills empty sets. What the cache has of groups that the agent has
// left is not used, and one that it is new in stays empty.
func (s taskSets) restore(body cacheBody) {
	for _, set := range s {
		of := body
		if g := set.cfg.group; g != "" {
			of = body.Groups[g]
		}
		set.restore(of)
		set.revision = body.Revision
	}
}

// apply takes over what one response of a watch tells, and reports whether the
// snapshot changes by it. Each watch is in order by itself but not with the
// others, so what is known is counted for each.
func (s taskSets) apply(events []*clientv3.Event) bool {
	changed := false
	for _, set := range s {
		newest := set.known
		for _, ev := range events {
			kind, name := set.find(string(ev.Kv.Key))
			if kind == ofOthers || ev.Kv.ModRevision <= set.known[kind] {
				continue
			}
			newest[kind] = max(newest[kind], ev.Kv.ModRevision)
			switch {
			case kind == ofStates:
				changed = set.setState(name, ev.Kv.Value) || changed // of a deleted one there is no value
			case ev.Type == clientv3.EventTypeDelete:
				changed = set.remove(name) || changed
			default:
				changed = set.put(name, valueOf(ev.Kv)) || changed
			}
		}
		set.known = newest
	}
	newest := s.revision()
	for _, set := range s {
		newest = max(newest, set.known[ofTasks])
	}
	for _, set := range s {
		set.revision = newest
	}
	return changed
}

// claim is one set's say in what runs under a name.
type claim struct {
	set  *taskSet
	good bool
	value
}

// snapshot joins the sets. Agents know a task by its name alone, which its
// places on the disk and its metrics have; so of tasks with one name in several
// sets, one is taken, that whose key was made first, and the others are refused.
// groups says which group each task is of.
func (s taskSets) snapshot() (snap task.Snapshot, groups map[string]string) {
	snap, groups = s[0].snapshot(), map[string]string{}
	if len(s) == 1 {
		return snap, groups
	}
	claims := map[string][]claim{}
	for _, set := range s {
		for name, g := range set.good {
			claims[name] = append(claims[name], claim{set, true, g.value})
		}
		for name, b := range set.bad {
			if _, runs := set.good[name]; !runs {
				claims[name] = append(claims[name], claim{set, false, b.value})
			}
		}
	}
	snap = task.Snapshot{Revision: s.revision(), Revisions: map[string]int64{}}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		all := claims[name]
		first := slices.MinFunc(all, claim.before)
		groups[name] = first.set.cfg.group
		if first.good {
			snap.Tasks = append(snap.Tasks, first.set.good[name].task)
			snap.Revisions[name] = first.rev
		}
		bad, refused := first.set.bad[name]
		if !refused && len(all) > 1 {
			refused = true
			bad.refusal = first.clash(name, all)
		}
		if refused {
			snap.Refused = append(snap.Refused, bad.refusal)
		}
	}
	return snap, groups
}

// before orders claims: what runs, and of that what was there first.
func (c claim) before(other claim) int {
	if c.good != other.good {
		if c.good {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(c.created, other.created), cmp.Compare(c.set.cfg.group, other.set.cfg.group))
}

// clash refuses those that came later under a name.
func (c claim) clash(name string, all []claim) task.Refusal {
	for _, other := range all {
		if other.set != c.set {
			return task.Refusal{Name: name, Origin: other.set.origin(name, other.rev), Revision: other.rev, Error: fmt.Sprintf(
				"another task of this name is %s already, and this agent is to run both; give one of them another name", c.set.whose())}
		}
	}
	return task.Refusal{}
}

func (s *taskSet) whose() string {
	if s.cfg.group == "" {
		return "for all agents"
	}
	return "in group " + s.cfg.group
}
