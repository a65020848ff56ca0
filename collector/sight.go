package collector

import (
	"slices"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// sight is what stood under the names of a path's siblings when they were
// looked at, one after the other. A rotation moves all of them by one: while that
// goes on, a file may slip from a name that was not looked at yet to one that was not there
// when they were listed. What took its place is met twice then, unless it is new.
type sight struct {
	lists  []func() (names, error)
	seen   map[string]generation      // by path; no identity: passed over
	ids    map[checkpoint.FileID]bool // those in seen
	moving bool                       // some file was met twice
}

func newSight() sight {
	return sight{seen: map[string]generation{}, ids: map[checkpoint.FileID]bool{}}
}

// list lists siblings that are about to be looked at.
func (v *sight) list(list func() (names, error)) (names, error) {
	n, err := list()
	if err == nil {
		v.lists = append(v.lists, list)
	}
	return n, err
}

// saw notes what stood under a name.
func (v *sight) saw(path string, g generation) {
	v.seen[path] = g
	if g.id != (checkpoint.FileID{}) {
		v.moving = v.moving || v.ids[g.id]
		v.ids[g.id] = true
	}
}

// sawTwin notes that a compressed file was passed over because its original is there.
func (v *sight) sawTwin(path string, n names) {
	plain, _ := unpackedName(path)
	_, looked := v.seen[plain]
	v.moving = v.moving || !looked && !n.plain(plain)
	v.saw(path, generation{})
}

// verify lists the siblings again. An error, so that all is looked at again, says that
// one came, went, or stands for another file than it did.
func (s *stream) verify(v sight) error {
	missing := len(v.seen)
	if _, ok := v.seen[s.path]; ok {
		missing--
	}
	for _, list := range v.lists {
		n, err := list()
		if err != nil {
			return err
		}
		for _, p := range slices.Concat(n.siblings, n.packed) {
			was, ok := v.seen[p]
			if !ok {
				return tail.ErrOther
			}
			missing--
			if was.id == (checkpoint.FileID{}) {
				continue
			}
			g, err := s.c.statGeneration(p)
			if err != nil {
				if err = s.doWithout(p, err); err != nil {
					return err
				}
			} else if !g.same(was) {
				return tail.ErrOther
			}
		}
	}
	if missing != 0 {
		return tail.ErrOther
	}
	return nil
}
