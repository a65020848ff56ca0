package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/test/etcdtest"
)

// screen collects what a command writes.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) shows(t *testing.T, what string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.String(), what) }, patience, 5*time.Millisecond,
		"never shown: %s\nshown: %s", what, s)
}

// startCommand runs a command in this process; stop is its Ctrl-C, and returns its
// exit code and what it said on standard error.
func startCommand(t *testing.T, out io.Writer, args ...string) (stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said, code := &screen{}, make(chan int, 1)
	go func() {
		a := &app{in: strings.NewReader(""), out: out, err: said, getenv: func(string) string { return "" }}
		code <- a.execute(ctx, args)
	}()
	stopped, result := false, 0
	stop = func() (int, string) {
		cancel()
		if !stopped {
			stopped, result = true, <-code
		}
		return result, said.String()
	}
	t.Cleanup(func() { stop() })
	return stop
}

const (
	reportWell    = `{"revision":9,"tasks":[{"name":"web","state":"running"}]}`
	reportFailing = `{"revision":9,"tasks":[{"name":"web","state":"failing","error":"no such topic; create it"}]}`
)

func TestAWatchedStatusIsShownAgainAtEachChange(t *testing.T) {
	e := etcdtest.Start(t)
	etcd := strings.Join(e.Endpoints(), ",")
	e.Put(t, "/logferry/agents/web-1", `{"id":"web-1"}`)
	out := &screen{}
	stop := startCommand(t, out, "status", "--watch", "--etcd", etcd)
	out.shows(t, "TASK  REVISION")
	e.Put(t, "/logferry/status/web-1", reportWell)
	out.shows(t, "web   -         1       1")
	e.Put(t, "/logferry/status/web-1", reportFailing)
	out.shows(t, "\nweb is failing on web-1: no such topic; create it\n")
	require.NotContains(t, out.String(), "\x1b", "it is not a terminal")
	code, said := stop()
	require.Zero(t, code, said)
	require.Empty(t, said)

	out = &screen{}
	stop = startCommand(t, out, "status", "web", "--watch", "--json", "--etcd", etcd)
	out.shows(t, "no such topic")
	e.Delete(t, "/logferry/status/web-1")
	require.Eventually(t, func() bool { return strings.Count(out.String(), "\n") >= 2 }, patience, 5*time.Millisecond)
	code, said = stop()
	require.Zero(t, code, said)
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var v statusView
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		require.Equal(t, "web", v.Name)
	}
}

func TestStatusNamesWhatIsNotCollected(t *testing.T) {
	e := etcdtest.Start(t)
	for _, agent := range []string{"web-1", "web-2"} {
		e.Put(t, "/logferry/agents/"+agent, `{"id":"`+agent+`"}`)
		e.Put(t, "/logferry/status/"+agent, `{"revision":9,"tasks":[{"name":"web","state":"running","not_collected":2,"not_collected_example":"/var/log/a.log: a symbolic link leads to /etc/shadow"}]}`)
	}
	out, code := runOnce(t, "status", "--etcd", e.Endpoints()[0])
	require.Contains(t, out, "\nweb does not collect 2 paths on web-1, web-2: /var/log/a.log: a symbolic link leads to /etc/shadow\n")
	require.Equal(t, exitOK, code, "the task runs")
}

func TestAWatchedStatusSaysWhenThereIsNoNews(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/agents/web-1", `{"id":"web-1"}`)
	e.Put(t, "/logferry/status/web-1", reportWell)
	out := &screen{}
	stop := startCommand(t, out, "status", "web", "--watch", "--etcd", e.Endpoints()[0])
	out.shows(t, "web-1  -     running")
	e.Stop(t, 0)
	out.shows(t, "no news since ")
	e.Restart(t, 0)
	e.Put(t, "/logferry/status/web-1", reportFailing)
	out.shows(t, "web is failing on web-1")
	code, said := stop()
	require.Zero(t, code, said)
}

// openTerminal returns a pseudo terminal: what is written to the one end is
// collected by the other.
func openTerminal(t *testing.T) (tty *os.File, shown *screen) {
	t.Helper()
	_, tty, shown = openBothEnds(t)
	return tty, shown
}

// openBothEnds returns the end that somebody types at, too.
func openBothEnds(t *testing.T) (master, tty *os.File, shown *screen) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	raw, err := master.SyscallConn()
	require.NoError(t, err)
	var number uint32
	require.NoError(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	shown = &screen{}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(shown, master) }) // ends when no end of tty is open
	t.Cleanup(func() {
		_ = tty.Close()
		wg.Wait()
		_ = master.Close()
	})
	return master, tty, shown
}

func TestOnATerminalEachPictureTakesThePlaceOfTheLast(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/agents/web-1", `{"id":"web-1"}`)
	e.Put(t, "/logferry/status/web-1", reportWell)
	tty, shown := openTerminal(t)
	stop := startCommand(t, tty, "status", "-w", "--etcd", e.Endpoints()[0])
	shown.shows(t, "\x1b[H\x1b[2Jlogferry status at ")
	shown.shows(t, ", 1 agent; Ctrl-C ends")
	shown.shows(t, "web   -         1       1")
	e.Put(t, "/logferry/status/web-1", reportFailing)
	shown.shows(t, "web is failing on web-1: no such topic; create it")
	require.GreaterOrEqual(t, strings.Count(shown.String(), "\x1b[2J"), 2)
	code, said := stop()
	require.Zero(t, code, said)
}
