package faults

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/internal/record"
	"logferry/test/agenttest"
	"logferry/test/kafkatest/kafkaread"
)

// needs skips the scenario, and says so, where a tool or a right is missing.
func (w *world) needs(why string, try ...string) {
	w.Helper()
	if out, err := exec.Command(try[0], try[1:]...).CombinedOutput(); err != nil {
		w.Skipf("SKIPPED (%s is not possible here): %v %s", why, err, out)
	}
}

// below says through which command the agent is started.
func (w *world) below(why string, under ...string) {
	w.Helper()
	w.needs(why, append(append([]string{}, under...), "true")...)
	w.under = under
}

// inUserNamespace starts the agent in a user namespace of its own, after a
// shell command that sets that namespace's limits.
func (w *world) inUserNamespace(setup string) {
	w.Helper()
	w.below("a user namespace with limits", "unshare", "--user", "--map-root-user",
		"setpriv", "--pdeathsig", "KILL", "sh", "-c", setup+` && exec "$@"`, "sh")
}

// startTask starts the agent on a task file with more settings than flags have.
func (w *world) startTask(settings string, globs ...string) {
	w.Helper()
	if w.kafka == nil {
		w.shared()
	}
	if w.topic == "" {
		w.topic = w.kafka.NewTopic(w.T, 3)
	}
	text := "topic: " + w.topic + "\n" + settings + "paths:\n"
	for _, g := range globs {
		text += fmt.Sprintf("  - %q\n", w.path(g))
	}
	file := filepath.Join(w.dir, "tasks.d", "app.yaml")
	require.NoError(w, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(w, os.MkdirAll(w.path(), 0o755))
	require.NoError(w, os.WriteFile(file, []byte(text), 0o600))
	w.Setenv("LOGFERRY_TASKS_FILES", file)
	w.agent = agenttest.StartUnder(w.T, w.under,
		append([]string{"--brokers", strings.Join(w.kafka.Brokers(), ","), "--state-dir", w.stateDir()}, w.args...)...)
	agenttest.Eventually(w.T, "the task runs", agenttest.Patience, func() bool { return w.agent.Tasks()["app"].State == "running" })
}

// logged waits until the agent has logged something.
func (w *world) logged(text string) {
	w.Helper()
	agenttest.Eventually(w.T, "the agent logs "+text, agenttest.Patience, func() bool { return strings.Contains(w.agent.Log(), text) })
}

// metric waits until a metric is at least min.
func (w *world) metric(name string, min float64) {
	w.Helper()
	agenttest.Eventually(w.T, fmt.Sprintf("%s is at least %g", name, min), agenttest.Patience, func() bool { return w.agent.Metric(name) >= min })
}

// tmpfs mounts a small file system of its own.
func (w *world) tmpfs(dir, size string) {
	w.Helper()
	require.NoError(w, os.MkdirAll(dir, 0o755))
	w.needs("mounting", "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
	w.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", dir).CombinedOutput(); err != nil {
			w.Errorf("unmount %s: %v %s", dir, err, out)
		}
	})
}

// fill writes a file until the file system has no room, and returns its name.
func fill(t testing.TB, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	return f.Name()
}

// deletedOpen counts the descriptors that the agent has on deleted files.
func (w *world) deletedOpen() int {
	w.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", w.agent.PID())
	entries, err := os.ReadDir(dir)
	require.NoError(w, err)
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, w.dir) && strings.HasSuffix(to, " (deleted)") {
			n++
		}
	}
	return n
}

// raw writes bytes that are no lines of the generator.
func (w *world) raw(name string, content []byte) {
	w.Helper()
	require.NoError(w, os.MkdirAll(w.path(), 0o755))
	require.NoError(w, os.WriteFile(w.path(name), content, 0o644))
}

// received waits for n records, stops the agent, and returns what there is.
func (w *world) received(n int) []kafkaread.Record {
	w.Helper()
	w.kafka.WaitCount(w.T, w.topic, int64(n), agenttest.Patience)
	w.stop()
	got := w.kafka.ReadAll(w.T, w.topic)
	w.row.written, w.row.arrived = uint64(n), int64(len(got))
	require.Len(w, got, n)
	return got
}

// lineOf64MiB is one that no batch and no message holds.
const lineOf64MiB = 64 << 20

