package collector

import (
	"os"
	"path/filepath"

	"logferry/collector/checkpoint"
)

// movedAway lists the generations that were rotated into a directory below
// the path's own, as logrotate's olddir does: those known by their identity that are not
// read to their end, and, where one of them is found, its numbered siblings
// that were created since the last known one. Only asked for when a generation is missing.
func (s *stream) movedAway(known map[checkpoint.FileID]checkpoint.State, last int64, current generation, hasCurrent bool) (list []generation) {
	dir, base := filepath.Split(s.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub := filepath.Join(dir, e.Name(), base)
		siblings, others, err := neighbours(sub)
		if err != nil {
			continue
		}
		var found, unseen []generation
		for i, p := range append(siblings, append(others, sub)...) {
			g, err := statGeneration(p)
			if err != nil || (hasCurrent && g.id == current.id) || (s.c.cfg.Allow != nil && s.c.cfg.Allow(p) != nil) {
				continue
			}
			st, isKnown := known[g.id]
			switch {
			case isKnown && (st.Birth == 0 || g.born == st.Birth):
				if g.state, g.known = st, true; !st.Done {
					found = append(found, g)
				}
			case i < len(siblings) && g.born >= last && (!hasCurrent || g.born <= current.born) && isNumbered(base, filepath.Base(p)):
				unseen = append(unseen, g)
			}
		}
		if len(found) > 0 {
			list = append(append(list, found...), unseen...)
		}
	}
	return list
}
