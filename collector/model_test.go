package collector

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/checkpoint"
)

var (
	modelSeed     = flag.Uint64("model.seed", 1, "seed of the first random program")
	modelPrograms = flag.Uint64("model.programs", 100, "how many random programs run in each mode")
)

// TestRandomProgramsDeliverWhatTheModelSays drives collectors with random programs. A
// failure names its seed: -run '.../watch-17' -model.seed 17 -model.programs 1 runs it again.
func TestRandomProgramsDeliverWhatTheModelSays(t *testing.T) {
	programs := *modelPrograms
	if testing.Short() {
		programs = min(programs, 20)
	}
	for _, mode := range []struct {
		name string
		poll bool
	}{{"watch", false}, {"poll", true}} {
		for seed := *modelSeed; seed < *modelSeed+programs; seed++ {
			t.Run(fmt.Sprintf("%s-%d", mode.name, seed), func(t *testing.T) {
				t.Parallel()
				newModel(t, newWorld(t, mode.poll), seed).run()
			})
		}
	}
}

// model is what a random program has done, and what must come of it.
type model struct {
	*testing.T
	w       *world
	a       *agent // nil while stopped
	rng     *rand.Rand
	pack    string // how rotated files are compressed: ".gz", ".zst" or not
	delay   bool   // at the next rotation
	olddir  string // where they are moved to: "", or a directory with a slash
	late    bool   // rotated files are kept for late writes; else they are let go at once
	logs    []*modelLog
	program []string

	absorbed int            // lines taken from the running agent's sink
	times    map[string]int // how often each line arrived
	crashed  bool           // since when a line may arrive twice
}

// modelLog is one path.
type modelLog struct {
	name     string
	seen     bool // the agent has looked at it
	cur, old *modelFile
	renames  int
	files    int             // generations so far, truncations counted
	next     int             // number of the next line
	written  map[string]bool // by line: is it a late one?
	order    []string        // the lines that are not late
	arrived  []string        // in the order of their first arrival
}

// modelFile is one generation. Its lines are in order; what was begun is the head of the next line.
type modelFile struct {
	*os.File
	gen   int
	begun string
	order []string
}

func newModel(t *testing.T, w *world, seed uint64) *model {
	m := &model{T: t, w: w, rng: rand.New(rand.NewPCG(seed, 0)), times: map[string]int{}}
	w.bytes = 16 << 20 // the shuffling sink may hold seven batches for ever
	m.late = m.rng.IntN(2) == 0
	w.cfg.RotateWait = 5 * time.Millisecond
	if m.late {
		w.cfg.RotateWait = time.Hour
	}
	if m.rng.IntN(3) == 0 {
		w.cfg.CloseInactive = 10 * time.Millisecond
	}
	m.pack, m.delay = []string{"", "", ".gz", ".zst"}[m.rng.IntN(4)], m.rng.IntN(2) == 0
	if m.rng.IntN(4) == 0 {
		m.olddir = "old/"
		require.NoError(t, os.Mkdir(w.path("old"), 0o700))
	}
	for i := range 1 + m.rng.IntN(3) {
		m.logs = append(m.logs, &modelLog{name: fmt.Sprintf("%c.log", 'a'+i), written: map[string]bool{}})
	}
	t.Cleanup(func() {
		for _, l := range m.logs {
			l.closeFiles()
		}
		if t.Failed() {
			t.Logf("seed %d, rotate_wait %v, close_inactive %v, compressed %q, delayed %v, moved to %q, the program:\n%s",
				seed, w.cfg.RotateWait, w.cfg.CloseInactive, m.pack, m.delay, m.olddir, strings.Join(m.program, "\n"))
			t.Logf("LOG:\n%s", w.log.String())
			t.Logf("what did not arrive:\n%s", strings.Join(m.missing(), "\n"))
		}
	})
	return m
}