// longLine writes a line of n NULs between two short ones, and looks at what
// arrives and at what it costs.
func longLine(w *world, n int64) {
	w.Helper()
	w.raw("app.log", []byte("before\n"))
	f, err := os.OpenFile(w.path("app.log"), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(w, err)
	defer func() { _ = f.Close() }()
	require.NoError(w, f.Truncate(int64(len("before\n"))+n)) // a hole reads as NULs
	_, err = f.WriteString("\nafter\n")
	require.NoError(w, err)
	w.start()
	w.kafka.WaitCount(w.T, w.topic, 3, agenttest.Patience)
	require.Less(w, w.agent.PeakRSS(), int64(100<<20), "the line is never held")
	got := w.received(3)
	require.Equal(w, "before", string(got[0].Value))
	require.Equal(w, "after", string(got[2].Value))
	require.Equal(w, make([]byte, 1<<20), got[1].Value, "cut at max_line_bytes")
	require.Equal(w, []kafkaread.Header{{Key: record.HeaderTruncated, Value: fmt.Append(nil, n)}}, got[1].Headers)
}

var hostScenarios = []scenario{
	{"descriptors-exhausted", false, func(w *world) {
		w.below("a limit of descriptors", "prlimit", "--nofile=150:150")
		for i := range 2000 {
			w.log(fmt.Sprintf("app-%d.log", i)).Write(20)
			_ = w.logs[i].File.Close()
		}
		w.start()
		w.arrived()
		for _, l := range w.logs[:500] {
			l.Reopen()
			l.Write(20)
			_ = l.File.Close()
		}
	}},
	{"state-dir-full", false, func(w *world) {
		w.tmpfs(w.stateDir(), "4m")
		l := w.log("app.log")
		w.start()
		l.Write(1000)
		w.arrived()
		filler := fill(w.T, w.stateDir())
		for i := range 500 {
			w.log(fmt.Sprintf("new-%d.log", i)).Write(20)
		}
		w.metric("logferry_checkpoint_errors_total", 1)
		w.logged("checkpoints cannot be written")
		l.Write(20_000)
		w.arrived() // shipping goes on
		w.agent.WaitCommitted("flags")
		require.NoError(w, os.Remove(filler))
		w.heal()
		w.logged("checkpoints are written again")
		w.agent.Kill() // nothing may be doubled: the checkpoints have caught up
		w.start()
		l.Write(1000)
	}},
	{"started-with-a-full-state-dir", false, func(w *world) {
		w.tmpfs(w.stateDir(), "4m")
		l := w.log("app.log")
		w.start()
		l.Write(5000)
		w.arrived()
		w.stop()
		filler := fill(w.T, w.stateDir())
		l.Write(5000)
		w.rename(l)
		l.Write(5000)
		w.start() // at the offsets that it stored
		w.arrived()
		require.NoError(w, os.Remove(filler))
		w.heal()
		l.Write(100)
	}},
	{"state-dir-turns-read-only", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		l.Write(1000)
		w.arrived()
		db := filepath.Join(w.stateDir(), "checkpoints.db")
		w.needs("making a file immutable", "chattr", "+i", db)
		w.Cleanup(func() { _ = exec.Command("chattr", "-i", db).Run() })
		l.Write(10_000)
		w.metric("logferry_checkpoint_errors_total", 1)
		w.logged("checkpoints cannot be written")
		l.Write(10_000)
		w.arrived()
		w.agent.WaitCommitted("flags")
		require.NoError(w, exec.Command("chattr", "-i", db).Run())
		w.heal()
		w.logged("checkpoints are written again")
		w.agent.Kill() // nothing may be doubled
		w.start()
		l.Write(1000)
	}},
	{"checkpoints-torn", true, func(w *world) {
		l := w.log("app.log")
		w.start()
		db := filepath.Join(w.stateDir(), "checkpoints.db")
		for i, damage := range []func(content []byte) []byte{
			func(b []byte) []byte { return bytes.Repeat([]byte("garbage "), len(b)/8) },
			func(b []byte) []byte { return b[:2*os.Getpagesize()] }, // any longer, and what is in use may be left
			func(b []byte) []byte { return append(b[:9000:9000], make([]byte, len(b)-9000)...) },
		} {
			l.Write(1000)
			w.arrived()
			w.stop()
			content, err := os.ReadFile(db)
			require.NoError(w, err)
			require.NoError(w, os.WriteFile(db, damage(content), 0o640))
			w.kills++ // like a kill: what was delivered comes again
			w.start()
			require.InDelta(w, 1, w.agent.Metric("logferry_checkpoint_damaged_total"), 0, "damage %d", i)
			w.logged("checkpoint database is damaged")
			aside, err := filepath.Glob(db + ".damaged-*")
			require.NoError(w, err)
			require.Len(w, aside, i+1)
		}
	}},
	{"permission-denied-then-granted", false, func(w *world) {
		if os.Getuid() == 0 {
			w.below("running without root's rights over files",
				"setpriv", "--pdeathsig", "KILL", "--bounding-set", "-dac_override,-dac_read_search")
		}
		l := w.log("readable.log")
		l.Write(100)
		w.start()
		denied := w.log("denied.log")
		require.NoError(w, os.Chmod(denied.Path, 0))
		denied.Write(1000)
		w.logged("permission denied")
		require.NoError(w, os.Chmod(denied.Path, 0o644))
		w.heal()
		w.arrived()
	}},
	{"deleted-while-unread", false, func(w *world) {
		w.broker()
		w.topic = w.kafka.NewTopic(w.T, 3)
		for i := range 20 {
			w.log(fmt.Sprintf("app-%d.log", i)).Write(10)
		}
		w.startTask("rotate_wait: 1s\n", "*.log")
		w.arrived()
		w.kafka.Pause(w.T, 0)
		for _, l := range w.logs {
			l.Write(10_000) // 38 MB, more than the agent holds
		}
		for _, l := range w.logs {
			require.NoError(w, os.Remove(l.Path))
		}
		agenttest.Eventually(w.T, "the agent holds the deleted files", agenttest.Patience, func() bool { return w.deletedOpen() == len(w.logs) })
		w.kafka.Continue(w.T, 0)
		w.heal()
		w.arrived()
		agenttest.Eventually(w.T, "the deleted files are released", agenttest.Patience, func() bool { return w.deletedOpen() == 0 })
	}},
	{"deleted-beyond-their-bound", false, deletedBeyondTheirBound},
	{"inotify-watches-exhausted", false, func(w *world) {
		w.inUserNamespace("echo 5 > /proc/sys/user/max_inotify_watches")
		for i := range 10 {
			w.log(fmt.Sprintf("dir-%d", i), "app.log").Write(100)
		}
		w.start("**/*.log")
		w.logged("files are polled")
		for _, l := range w.logs {
			l.Write(100)
		}
		w.arrived()
		w.log("dir-9", "new.log").Write(100)
		w.log("dir-new", "app.log").Write(100)
		for _, l := range w.logs {
			w.rename(l)
			l.Write(100)
		}
	}},
	{"inotify-instances-exhausted", false, func(w *world) {
		w.inUserNamespace("echo 0 > /proc/sys/user/max_inotify_instances")
		l := w.log("app.log")
		w.start()
		w.logged("files are polled")
		l.Write(1000)
		w.arrived()
		w.log("new.log").Write(1000)
		w.rename(l)
		l.Write(1000)
	}},
	{"inotify-queue-overflow", false, func(w *world) {
		w.Setenv("LOGFERRY_RECONCILE_INTERVAL", "1h") // nothing but the overflow's own look
		l := w.log("app.log")
		w.start()
		l.Write(1000)
		w.arrived()
		w.agent.Signal(syscall.SIGSTOP)
		for i := range 20_000 {
			name := w.path(fmt.Sprintf("noise-%d", i))
			require.NoError(w, os.WriteFile(name, nil, 0o600))
			require.NoError(w, os.Remove(name))
		}
		w.log("new.log").Write(1000)
		w.rename(l)
		l.Write(1000)
		w.agent.Signal(syscall.SIGCONT)
		w.heal()
		w.logged("inotify queue overflowed")
	}},
	{"directory-vanishes-and-returns", true, func(w *world) {
		w.Setenv("LOGFERRY_RECONCILE_INTERVAL", "1h")
		require.NoError(w, os.MkdirAll(w.path(), 0o755))
		w.start("*/app-*.log")
		for i := range 4 {
			l := w.log("dir", fmt.Sprintf("app-%d.log", i))
			l.Write(500)
			w.arrived()
			if i%2 == 0 {
				require.NoError(w, os.RemoveAll(w.path("dir")))
			} else {
				require.NoError(w, os.Rename(w.path("dir"), filepath.Join(w.dir, fmt.Sprint("elsewhere-", i))))
			}
			l.Write(500) // into a file that has no name here any more
			w.arrived()
		}
	}},
	{"special-files-refused", true, func(w *world) {
		l := w.log("app.log")
		require.NoError(w, unix.Mkfifo(w.path("fifo.log"), 0o600))
		socket, err := net.Listen("unix", w.path("socket.log"))
		require.NoError(w, err)
		defer func() { _ = socket.Close() }()
		require.NoError(w, os.Symlink("/dev/zero", w.path("device.log")))
		require.NoError(w, os.Mkdir(w.path("directory.log"), 0o755))
		require.NoError(w, os.Symlink("directory.log", w.path("link.log")))
		require.NoError(w, os.Symlink("nowhere", w.path("dangling.log")))
		w.start()
		for _, name := range []string{"fifo.log", "socket.log", "device.log"} {
			w.logged(w.path(name))
			require.Contains(w, w.agent.NotCollected("flags")[w.path(name)], "not a regular file")
		}
		require.Len(w, w.agent.NotCollected("flags"), 3)
		require.Len(w, w.agent.Files("flags"), 1)
		l.Write(1000)
		w.arrived()
		l2 := w.log("later.log")
		require.NoError(w, unix.Mkfifo(w.path("later-fifo.log"), 0o600))
		l2.Write(100)
		w.logged(w.path("later-fifo.log"))
		require.NoError(w, os.Remove(w.path("fifo.log")))
		l3 := w.log("fifo.log") // a regular file takes the name
		l3.Write(100)
		w.arrived()
		require.NotContains(w, w.agent.NotCollected("flags"), w.path("fifo.log"))
	}},
	{"binary-data", true, func(w *world) {
		var content []byte
		var want [][]byte
		for i := range 2000 {
			line := make([]byte, 1+i%300)
			for j := range line {
				if line[j] = byte(i*7 + j*j*31 + j>>3); line[j] == '\n' {
					line[j] = 0
				}
			}
			if line[len(line)-1] == '\r' {
				line[len(line)-1] = 0xff
			}
			want = append(want, line)
			content = append(append(content, line...), '\n')
		}
		w.raw("app.log", content)
		w.start()
		for i, r := range w.received(len(want)) {
			require.Equal(w, want[i], r.Value, "line %d", i)
		}
	}},
	{"line-of-64-mib", true, func(w *world) { longLine(w, lineOf64MiB) }},
	{"line-of-1-gib", false, func(w *world) { longLine(w, 1<<30) }},
	{"empty-file-and-empty-lines", false, func(w *world) {
		w.raw("empty.log", nil)
		w.raw("newlines.log", bytes.Repeat([]byte("\n"), 20_000))
		w.start()
		for _, r := range w.received(20_000) {
			require.Empty(w, r.Value)
			require.NotNil(w, r.Value, "an empty line is no tombstone")
		}
	}},
	{"two-names-of-one-file", true, func(w *world) {
		l := w.log("app.log")
		require.NoError(w, os.Link(l.Path, w.path("hard.log")))
		require.NoError(w, os.Symlink("app.log", w.path("soft.log")))
		l.Write(1000)
		w.startTask("", "*.log")
		w.arrived()
		require.NoError(w, os.Link(l.Path, w.path("later.log")))
		l.Write(1000)
		w.arrived()
		w.stop()
		l.Write(1000)
		w.startTask("", "*.log")
		w.arrived()
		require.NoError(w, os.Remove(l.Path)) // it goes on under its other names
		l.Write(1000)
	}},
	{"symlink-pointed-elsewhere", false, func(w *world) {
		link := w.path("current.log")
		point := func(l *agenttest.LogWriter) {
			require.NoError(w, os.Symlink(l.Path, link+".new"))
			require.NoError(w, os.Rename(link+".new", link))
		}
		first := w.log("data", "0.txt")
		point(first)
		w.startTask("", "current.log")
		first.Write(500)
		for i := range 5 {
			w.arrived()
			l := w.log("data", fmt.Sprintf("%d.txt", i+1))
			l.Write(500)
			point(l)
			w.logs[i].Write(10) // the last words of the old one
			l.Write(500)
		}
	}},
	{"log-swapped-for-a-forbidden-link", true, func(w *world) {
		secret := filepath.Join(w.dir, "secret")
		require.NoError(w, os.WriteFile(secret, []byte("forbidden\n"), 0o600))
		l, link := w.log("app.log"), w.path("link")
		require.NoError(w, os.Symlink(secret, link))
		l.Write(1000)
		w.start()
		w.arrived()
		swap := func() {
			require.NoError(w, unix.Renameat2(unix.AT_FDCWD, l.Path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE))
		}
		for range 300 {
			swap()
			l.Write(10)
			swap()
			l.Write(10)
			w.tick()
		}
		swap()
		agenttest.Eventually(w.T, "the link is refused", agenttest.Patience, func() bool {
			return strings.Contains(w.agent.NotCollected("flags")[l.Path], "a symbolic link leads to "+secret)
		})
		require.Less(w, strings.Count(w.agent.Log(), "a file cannot be read"), 20, "600 swaps must not fill the log")
		swap()
		l.Write(1000) // a forbidden line among these would be a garbled one
	}},
	{"paused-across-rotations", true, func(w *world) {
		l := w.log("app.log")
		w.start()
		for range 3 {
			l.Write(1000)
			w.agent.Signal(syscall.SIGSTOP)
			for range 4 {
				l.Write(1000)
				w.rename(l)
			}
			l.Write(1000)
			w.agent.Signal(syscall.SIGCONT)
			w.heal()
			w.arrived()
		}
	}},
}
