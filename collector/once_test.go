package collector

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/frame"
	"logferry/collector/tail"
	"logferry/internal/record"
)

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstded(t *testing.T, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll([]byte(text), nil)
}

// onceRun is one run of a task that reads once.
type onceRun struct {
	*sink
	w      *world
	o      *Once
	store  *checkpoint.Store
	budget *budget
	cancel context.CancelFunc
	ended  chan error
	out    chan *record.Batch
}

func (w *world) startOnce(mode ackMode, change func(*Config)) *onceRun {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	reg := prometheus.NewRegistry()
	store, err := checkpoint.Open(w.state, time.Hour, checkpoint.NewMetrics(reg), log)
	require.NoError(w.t, err)
	r := &onceRun{w: w, sink: newSink(mode), store: store, budget: newBudget(w.bytes), ended: make(chan error, 1), out: make(chan *record.Batch, 4)}
	cfg := w.cfg
	cfg.Paths = []string{filepath.Join(w.dir, "*")}
	if change != nil {
		change(&cfg)
	}
	r.o = NewOnce(cfg, Deps{Store: store, Pool: tail.NewPool(), Budget: r.budget, Metrics: NewMetrics(reg), Log: log, FS: w.fs})
	r.o.retry = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- r.o.Run(ctx, r.out) }()
	if mode == ackShuffled { // in heaps of those that came meanwhile
		r.mode = ackNever
		tick := time.NewTicker(time.Millisecond)
		go func() {
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-r.sink.ended:
					return
				}
				r.mu.Lock()
				r.resolveHeldLocked()
				r.mu.Unlock()
			}
		}()
	}
	go r.run(r.out, nil)
	return r
}

// stop ends a run in the way of a pipeline.
func (r *onceRun) stop() {
	r.w.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		require.NoError(r.w.t, err)
	}
	close(r.out)
	<-r.sink.ended
	r.o.Close()
	require.NoError(r.w.t, r.store.Close())
	require.Empty(r.w.t, r.bad)
}

// kill ends a run of which the next one finds only what is on the disk now.
func (r *onceRun) kill() {
	r.w.t.Helper()
	db, err := os.ReadFile(filepath.Join(r.w.state, checkpoint.FileName))
	require.NoError(r.w.t, err)
	r.stop()
	r.w.state = r.w.t.TempDir()
	require.NoError(r.w.t, os.WriteFile(filepath.Join(r.w.state, checkpoint.FileName), db, 0o600))
}

// finish waits for the end.
func (r *onceRun) finish() OnceReport {
	r.w.t.Helper()
	select {
	case err := <-r.ended:
		require.NoError(r.w.t, err)
		r.ended <- nil
	case <-time.After(patience):
		require.FailNow(r.w.t, "it does not finish", "%+v\n%s", r.o.Files(), r.w.log.String())
	}
	rep := r.o.Report()
	require.NotZero(r.w.t, rep.Finished)
	require.Eventually(r.w.t, func() bool { // the last record is counted before its block is given back
		held, _, _ := r.budget.now()
		return held == 0
	}, patience, time.Millisecond)
	r.stop()
	return rep
}

func (w *world) put(name string, data []byte) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path(name), data, 0o600))
}

func TestFilesAreReadOnceToTheirEndsPlainAndCompressed(t *testing.T) {
	w := newWorld(t, false)
	plain, a := lines("plain", 0, 20000)
	zipped, b := lines("zipped", 0, 20000)
	std, c := lines("std", 0, 20000)
	w.put("a.log", []byte(plain+"no newline"))
	w.put("b.log.1.gz", gzipped(t, zipped))
	w.put("c.log.zst", zstded(t, std))
	w.put("empty", nil)
	require.NoError(t, os.Mkdir(w.path("dir"), 0o700))
	require.NoError(t, unix.Mkfifo(w.path("pipe"), 0o600))
	require.NoError(t, os.Link(w.path("a.log"), w.path("z-link")))

	r := w.startOnce(ackShuffled, nil)
	rep := r.finish()
	require.Equal(t, append(a, "no newline"), r.lines(w.path("a.log")))
	require.Equal(t, b, r.lines(w.path("b.log.1.gz")))
	require.Equal(t, c, r.lines(w.path("c.log.zst")))
	require.Equal(t, OnceReport{Files: 4, Ended: 4, Records: 60001, Bytes: int64(len(plain) + len(zipped) + len(std) + 10), Finished: rep.Finished}, rep)
	require.Equal(t, map[string]string{w.path("pipe"): tail.ErrPipe.Error()}, r.o.Refused())
	require.Equal(t, 4, r.o.Totals().Files[FileEnded])
	require.Zero(t, r.o.Totals().LagBytes)
	require.True(t, r.o.Explain(w.path("a.log")).Collected)

	w.write("a.log", "appended later\n")
	w.put("d.log", []byte("appears later\n"))
	again := w.startOnce(ackAtOnce, nil)
	require.Equal(t, rep, again.finish())
	require.Zero(t, again.count())
	require.Contains(t, again.o.Explain(w.path("d.log")).Why, "not there when the task began")
}

