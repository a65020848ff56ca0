package faults

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
)

// logrotateScenarios rotate with the program that rotates logs on most hosts.
var logrotateScenarios = []scenario{
	{"logrotate-create", true, func(w *world) { whileRunning(w, 5, "create") }},
	{"logrotate-create-stopped", false, func(w *world) { whileStopped(w, 4, "create") }},
	{"logrotate-nocreate", false, func(w *world) { whileRunning(w, 5, "nocreate") }},
	{"logrotate-nocreate-stopped", false, func(w *world) { whileStopped(w, 4, "nocreate") }},
	{"logrotate-copytruncate", false, func(w *world) { whileRunning(w, 5, "copytruncate") }},
	{"logrotate-compress", false, func(w *world) { whileRunning(w, 5, "create", "compress") }},
	{"logrotate-delaycompress", false, func(w *world) { whileRunning(w, 5, "create", "compress", "delaycompress") }},
	{"logrotate-compress-stopped", true, func(w *world) { whileStopped(w, 4, "create", "compress") }},
	{"logrotate-delaycompress-stopped", false, func(w *world) { whileStopped(w, 4, "create", "compress", "delaycompress") }},
	{"logrotate-dateext-compress-stopped", false, func(w *world) { whileStopped(w, 3, append(slices.Clone(dated), "compress")...) }},
	{"logrotate-zstd", false, func(w *world) { whileRunning(w, 5, withZstd(w, "create")...) }},
	{"logrotate-zstd-stopped", false, func(w *world) { whileStopped(w, 4, withZstd(w, "create")...) }},
	{"logrotate-copytruncate-stopped", false, func(w *world) { whileStopped(w, 4, "copytruncate") }},
	{"logrotate-copytruncate-compress-stopped", false, func(w *world) { whileStopped(w, 4, "copytruncate", "compress") }},
	{"logrotate-compress-killed", false, func(w *world) { whileKilled(w, 3, "create", "compress") }},
	{"logrotate-dateext", false, func(w *world) { whileRunning(w, 3, dated...) }},
	{"logrotate-dateext-stopped", false, func(w *world) { whileStopped(w, 3, dated...) }},
	{"logrotate-olddir", false, func(w *world) { whileRunning(w, 5, "create", "olddir old", "createolddir 755") }},
	{"logrotate-olddir-stopped", false, func(w *world) { whileStopped(w, 4, "create", "olddir old", "createolddir 755") }},
	{"logrotate-olddir-elsewhere-stopped", false, func(w *world) { whileStopped(w, 4, "create", "olddir ../elsewhere", "createolddir 755") }},
	{"logrotate-olddir-compress-stopped", false, func(w *world) {
		whileStopped(w, 4, "create", "olddir ../elsewhere", "createolddir 755", "compress", "delaycompress")
	}},
	{"logrotate-size", false, func(w *world) { bySize(w, false) }},
	{"logrotate-size-stopped", false, func(w *world) { bySize(w, true) }},
	{"logrotate-signals", true, func(w *world) { withSignals(w, false, "create") }},
	{"logrotate-signals-nocreate", false, func(w *world) { withSignals(w, false, "nocreate") }},
	{"logrotate-signals-stopped", false, func(w *world) { withSignals(w, true, "create") }},
	{"logrotate-signals-delaycompress", false, func(w *world) { withSignals(w, false, "create", "compress", "delaycompress") }},
}

// dated names a rotated file by the second: several in a day.
var dated = []string{"create", "dateext", "dateformat -%Y%m%d-%s"}

// rotator runs logrotate on one log, with a configuration and a state file of its own.
type rotator struct {
	w      *world
	log    *agenttest.LogWriter
	config string
	says   string // the directives, for what depends on them
}

func newRotator(w *world, l *agenttest.LogWriter, directives ...string) *rotator {
	w.Helper()
	needLogrotate(w)
	r := &rotator{w: w, log: l, config: filepath.Join(w.dir, "logrotate.conf"), says: strings.Join(directives, "\n  ")}
	require.NoError(w, os.WriteFile(r.config, fmt.Appendf(nil, "%q {\n  rotate 100\n  missingok\n  %s\n}\n", l.Path, r.says), 0o600))
	return r
}

// needLogrotate skips, and says so, where logrotate is missing. It is an error where
// CI could have installed it.
func needLogrotate(w *world) {
	w.Helper()
	_, err := exec.LookPath("logrotate")
	if err == nil {
		return
	}
	if _, noApt := exec.LookPath("apt-get"); os.Getenv("CI") == "true" && noApt == nil && os.Geteuid() == 0 {
		require.NoError(w, err, "apt-get install logrotate")
	}
	_, _ = fmt.Fprintf(os.Stderr, "SKIPPED (no logrotate): %s: %v\n", w.Name(), err)
	w.Skip(err)
}

// run runs logrotate once.
func (r *rotator) run(args ...string) {
	r.w.Helper()
	args = append(args, "-s", filepath.Join(r.w.dir, "logrotate.state"), r.config)
	out, err := exec.Command("logrotate", args...).CombinedOutput()
	require.NoError(r.w, err, "%s", out)
	require.Empty(r.w, string(out))
}

// rotate forces one rotation and lets the program go on as it does without a
// signal: for a while in the file that it holds open, then in the new one.
func (r *rotator) rotate(late uint64) {
	r.w.Helper()
	r.w.tick()
	if strings.Contains(r.says, "dateext") {
		nextSecond()
	}
	r.run("-f")
	r.log.Write(late)
	if !strings.Contains(r.says, "copytruncate") {
		_ = r.log.File.Close()
		r.log.Reopen()
	}
}

