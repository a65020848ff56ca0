// Package guard keeps the plain path cheap: it fails when a line costs an
// allocation, or when reading a file costs no longer a small part of what it
// costs with nxadm/tail, in one run and on the same file. It knows no absolute
// times, so that it says the same on every machine and under every load.
package guard

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/nxadm/tail"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/agent"
	"logferry/bench/gen"
	"logferry/collector"
	"logferry/collector/checkpoint"
	collectortail "logferry/collector/tail"
	"logferry/collector/watch"
	"logferry/internal/record"
)

const lines = 100_000

// cost is what something took, in this whole process.
type cost struct {
	cpu     time.Duration
	mallocs uint64
}

func measure(t *testing.T, do func()) cost {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu := spent(t)
	do()
	cpu = spent(t) - cpu
	runtime.ReadMemStats(&after)
	return cost{cpu: cpu, mallocs: after.Mallocs - before.Mallocs}
}

func spent(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// logFile writes the benchmark's lines.
func logFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.log")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = gen.New(1, 1).Write(f, 0, lines)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// collect reads a file as the agent does, with checkpoints and all, into a
// sink that acknowledges at once.
func collect(t *testing.T, path string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := checkpoint.Open(t.TempDir(), time.Second, checkpoint.NewMetrics(prometheus.NewRegistry()), log)
	require.NoError(t, err)
	watcher, err := watch.New(log)
	require.NoError(t, err)
	account := agent.NewBudget(16 << 20).Open()
	c := collector.New(collector.Config{
		Task: "guard", Host: "host", Paths: []string{path}, CloseInactive: time.Hour, RotateWait: time.Second,
		PollInterval: time.Second, Reconcile: time.Hour, MaxLineBytes: 1 << 20, RecordOverhead: 64,
	}, collector.Deps{
		Store: store, Watcher: watcher, Pool: collectortail.NewPool(), Budget: account,
		Metrics: collector.NewMetrics(prometheus.NewRegistry()), Log: log,
	})
	ctx, stop := context.WithCancel(t.Context())
	queue, ended := make(chan *record.Batch, 64), make(chan error, 3)
	go func() { ended <- watcher.Run(ctx) }()
	go func() { ended <- store.Run(ctx) }()
	go func() { ended <- c.Run(ctx, queue) }()
	for n := 0; n < lines; {
		b := <-queue
		n += len(b.Records)
		b.Done()
	}
	stop()
	for range cap(ended) {
		if err := <-ended; err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	c.Close()
	account.Close()
	require.NoError(t, store.Close())
}

// tailLines reads a file as the tutorial does.
func tailLines(t *testing.T, path string) {
	t.Helper()
	f, err := tail.TailFile(path, tail.Config{Follow: true, ReOpen: true, MustExist: true, Logger: tail.DiscardingLogger})
	require.NoError(t, err)
	for range lines {
		<-f.Lines
	}
	require.NoError(t, f.Stop())
}

func TestGuardALineCostsNoAllocation(t *testing.T) {
	path := logFile(t)
	got := measure(t, func() { collect(t, path) })
	// All that is allocated belongs to the start and to batches.
	require.Less(t, float64(got.mallocs)/lines, 0.05, "allocations a line, from the file to the sink")
}

func TestGuardReadingCostsAFractionOfTheTailLibrary(t *testing.T) {
	path := logFile(t)
	ours, theirs := cost{cpu: time.Hour}, cost{cpu: time.Hour}
	for range 3 { // the best of three: a collection of garbage or a page fault more is no regression
		ours.cpu = min(ours.cpu, measure(t, func() { collect(t, path) }).cpu)
		theirs.cpu = min(theirs.cpu, measure(t, func() { tailLines(t, path) }).cpu)
	}
	t.Logf("%d lines: %s by blocks, %s by nxadm/tail", lines, ours.cpu, theirs.cpu)
	require.Less(t, float64(ours.cpu), float64(theirs.cpu)/4, "processor time of reading and cutting")
}
