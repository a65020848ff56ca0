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
	truncate bool   // copied and cut, not renamed
	missing  bool   // no file is there when the agent comes back; one is made before the rotation
	olddir   string // "", or a directory with a slash
	gone     bool   // nothing is written to the path after the rotation
	running  bool   // the agent is held up while the first two rotations happen, not away
	slowly   int    // so many steps are left for the collector's next operations, one for each
}

func (m mover) String() string {
	return fmt.Sprintf("compressed %q, delayed %v, create %v, truncated %v, missing %v, to %q, gone %v, running %v, steps left %d", m.suffix, m.delay, m.create, m.truncate, m.missing, m.olddir, m.gone, m.running, m.slowly)
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
	if m.truncate {
		list = append(list, func() { w.rotateCopyTruncate("a.log", base+".1") })
	} else {
		list = append(list, func() { w.rename("a.log", base+".1") })
	}
	if m.create {
		list = append(list, func() { w.write("a.log", "") })
	}
	if m.suffix != "" && (!m.delay || last > 0) {
		plain := base + ".1"
		if m.delay {
			plain = base + ".2"
		}
		wait := func() {} // the archive is empty for a while
		list = append(list, func() { w.write(plain+m.suffix, "") }, wait, wait, wait, wait, func() { w.compressKeeping(plain, m.suffix) }, func() { w.remove(plain) })
	}
	return list
}

// script rotates twice while the agent does not look and once more at its n-th
// operation after that, and demands each line, once, in order. It returns how many operations there were.
func (m mover) script(t *testing.T, n int) int {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	w.cfg.RotateWait = time.Hour
	if m.gone {
		w.cfg.RotateWait = time.Millisecond // nothing keeps the path
	}
	if m.olddir != "" {
		require.NoError(t, os.Mkdir(w.path(m.olddir), 0o700))
	}
	var a *agent
	var gate chan struct{}
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
	first, behind := 0, 0
	if m.running {
		a, gate, want = heldUp(t, w, quick)
		behind = len(want) + 20
	} else {
		write()
		a = w.start(quick)
		a.want("a.log", want...)
		a.settled()
		a.stop()
		first = len(want)
	}
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
			if len(steps) <= m.slowly {
				break
			}
		}
		return nil
	})
	done := false // t also fails with what runs below it
	t.Cleanup(func() {
		if !done {
			t.Logf("the collector's operations:\n%v\nits log:\n%s", ffs.done, w.log.String())
		}
	})
	if m.running {
		close(gate)
	} else {
		a = w.start(quick)
	}
	a.until("something is read of the next generation", func() bool { return a.count() > behind })
	ffs.heal()
	mu.Lock()
	defer mu.Unlock()
	for _, step := range steps {
		step()
	}
	if !m.gone {
		write()
	}
	a.want("a.log", want[first:]...)
	a.settled()
	a.stop()
	nothingNew(t, w, quick)
	require.Empty(t, ffs.leaked())
	done = true
	return ops
}

// FAULTS=all tries each moment of each; else only those do that lost lines once.
func TestARotationAtAnyMomentOfASearchLosesAndDoublesNothing(t *testing.T) {
	for _, m := range []mover{
		{create: true}, {suffix: ".gz", delay: true, create: true}, {missing: true}, {suffix: ".zst"}, {suffix: ".gz", missing: true}, {suffix: ".zst", delay: true},
		{olddir: "old/"}, {olddir: "old/", missing: true}, {olddir: "old/", suffix: ".zst"}, {olddir: "old/", suffix: ".gz", delay: true, missing: true},
		{truncate: true}, {truncate: true, suffix: ".gz"}, {truncate: true, suffix: ".zst", delay: true},
		{running: true, create: true}, {running: true, missing: true}, {running: true, olddir: "old/"}, {running: true, olddir: "old/", missing: true},
		{missing: true, gone: true}, {running: true, missing: true, gone: true}, {running: true, missing: true, gone: true, olddir: "old/"},
		{running: true, suffix: ".gz"}, {running: true, suffix: ".zst", delay: true, missing: true}, {running: true, truncate: true}, {running: true, truncate: true, suffix: ".gz"},
	} {
		step := 5
		if m.missing && m.olddir != "" || os.Getenv("FAULTS") == "all" {
			step = 1
		}
		for _, m.slowly = range []int{0, 6, 99} {
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