func (m *model) missing() []string {
	var lines []string
	for _, l := range m.logs {
		for line := range l.written {
			if m.times[line] == 0 {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (l *modelLog) closeFiles() {
	for _, f := range []*modelFile{l.cur, l.old} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (m *model) run() {
	for range 15 + m.rng.IntN(25) {
		l := m.logs[m.rng.IntN(len(m.logs))]
		switch n := m.rng.IntN(100); {
		case n < 40:
			m.write(l, 1+m.rng.IntN(50))
		case n < 42:
			m.write(l, 5000) // a second batch
		case n < 58:
			m.rename(l)
		case n < 68:
			m.lateWrite(l)
		case n < 74:
			m.truncate(l)
		case n < 80:
			m.everythingArrives()
		case n < 84:
			m.checkpoint()
		case n < 90:
			m.stop()
		case n < 95:
			m.crash()
		default:
			m.start()
		}
	}
	m.start()
	for _, l := range m.logs { // no line stays without its newline
		if l.cur != nil {
			m.write(l, 1)
		}
		if l.old != nil && l.old.begun != "" {
			m.append(l, l.old, 1, true)
		}
	}
	m.everythingArrives()
	m.stop()
	m.verify()
}

func (m *model) did(format string, args ...any) {
	m.program = append(m.program, fmt.Sprintf(format, args...))
}

// write appends lines to the path's file, and creates it where there is none.
func (m *model) write(l *modelLog, n int) {
	if l.cur == nil {
		tickOver(m.T, m.w)
		f, err := os.OpenFile(m.w.path(l.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		require.NoError(m, err)
		l.cur = &modelFile{File: f, gen: l.files}
		l.files++
	}
	m.did("write %d lines to %s", n, l.name)
	m.append(l, l.cur, n, false)
	m.discover(l)
}

// append finishes the line that was begun, writes n-1 more, and sometimes begins another.
func (m *model) append(l *modelLog, f *modelFile, n int, late bool) {
	var b strings.Builder
	add := func(line, text string) {
		b.WriteString(text + "\n")
		l.written[line] = late
		f.order = append(f.order, line)
		if !late {
			l.order = append(l.order, line)
		}
	}
	if f.begun != "" {
		line := f.begun
		f.begun = ""
		add(line, line[len(line)/2:])
		n--
	}
	for range n {
		line := l.line(f)
		add(line, line)
	}
	if m.rng.IntN(8) == 0 && n > 0 {
		f.begun = l.line(f)
		b.WriteString(f.begun[:len(f.begun)/2])
		m.did("... and the head of a line")
	}
	_, err := f.WriteString(b.String())
	require.NoError(m, err)
}

func (l *modelLog) line(f *modelFile) string {
	l.next++
	return fmt.Sprintf("%s generation %03d line %07d", l.name, f.gen, l.next)
}

// whole ends a line that was begun.
func (m *model) whole(l *modelLog, f *modelFile, late bool) {
	if f.begun == "" {
		return
	}
	line := f.begun
	f.begun = ""
	l.written[line] = late
	f.order = append(f.order, line)
	if !late {
		l.order = append(l.order, line)
	}
	_, err := f.WriteString(line[len(line)/2:] + "\n")
	require.NoError(m, err)
}

// discover waits until the agent has looked at a new path and noted it: what is
// renamed before that is history.
func (m *model) discover(l *modelLog) {
	if l.seen || m.a == nil || l.cur == nil {
		return
	}
	empty := !m.unknowable() // what was never more than empty is not known in a directory that was never seen
	m.a.until(l.name+" is found", func() bool {
		return slices.ContainsFunc(m.a.c.Files(), func(f FileStatus) bool {
			return f.Path == m.w.path(l.name) && f.File != "" && (empty || f.Read > 0)
		})
	})
	require.NoError(m, m.a.store.Sync())
	l.seen = true
}

// rename rotates: the numbers of the older files move on. The program creates
// its next file at once, or when it writes.
func (m *model) rename(l *modelLog) {
	if l.cur == nil || !l.seen {
		return
	}
	if l.old != nil {
		m.whole(l, l.old, true)
		_ = l.old.Close()
	}
	if !m.late {
		m.whole(l, l.cur, false)
	}
	create := m.rng.IntN(2) == 0
	m.did("rename %s, create %v", l.name, create)
	m.w.shift(m.olddir+l.name, l.renames)
	l.renames++
	m.w.rename(l.name, m.olddir+l.name+".1")
	l.old, l.cur = l.cur, nil
	if create {
		m.write(l, 0)
	}
	m.compress(l)
}

// compress compresses what was rotated just now, or the time before. Nobody
// writes to it any more.
func (m *model) compress(l *modelLog) {
	name := m.olddir + l.name + ".1"
	switch {
	case m.pack == "":
		return
	case m.delay:
		name = m.olddir + l.name + ".2"
	default:
		m.whole(l, l.old, m.late)
		_ = l.old.Close()
		l.old = nil
	}
	if _, err := os.Stat(m.w.path(name)); err == nil {
		m.did("compress %s", name)
		m.w.compress(name, m.pack)
	}
}

// lateWrite appends to the file that was renamed last.
func (m *model) lateWrite(l *modelLog) {
	if l.old == nil || !m.late {
		return
	}
	n := 1 + m.rng.IntN(20)
	m.did("write %d late lines to %s.1", n, l.name)
	m.append(l, l.old, n, true)
}

// unknowable reports whether a file whose content was never seen looks, once
// it is rotated, like another path's archive in a directory that was never seen.
func (m *model) unknowable() bool { return m.pack != "" && m.olddir != "" }

// truncate cuts a file to nothing of which everything has arrived.
func (m *model) truncate(l *modelLog) {
	if l.cur == nil || !l.seen || m.a == nil {
		return
	}
	if m.unknowable() {
		return // what it holds then is not known
	}
	m.whole(l, l.cur, false)
	m.everythingArrives()
	stopped := m.rng.IntN(3) == 0
	if stopped {
		m.stop()
	}
	m.did("truncate %s", l.name)
	require.NoError(m, l.cur.Truncate(0))
	l.cur.gen = l.files
	l.files++
}

func (m *model) start(opts ...option) {
	if m.a != nil {
		return
	}
	m.did("start")
	m.absorbed = 0
	m.a = m.w.start(append(opts, acking(ackMode(m.rng.IntN(2))))...)
	for _, l := range m.logs {
		m.discover(l)
	}
}

func (m *model) stop() {
	if m.a == nil {
		return
	}
	m.did("stop")
	m.a.stop()
	m.absorb()
	m.a.all, m.a.got = nil, nil // the cleanup of the test keeps each agent
	m.a = nil
}

// checkpoint is what the store does by itself every second.
func (m *model) checkpoint() {
	if m.a != nil {
		m.did("checkpoint")
		require.NoError(m, m.a.store.Sync())
	}
}

// crash ends the agent and takes back what it stored since the last checkpoint.
func (m *model) crash() {
	if m.a == nil {
		return
	}
	m.did("crash")
	stored, err := os.ReadFile(filepath.Join(m.w.state, checkpoint.FileName))
	require.NoError(m, err)
	m.stop()
	m.w.state = m.TempDir()
	require.NoError(m, os.WriteFile(filepath.Join(m.w.state, checkpoint.FileName), stored, 0o600))
	m.crashed = true
}

// absorb takes what arrived since it was last called.
func (m *model) absorb() {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	for _, line := range m.a.all[m.absorbed:] {
		m.absorbed++
		m.times[line]++
		for _, l := range m.logs {
			if m.times[line] == 1 && strings.HasPrefix(line, l.name) {
				l.arrived = append(l.arrived, line)
			}
		}
	}
}

// everythingArrives waits until every line that was written has arrived.
func (m *model) everythingArrives() {
	if m.a == nil {
		return
	}
	m.did("everything arrives")
	for _, l := range m.logs {
		m.a.until(fmt.Sprintf("all %d lines of %s", len(l.written), l.name), func() bool {
			m.absorb()
			return len(l.arrived) >= len(l.written)
		})
	}
}

// verify compares what arrived with what was written: every line, whole, in
// order, and once.
func (m *model) verify() {
	for _, l := range m.logs {
		var inTime []string
		for _, line := range l.arrived {
			late, written := l.written[line]
			require.True(m, written, "%q was never written", line)
			if !late {
				inTime = append(inTime, line)
			}
		}
		require.Len(m, l.arrived, len(l.written))
		require.Equal(m, len(l.order), len(inTime))
		for i := range inTime {
			require.Equal(m, l.order[i], inTime[i], "line %d of %s", i, l.name)
		}
		m.verifyGenerations(l)
	}
	if m.crashed {
		return
	}
	for line, n := range m.times {
		require.Equal(m, 1, n, "%q arrived %d times", line, n)
	}
}

// verifyGenerations demands that the lines of each file, late ones too, come
// in the order in which they stand there: numbers only rise within a path.
func (m *model) verifyGenerations(l *modelLog) {
	newest := map[string]string{}
	for _, line := range l.arrived {
		gen, _, _ := strings.Cut(line, " line ")
		require.Less(m, newest[gen], line, "lines of one file out of order")
		newest[gen] = line
	}
}
