package collector

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mover rotates a.log while the collector looks for its generations.
type mover struct {
	suffix   string // of compressed generations, or ""
	delay    bool   // compressed at the next rotation
	create   bool   // the next file is made at once
	missing  bool   // no file is there when the agent comes back; one is made before the rotation
	olddir   string // "", or a directory with a slash
	stepwise bool   // a step for each operation of the collector, not all at one of them
}

func (m mover) String() string {
	return fmt.Sprintf("compressed %q, delayed %v, create %v, missing %v, to %q, stepwise %v", m.suffix, m.delay, m.create, m.missing, m.olddir, m.stepwise)
}

// steps is one rotation. last is the highest number of a generation.
func (m mover) steps(w *world, last int) (list []func()) {
	base := m.olddir + "a.log"
	for i := last; i > 0; i-- {
		for _, suffix := range slices.Compact([]string{"", m.suffix}) {
			from, to := fmt.Sprintf("%s.%d%s", base, i, suffix), fmt.Sprintf("%s.%d%s", base, i+1, suffix)
			if _, err := os.Stat(w.path(from)); err == nil {
				list = append(list, func() { w.rename(from, to) })
			}
		}
	}
	list = append(list, func() { w.rename("a.log", base+".1") })
	if m.create {
		list = append(list, func() { w.write("a.log", "") })
	}
	if m.suffix != "" && (!m.delay || last > 0) {
		plain := base + ".1"
		if m.delay {
			plain = base + ".2"
		}
		list = append(list, func() { w.compressKeeping(plain, m.suffix) }, func() { w.remove(plain) })
	}
	return list
}

// script rotates twice while the agent is away and once more at its n-th
// operation, and demands each line, once, in order. It returns how many operations there were.
func (m mover) script(t *testing.T, n int) int {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	w.cfg.RotateWait = time.Hour
	if m.olddir != "" {
		require.NoError(t, os.Mkdir(w.path(m.olddir), 0o700))
	}
	var want []string
	write := func() {
		text, more := lines("l", 20*len(want), 20*len(want)+20)
		want = append(want, more...)
		w.write("a.log", text)
		tickOver(t, w)
	}
	rotate := func(last int) {
		for _, step := range m.steps(w, last) {
			step()
		}
	}
	write()
	a := w.start(quick)
	a.want("a.log", want...)
	a.settled()
	a.stop()
	first := len(want)
	for last := range 2 {
		write()
		rotate(last)
	}
	if !m.missing {
		write()
	}
	var mu sync.Mutex
	ops := 0
	var steps []func()
	ffs.set(func(operation) error {
		mu.Lock()
		defer mu.Unlock()
		if ops == n {
			steps = m.steps(w, 2)
			if m.missing {
				steps = slices.Insert(steps, 0, write)
			}
		}
		ops++
		for len(steps) > 0 {
			step := steps[0]
			steps = steps[1:]
			step()
			if m.stepwise {
				break
			}
		}
		return nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the collector's operations:\n%v\nits log:\n%s", ffs.done, w.log.String())
		}
	})
	a = w.start(quick)
	a.until("something is read", func() bool { return a.count() > 0 })
	ffs.heal()
	mu.Lock()
	defer mu.Unlock()
	for _, step := range steps {
		step()
	}
	write()
	a.want("a.log", want[first:]...)
	a.settled()
	a.stop()
	nothingNew(t, w, quick)
	require.Empty(t, ffs.leaked())
	return ops
}

// FAULTS=all tries each moment of each; else only those do that lost lines once.
func TestARotationAtAnyMomentOfASearchLosesAndDoublesNothing(t *testing.T) {
	for _, m := range []mover{
		{create: true}, {suffix: ".gz", delay: true, create: true}, {missing: true}, {suffix: ".zst"}, {suffix: ".gz", missing: true}, {suffix: ".zst", delay: true},
		{olddir: "old/"}, {olddir: "old/", missing: true}, {olddir: "old/", suffix: ".zst"}, {olddir: "old/", suffix: ".gz", delay: true, missing: true},
	} {
		step := 5
		if m.missing && m.olddir != "" || os.Getenv("FAULTS") == "all" {
			step = 1
		}
		for _, m.stepwise = range []bool{false, true} {
			t.Run(m.String(), func(t *testing.T) {
				t.Parallel()
				ops := m.script(t, -1)
				for n := 0; n < ops; n += step {
					t.Run(fmt.Sprint(n), func(t *testing.T) { m.script(t, n) })
				}
			})
		}
	}
}
