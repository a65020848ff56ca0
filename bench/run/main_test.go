package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/kafkatest"
	"logferry/test/kafkatest/localkafka"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// The whole benchmark on a few lines: every contender must ship every line, and
// the tables must be filled. What the writers cost beside the tutorial shape
// is far from what a long run shows, since a start weighs much; the bounds are
// wide.
func TestAShortRunFillsTheTablesAndKeepsTheRatios(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker of its own")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := localkafka.Libs(ctx); err != nil && !localkafka.Required() {
		t.Skip(err)
	}
	t.Logf("using real Apache Kafka %s", localkafka.Version) // test/report counts these lines
	dir := t.TempDir()
	agent := filepath.Join(dir, "other.sh")
	require.NoError(t, os.WriteFile(agent, []byte("#!/bin/sh\nexec \"$LOGFERRY\" run --id other --http 127.0.0.1:0 --state-dir \"$STATE_DIR\" "+
		"--path \"$LOGDIR/*.log\" --topic \"$TOPIC\" --brokers \"$BROKERS\"\n"), 0o755))
	opt, err := parseOptions([]string{
		"-quick", "-lines", "200000", "-scale-lines", "2000", "-latency", "1s", "-section", "main,latency,codec", "-dir", dir,
		"-contenders", "tutorial,async,batch,nonsense", "-scale-contenders", "async", "-agent", agent,
	}, os.Stderr)
	require.NoError(t, err)
	var log bytes.Buffer
	b, err := newBench(ctx, opt, testLog(&log))
	require.NoError(t, err)
	t.Setenv("LOGFERRY", b.logferry)
	require.NoError(t, b.measure(ctx), "%s", &log)
	t.Log(log.String())
	require.NoError(t, b.close())
	left, err := filepath.Glob(filepath.Join(dir, "logferry-bench-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	for _, want := range []string{
		`(?m)^\| tutorial +\|.*[1-9].* 0 / 0 ✓ \|$`, `(?m)^\| async +\|.*[1-9].* 0 / 0 ✓ \|$`, `(?m)^\| other +\|.*[1-9].* 0 / 0 ✓ \|$`, `(?m)^\| floor `,
		"`nonsense` is left out: kafka.producer: \"nonsense\" is unknown",
	} {
		require.Regexp(t, want, b.report.blocks["main"])
	}
	require.Contains(t, b.report.blocks["codec"], "`other` is left out: its configuration is its script's")
	require.Regexp(t, `(?m)^\| zstd +\| async \|.* 0 / 0 ✓ \|$`, b.report.blocks["codec"])
	for writer, bound := range map[string]struct{ cpu, mallocs float64 }{"async": {0.8, 2}, "batch": {0.4, 0.2}} {
		got := b.results[writer]
		require.Less(t, got.cpuPerGB()/b.results["tutorial"].cpuPerGB(), bound.cpu, "processor time of %s beside the tutorial's", writer)
		require.Less(t, got.mallocs(), bound.mallocs, "allocations a line of %s", writer)
	}
	require.Regexp(t, `(?m)^\| other .*\| +– \| +40 \| +0 \|$`, b.report.blocks["latency"])
}