// nextSecond waits for a name that is not taken yet.
func nextSecond() {
	now := time.Now()
	<-time.After(now.Truncate(time.Second).Add(time.Second + 10*time.Millisecond).Sub(now)) // time(2) lags a tick
}

// whileRunning rotates under a running agent that has seen each new file, but
// not what was written last to it.
func whileRunning(w *world, rotations int, directives ...string) {
	l := w.log("app.log")
	r := newRotator(w, l, directives...)
	w.start()
	for range rotations {
		l.Write(500)
		w.arrived()
		l.Write(20_000)
		r.rotate(300)
		l.Write(500)
	}
}

// whileStopped rotates several times between two runs, twice over. No late
// lines go to a file that is compressed: logrotate itself throws them away.
func whileStopped(w *world, rotations int, directives ...string) {
	late := uint64(100)
	for _, d := range directives {
		if d == "compress" {
			late = 0
		}
	}
	l := w.log("app.log")
	r := newRotator(w, l, directives...)
	l.Write(1000)
	for range 2 {
		w.start()
		w.arrived()
		if strings.Contains(r.says, "../") { // one rotation shows where the files go
			r.rotate(late)
			w.arrived()
		}
		w.stop()
		for range rotations {
			l.Write(2000)
			r.rotate(late)
			l.Write(500)
		}
	}
	w.start()
	w.heal()
}

// whileKilled rotates while the agent is dead, each time in the middle of what it reads.
func whileKilled(w *world, rotations int, directives ...string) {
	l := w.log("app.log")
	r := newRotator(w, l, directives...)
	for range 3 {
		l.Write(50_000)
		w.start()
		w.kill()
		for range rotations {
			l.Write(2000)
			r.rotate(0)
			l.Write(500)
		}
	}
	w.start()
	w.heal()
}

// withZstd makes logrotate compress with zstd: this test's own binary, so that no other need be installed.
func withZstd(w *world, directives ...string) []string {
	w.Helper()
	self, err := os.Executable()
	require.NoError(w, err)
	command := filepath.Join(w.dir, "zstd")
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %q\n", zstdVariable, self)
	require.NoError(w, os.WriteFile(command, []byte(script), 0o755)) //nolint:gosec // it is to be run
	return append(directives, "compress", "compresscmd "+command, "compressext .zst")
}

// bySize calls logrotate often, which rotates only what has grown enough.
func bySize(w *world, stopped bool) {
	l := w.log("app.log")
	r := newRotator(w, l, "create", "size 100k")
	l.Write(100)
	w.start()
	if stopped {
		w.arrived()
		w.stop()
	}
	for range 60 {
		l.Write(250) // 47 KB: every third time
		w.tick()
		r.run()
		_ = l.File.Close()
		l.Reopen()
	}
	rotated, err := filepath.Glob(l.Path + ".*")
	require.NoError(w, err)
	require.Len(w, rotated, 20)
	if stopped {
		w.start()
		w.heal()
	}
}

// withSignals rotates under a program that never rests: before the rotation
// it is told to write a burst, after it to open its log again.
func withSignals(w *world, stopped bool, directives ...string) {
	l := w.log("app.log")
	pid := os.Getpid()
	r := newRotator(w, l, append(directives,
		fmt.Sprintf("prerotate\n    kill -USR2 %d\n  endscript", pid),
		fmt.Sprintf("postrotate\n    kill -USR1 %d\n  endscript", pid))...)
	w.start()
	p := startProgram(l)
	defer p.stop()
	for i := range 6 {
		p.write(w, 5000)
		if stopped && i%2 == 0 {
			w.stop()
		}
		if !stopped {
			w.passed(l, p.next())
		}
		w.tick()
		opened := p.opened.Load()
		r.run("-f")
		agenttest.Eventually(w.T, "the program opens its log again", agenttest.Patience, func() bool { return p.opened.Load() > opened })
		p.write(w, 1000)
		if stopped && i%2 == 1 {
			w.start()
		}
	}
	p.stop()
}

// passed waits until the agent has at least this many lines acknowledged since its start.
func (w *world) passed(_ *agenttest.LogWriter, n uint64) {
	w.Helper()
	agenttest.Eventually(w.T, "the agent comes so far", agenttest.Patience, func() bool {
		return w.agent.Metric("logferry_acked_records_total") >= float64(n)
	})
}

// program writes a log all the time and obeys logrotate's scripts.
type program struct {
	end    func()
	n      atomic.Uint64
	opened atomic.Uint64 // times that the log was opened again
}

func startProgram(l *agenttest.LogWriter) *program {
	p := &program{}
	p.n.Store(l.Next)
	signals, quit, done := make(chan os.Signal, 16), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	p.end = sync.OnceFunc(func() {
		signal.Stop(signals)
		close(quit)
		<-done
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case s := <-signals:
				l.Write(700)
				if s == syscall.SIGUSR1 {
					_ = l.File.Close()
					l.Reopen()
					p.opened.Add(1)
				}
			case <-tick.C:
				l.Write(20)
			}
			p.n.Store(l.Next)
		}
	}()
	return p
}

func (p *program) stop() { p.end() }

func (p *program) next() uint64 { return p.n.Load() }

// write waits until the program has written n lines more.
func (p *program) write(w *world, n uint64) {
	w.Helper()
	goal := p.next() + n
	agenttest.Eventually(w.T, "the program writes", agenttest.Patience, func() bool { return p.next() >= goal })
}
