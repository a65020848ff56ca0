package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testPatience = time.Minute

// tape records what is shown, and wakes who waits for a text.
type tape struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newTape() *tape { return &tape{changed: make(chan struct{})} }

func (p *tape) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.text.Write(b)
}

func (p *tape) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *tape) waitFor(t *testing.T, text string) {
	t.Helper()
	late := time.After(testPatience)
	for {
		p.mu.Lock()
		there, changed := strings.Contains(p.text.String(), text), p.changed
		p.mu.Unlock()
		if there {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q was not shown within %v, only:\n%s", text, testPatience, p)
		}
	}
}

// inOrder requires that texts appear one behind the other.
func inOrder(t *testing.T, shown string, texts ...string) {
	t.Helper()
	rest := shown
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		require.True(t, found, "%q is missing, or comes too early, in:\n%s", text, shown)
		rest = after
	}
}

func noDirIsLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "logferry-sandbox-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestOnceShipsEveryLineThroughRotationsAndAnEdit(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, errOut bytes.Buffer
	code := execute(t.Context(), []string{"--once", "--lines", "5003"}, &out, &errOut)
	require.Equal(t, exitOK, code, "%s\n%s", out.String(), errOut.String())
	inOrder(t, out.String(),
		"etcd ", "kafka ", "is up at http://127.0.0.1:", "tasks/web", "task web runs", "access.log was found", "line ", "access.log.1", "edit ",
		"app/*.log to web_log", "audit runs", "in audit_log", "access.log.1", "task audit is gone", "task web is gone",
		"lines written = 5003, lines arrived = 5003", "lost 0, doubled 0, out of order 0, garbled 0", "rotations 2")
	require.NotContains(t, out.String(), "\x1b", "no colours where there is no terminal")
	require.Empty(t, errOut.String())
	noDirIsLeft(t)
}

func TestKeepLeavesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, execute(t.Context(), []string{"--once", "--lines", "100", "--keep"}, &out, &errOut), errOut.String())
	kept, err := filepath.Glob(filepath.Join(dir, "logferry-sandbox-*", "logs", "web", "access.log.*"))
	require.NoError(t, err)
	require.Len(t, kept, 2)
	require.Contains(t, out.String(), filepath.Dir(filepath.Dir(filepath.Dir(kept[0]))))
}

// begin runs a story of its own, and returns its end.
func begin(t *testing.T, opts options) (s *story, shown *tape, stop func() error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	ctx, fail := context.WithCancelCause(t.Context())
	shown = newTape()
	s, err := newStory(opts, shown, fail)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.tell(ctx) }()
	stop = sync.OnceValue(func() error {
		fail(nil)
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return s, shown, stop
}

func TestTheDemoPlaysItsScenesAndShowsWhatTheUserDoes(t *testing.T) {
	s, shown, stop := begin(t, options{rate: 400, patience: testPatience, tempo: 50 * time.Millisecond, lastWait: testPatience, command: "logferry"})
	shown.waitFor(t, "the rest is up to you")
	inOrder(t, shown.String(), "logferry task list --etcd http://127.0.0.1:", "Ctrl-C", "task web runs", "in web_log", "arrived ", "edit ", "app/*.log to web_log",
		"tasks/audit", "in audit_log", "removal ", "task audit is gone")

	mine := filepath.Join(s.world.logs(), "mine")
	require.NoError(t, os.MkdirAll(mine, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(mine, "a.log"), []byte("hello from me\n"), 0o644))
	_, err := s.world.store.Put(t.Context(), "mine", []byte(s.taskText("mine", "mine/*.log")))
	require.NoError(t, err)
	shown.waitFor(t, "task mine runs: logs/mine/*.log to mine")
	shown.waitFor(t, "hello from me")

	_, err = s.world.store.Put(t.Context(), "bad", []byte(`{"paths":["/etc/*"],"topic":"mine"}`))
	require.NoError(t, err)
	shown.waitFor(t, "reaches outside of allow_paths")

	require.NoError(t, stop(), "%s", shown)
	inOrder(t, shown.String(), "stop ", "has stopped within", "lines written = ", "lost 0, doubled 0, out of order 0, garbled 0")
	noDirIsLeft(t)
}

func TestTheDemoGoesOnWhenTheUserTakesItsTaskAway(t *testing.T) {
	s, shown, stop := begin(t, options{rate: 200, patience: testPatience, tempo: 50 * time.Millisecond, lastWait: 100 * time.Millisecond})
	shown.waitFor(t, "task audit is gone")
	_, err := s.world.store.Delete(t.Context(), "web")
	require.NoError(t, err)
	shown.waitFor(t, "task web is gone")
	written := uint64(0)
	s.board.look(func(st *state) { written = st.written() })
	require.NoError(t, s.board.wait(t.Context(), testPatience, "more lines", func(st *state) string {
		return map[bool]string{false: "none yet"}[st.written() > written+10]
	}))
	require.NoError(t, stop(), "Ctrl-C is a good end")
	require.Contains(t, shown.String(), "no task collects now")
}

func TestLinesThatNobodyCollectsAreReportedLost(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	shown := newTape()
	s, err := newStory(options{once: true, patience: testPatience}, shown, fail)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.world.close()) }()
	require.NoError(t, s.open(ctx))
	l := s.writer.add("web/access.log", 10_000, nil)
	s.writer.writeUpTo(l, 100)
	require.NoError(t, s.written(ctx, l, 100))

	s.opts.patience = 100 * time.Millisecond
	err = s.finish(ctx, l)
	require.ErrorIs(t, err, errIncomplete)
	require.ErrorContains(t, err, "waited 100ms for the lines to arrive: 0 of 100 lines of log 1 arrived")
	require.ErrorContains(t, err, "lost 100 lines: 0 to 99")
	require.Contains(t, shown.String(), "lines written = 100, lines arrived = 0")
}

func TestAPartThatEndsByItselfEndsTheStory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	s, err := newStory(options{once: true, patience: testPatience}, newTape(), fail)
	require.NoError(t, err)
	p := s.world.start(ctx, "the printer", func(context.Context) error { return fmt.Errorf("out of paper") })
	err = s.board.wait(ctx, testPatience, "a page", func(*state) string { return "no page" })
	require.EqualError(t, err, "wait for a page: the printer: out of paper")
	require.EqualError(t, p.stop(), "the printer: out of paper")
	require.NoError(t, s.world.close())
	noDirIsLeft(t)
}

func TestAnInterruptedCheckSaysSoAndFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	shown, code := newTape(), make(chan int, 1)
	var errOut bytes.Buffer
	go func() { code <- execute(ctx, []string{"--once", "--lines", "1000000"}, shown, &errOut) }()
	shown.waitFor(t, "in web_log")
	interrupt()
	require.Equal(t, exitFailed, <-code)
	require.Equal(t, "logferry-sandbox: interrupted\n", errOut.String())
	noDirIsLeft(t)
}