func TestWhatIsReadOnceIsReadInTheOrderOfItsLastChanges(t *testing.T) {
	w := newWorld(t, false)
	for i, name := range []string{"app.log.3.gz", "app.log.2.gz", "app.log.1"} {
		text := []byte(name + "\n")
		if strings.HasSuffix(name, ".gz") {
			text = gzipped(t, string(text))
		}
		w.put(name, text)
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		require.NoError(t, os.Chtimes(w.path(name), at, at))
	}
	r := w.startOnce(ackAtOnce, nil)
	r.finish()
	require.Equal(t, []string{"app.log.3.gz", "app.log.2.gz", "app.log.1"}, r.all)
}

func TestAFileThatGrowsIsReadToTheSizeThatItHadInWholeLines(t *testing.T) {
	w := newWorld(t, false)
	text, list := lines("first", 0, 50000)
	w.put("a.log", []byte(text+"half a li"))
	r := w.startOnce(ackNever, func(c *Config) { c.Paths = []string{w.path("*.log")} })
	require.Eventually(t, func() bool { return r.count() > 0 }, patience, time.Millisecond)
	w.write("a.log", "ne\n")
	rest := w.keepWriting("a.log")
	r.release()
	rep := r.finish()
	rest()
	got := r.lines(w.path("a.log"))
	require.Equal(t, append(list, "half a line"), got[:len(list)+1])
	require.Equal(t, int64(len(got)), rep.Records)
	require.Less(t, rep.Bytes, int64(len(text)+2*tail.BlockBytes))
}

func TestATruncatedArchiveIsReportedAndTheOthersGoOn(t *testing.T) {
	w := newWorld(t, false)
	var b strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&b, "%d %x\n", i, rand.Uint64())
	}
	whole := gzipped(t, b.String())
	w.put("a.gz", whole[:len(whole)/2])
	w.put("b.log", []byte("fine\n"))
	w.put("c.xz", []byte("\xfd7zXZ\x00 and so on"))
	w.put("d.gz", []byte("\x1f\x8b\x08")) // not even a header
	r := w.startOnce(ackShuffled, nil)
	rep := r.finish()
	require.Equal(t, []string{"fine"}, r.lines(w.path("b.log")))
	require.Equal(t, []int{4, 1, 3}, []int{rep.Files, rep.Ended, rep.Failed})
	require.Contains(t, rep.Error, "3 of 4 files could not be read to their ends, the first is ")
	before := r.lines(w.path("a.gz"))
	require.Greater(t, len(before), 1000)
	require.Equal(t, 3, w.log.count("a file cannot be read to its end"))

	w.put("new", whole) // restored as another file
	require.NoError(t, os.Rename(w.path("new"), w.path("a.gz")))
	again := w.startOnce(ackShuffled, nil)
	rep = again.finish()
	require.Equal(t, 2, rep.Failed)
	got := append(before, again.lines(w.path("a.gz"))...)
	require.Equal(t, b.String(), strings.Join(got, "\n")+"\n")
	require.Zero(t, len(again.lines(w.path("b.log"))))
}

