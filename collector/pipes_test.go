package collector

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/envelope"
	"logferry/collector/rate"
	"logferry/collector/shape"
	"logferry/collector/tail"
	"logferry/internal/record"
)

// pipesRun is one run of a task of named pipes.
type pipesRun struct {
	*sink
	w       *world
	p       *Pipes
	budget  *budget
	metrics *Metrics
	out     chan *record.Batch
	cancel  context.CancelFunc
	ended   chan error
}

func (w *world) startPipes(mode ackMode, change func(*Config)) *pipesRun {
	w.t.Helper()
	r := &pipesRun{w: w, sink: newSink(mode), budget: newBudget(w.bytes), metrics: NewMetrics(prometheus.NewRegistry()), out: make(chan *record.Batch, 4), ended: make(chan error, 1)}
	cfg := w.cfg
	cfg.Paths, cfg.Drain = []string{filepath.Join(w.dir, "*")}, patience
	if change != nil {
		change(&cfg)
	}
	r.p = NewPipes(cfg, Deps{Pool: tail.NewPool(), Budget: r.budget, Metrics: r.metrics, Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- r.p.Run(ctx, r.out) }()
	go r.run(r.out, nil)
	w.t.Cleanup(r.stop)
	return r
}

func (r *pipesRun) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	require.NoError(r.w.t, <-r.ended)
	close(r.out)
	<-r.sink.ended
	r.p.Close()
	require.Empty(r.w.t, r.bad)
}

func (r *pipesRun) until(what string, cond func() bool) {
	r.w.t.Helper()
	require.Eventually(r.w.t, cond, patience, time.Millisecond, "%s\n%s", what, r.w.log.String())
}

func (w *world) mkfifo(name string) {
	w.t.Helper()
	require.NoError(w.t, unix.Mkfifo(w.path(name), 0o600))
}

// pour writes to a named pipe as a program does that is started for it.
func (w *world) pour(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_WRONLY, 0)
	require.NoError(w.t, err)
	_, err = io.WriteString(f, text)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

func TestWhatProgramsWriteToNamedPipesArrives(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a")
	w.put("file.log", []byte("no pipe\n"))
	require.NoError(t, os.Mkdir(w.path("dir"), 0o700))
	env, err := envelope.New(envelope.Config{Headers: map[string]string{"at": "{{.path}}@{{.offset}}"}})
	require.NoError(t, err)
	sh, err := shape.New(shape.Config{Exclude: []string{"DEBUG"}, MaxBytes: 1 << 20})
	require.NoError(t, err)
	r := w.startPipes(ackShuffled, func(c *Config) { c.Envelope, c.Shape = env, sh })
	text, list := lines("a", 0, 30000)
	w.pour("a", "first\r\nDEBUG second\n"+text)
	w.mkfifo("b") // appears later
	w.pour("b", "from b, without a newline")
	r.until("all lines", func() bool { return len(r.lines(w.path("a"))) == 30001 && len(r.lines(w.path("b"))) == 1 })
	r.stop()
	require.Equal(t, append([]string{"first"}, list...), r.lines(w.path("a")))
	require.Zero(t, r.p.Abandoned())
	held, _, peak := r.budget.now()
	require.Zero(t, held)
	require.LessOrEqual(t, peak, w.bytes)
	require.Equal(t, map[string]string{w.path("file.log"): tail.ErrNotPipe.Error()}, r.p.Refused())
	require.Equal(t, 1, w.log.count("a named pipe is not read"))
	require.True(t, r.p.Explain(w.path("a")).Collected)
	require.Contains(t, r.p.Explain(w.path("file.log")).Why, "a task without pipe: true collects files")
	require.Equal(t, []string{w.path("a"), w.path("b")}, []string{r.p.Files()[0].Path, r.p.Files()[1].Path})
}

func TestWhatFieldsLeaveOutOfANamedPipeIsNotSentAndCounted(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a")
	env, err := envelope.New(envelope.Config{FieldFormat: envelope.Logfmt, Where: []envelope.Where{{Field: "level", NotIn: []string{"debug"}}}})
	require.NoError(t, err)
	r := w.startPipes(ackAtOnce, func(c *Config) { c.Envelope = env })
	w.pour("a", "level=debug one\nlevel=info two\nlevel=debug three\nlevel=info four\n")
	r.until("the last line", func() bool { return slices.Contains(r.lines(w.path("a")), "level=info four") })
	r.stop()
	require.Equal(t, []string{"level=info two", "level=info four"}, r.lines(w.path("a")))
	require.InDelta(t, 2, testutil.ToFloat64(r.metrics.filtered.WithLabelValues("web", envelope.LeftWhere)), 0)
}