func TestAGzipBombIsReadWithinTheBounds(t *testing.T) {
	w := newWorld(t, false)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 192 {
		_, err := z.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.Less(t, b.Len(), 1<<20)
	w.put("bomb.gz", b.Bytes())
	before := liveHeap()
	r := w.startOnce(ackAtOnce, nil)
	rep := r.finish()
	require.Equal(t, int64(1), rep.Records)
	require.Len(t, r.lines(w.path("bomb.gz"))[0], 1<<20)
	_, _, peak := r.budget.now()
	require.LessOrEqual(t, peak, w.bytes)
	require.Less(t, liveHeap(), before+16<<20)
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAKillAnywhereLosesNothingOfWhatIsReadOnce(t *testing.T) {
	for round := range 8 {
		w := newWorld(t, false)
		want := map[string][]string{}
		for _, name := range []string{"a.log", "b.gz", "c.zst", "d.log"} {
			text, list := lines(name, 0, 5000+rand.IntN(30000))
			data := []byte(text)
			switch filepath.Ext(name) {
			case ".gz":
				data = gzipped(t, text)
			case ".zst":
				data = zstded(t, text)
			}
			w.put(name, data)
			want[w.path(name)] = list
		}
		got := map[string]map[string]bool{}
		seen := func(r *onceRun) {
			for path := range want {
				if got[path] == nil {
					got[path] = map[string]bool{}
				}
				for _, line := range r.lines(path) {
					got[path][line] = true
				}
			}
		}
		total := 0
		for _, list := range want {
			total += len(list)
		}
		for range 3 {
			r := w.startOnce(ackShuffled, nil)
			stop := rand.IntN(total)
			require.Eventually(t, func() bool {
				select {
				case err := <-r.ended:
					r.ended <- err
					return true
				default:
				}
				return r.count() >= stop
			}, patience, time.Millisecond)
			if rand.IntN(2) == 0 {
				require.NoError(t, r.store.Sync())
			}
			r.kill()
			seen(r)
		}
		r := w.startOnce(ackShuffled, nil)
		r.finish()
		seen(r)
		for path, list := range want {
			require.Len(t, got[path], len(list), "round %d", round)
		}
	}
}

func TestWhatIsReadOnceIsFoundUnderTheNameThatRotationGaveIt(t *testing.T) {
	w := newWorld(t, false)
	text, list := lines("x", 0, 1000)
	w.put("a.log", []byte(text))
	w.put("b.log", []byte("gone\n"))
	w.bytes = 1
	first := w.startOnce(ackNever, func(c *Config) { c.Paths = []string{w.path("*.log")} })
	require.Eventually(t, func() bool { return first.count() > 0 }, patience, time.Millisecond)
	require.NoError(t, first.store.Sync())
	first.kill()
	w.rename("a.log", "a.log.1")
	w.put("a.log", []byte("another\n"))
	w.remove("b.log")
	r := w.startOnce(ackAtOnce, func(c *Config) { c.Paths = []string{w.path("*.log")} })
	rep := r.finish()
	require.Subset(t, append(first.lines(w.path("a.log")), r.lines(w.path("a.log"))...), list)
	require.NotContains(t, r.all, "another")
	require.LessOrEqual(t, rep.Failed, 1)
}

func TestAFileWithTheInodeOfOneThatWasReadAndRemovedIsRead(t *testing.T) {
	w := newWorld(t, false)
	w.put("new.log", []byte("new\n"))
	info, err := tail.Look(w.path("new.log"))
	require.NoError(t, err)
	if info.Birth == 0 {
		t.Skip("this file system does not tell when a file was made")
	}
	store, err := checkpoint.Open(w.state, time.Hour, checkpoint.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(&w.log, nil)))
	require.NoError(t, err)
	require.NoError(t, store.MarkSeen(w.cfg.Task, []string{onceGlob + w.path("old*")}))
	store.Put(w.cfg.Task, info.ID, checkpoint.State{Path: w.path("old.log"), Birth: info.Birth - 1, Offset: 4, Until: 4, Once: checkpoint.OnceEnded})
	require.NoError(t, store.Close())

	both := func(c *Config) { c.Paths = []string{w.path("old*"), w.path("new*")} } // the second is looked at for the first time
	r := w.startOnce(ackAtOnce, both)
	r.finish()
	require.Equal(t, []string{"new"}, r.lines(w.path("new.log")))
	again := w.startOnce(ackAtOnce, both)
	again.finish()
	require.Zero(t, again.count())
}

func TestAFileThatIsNotAllowedIsReportedAndTheOthersAreRead(t *testing.T) {
	w := newWorld(t, false)
	w.put("a.log", []byte("secret\n"))
	w.put("b.log", []byte("fine\n"))
	w.cfg.Allow = func(_, resolved string) error {
		if strings.HasSuffix(resolved, "a.log") {
			return unix.EACCES
		}
		return nil
	}
	r := w.startOnce(ackAtOnce, nil)
	rep := r.finish()
	require.Equal(t, []string{"fine"}, r.all)
	require.Equal(t, 1, rep.Failed)
	require.Contains(t, rep.Error, "not allowed")
}

func TestTheLastGroupOfAFileThatIsReadOnceIsComplete(t *testing.T) {
	w := newWorld(t, false)
	start, err := frame.Compile(`^\d`)
	require.NoError(t, err)
	w.put("a.log", []byte("1 one\n more\n2 two\n more\n even more"))
	r := w.startOnce(ackAtOnce, func(c *Config) {
		c.Groups, c.GroupQuiet = &frame.Groups{Start: start, MaxLines: 100, MaxBytes: 1 << 20}, time.Hour
	})
	r.finish()
	require.Equal(t, []string{"1 one\n more", "2 two\n more", " even more"}, r.all)
}