func TestANamedPipeIsHeldToItsRateUntilItsTaskEnds(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a")
	r := w.startPipes(ackAtOnce, func(c *Config) { c.Throttle = rate.New(rate.Config{Lines: 10, Burst: time.Second}) })
	text, list := lines("a", 0, 1000)
	began := time.Now()
	w.pour("a", text)
	r.until("lines of later seconds", func() bool { return r.count() >= 25 })
	require.GreaterOrEqual(t, time.Since(began), time.Second)
	require.Less(t, r.count(), 500)
	r.stop()
	require.Equal(t, list, r.lines(w.path("a")), "what was read is handed on whatever the rate")
	require.Zero(t, r.p.Abandoned())
}

func TestASlowSinkMakesTheWriterOfAPipeWaitAndAStopDrainsWhatWasRead(t *testing.T) {
	w := newWorld(t, false)
	w.bytes = 256 << 10
	w.mkfifo("a")
	r := w.startPipes(ackNever, nil)
	f, err := os.OpenFile(w.path("a"), os.O_RDWR, 0)
	require.NoError(t, err)
	line := strings.Repeat("x", 1<<10)
	written := 0
	for { // until it would wait for seconds
		require.NoError(t, f.SetWriteDeadline(time.Now().Add(2*time.Second)))
		n, err := f.WriteString(line[:1023-10] + fmt.Sprintf("%010d\n", written))
		if err != nil {
			require.Less(t, n, 1024)
			break
		}
		written++
		require.Less(t, written, 4096, "the writer never waits")
	}
	_, _, peak := r.budget.now()
	require.LessOrEqual(t, peak, w.bytes+pipeBatchBytes+2048)
	go func() { r.release() }()
	r.stop() // what stands in the named pipe stays there
	require.NoError(t, f.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	left, _ := io.ReadAll(f)
	require.NoError(t, f.Close())
	got := strings.Join(r.lines(w.path("a")), "\n") + "\n" + string(left)
	for i := range written {
		require.Contains(t, strings.ReplaceAll(got, "\n", ""), fmt.Sprintf("%010d", i))
	}
	require.Zero(t, r.p.Abandoned())
}

func TestWhatCannotBeHandedOnInTimeIsNamedAndCounted(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a")
	r := w.startPipes(ackNever, func(c *Config) { c.Drain = time.Millisecond })
	text, _ := lines("a", 0, 100)
	w.pour("a", text)
	r.until("the lines", func() bool { return r.count() == 100 })
	r.mode = ackNever
	r.cancel()
	require.NoError(t, <-r.ended)
	r.cancel = nil
	r.p.Close()
	require.Equal(t, int64(len(text)), r.p.Abandoned())
	require.Contains(t, w.log.String(), "it is lost")
	close(r.out)
	<-r.sink.ended
}

func TestAPipeThatIsMadeAnewIsReadOn(t *testing.T) {
	w := newWorld(t, false)
	r := w.startPipes(ackAtOnce, nil)
	for i := range 5 {
		w.mkfifo("a")
		w.pour("a", fmt.Sprintf("%d\n", i))
		r.until("the line", func() bool { return r.count() == i+1 })
		w.remove("a")
	}
	r.until("the pipe is forgotten", func() bool { return len(r.p.Files()) == 0 })
}

func TestAnAbsentOrForbiddenPipeIsRefusedAndTheOthersAreRead(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a")
	w.mkfifo("b")
	r := w.startPipes(ackAtOnce, func(c *Config) {
		c.Allow = func(_, resolved string) error {
			if strings.HasSuffix(resolved, "/a") {
				return fmt.Errorf("%s is outside", resolved)
			}
			return nil
		}
	})
	w.pour("b", "fine\n")
	r.until("the line", func() bool { return r.count() == 1 })
	require.Contains(t, r.p.Refused()[w.path("a")], "not allowed")
}

func TestATaskOfFilesSaysHowANamedPipeIsRead(t *testing.T) {
	w := newWorld(t, false)
	w.mkfifo("a.log")
	a := w.start()
	a.until("the pipe is refused", func() bool { return a.c.Refused()[w.path("a.log")] != "" })
	require.Equal(t, "not a regular file but a named pipe; a task of its own with pipe: true reads it", a.c.Refused()[w.path("a.log")])
}
