package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent"
	"logferry/bench/gen"
)

func testLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestQuickMakesSmallWhatNoFlagSays(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-lines", "5000", "-section", "main, quiet"}, io.Discard)
	require.NoError(t, err)
	require.EqualValues(t, 5000, o.lines)
	require.Equal(t, 1, o.rounds)
	require.Equal(t, []string{"main", "quiet"}, o.sections)
	require.Equal(t, []int{1000}, o.quiet)

	o, err = parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.EqualValues(t, 3_000_000, o.lines)
	require.Equal(t, 5, o.rounds)
	require.Equal(t, sections, o.sections)
}

func TestAWrongFlagIsToldInOneLine(t *testing.T) {
	for _, args := range [][]string{
		{"-section", "mian"}, {"-lines", "0"}, {"-rounds", "0"}, {"-latency", "1ms"}, {"-window", "0"}, {"stray"}, {"-unknown"},
	} {
		var out bytes.Buffer
		_, err := parseOptions(args, &out)
		require.Error(t, err, args)
		require.NotEmpty(t, out.String(), args)
		require.Equal(t, 2, command(t.Context(), args, io.Discard, io.Discard))
	}
	_, err := parseOptions([]string{"-h"}, io.Discard)
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestAnAccessLogHoldsTheLinesThatItsSpansName(t *testing.T) {
	d, err := accessLog(t.TempDir(), 2, 3, 1000)
	require.NoError(t, err)
	require.EqualValues(t, 1000, d.total())
	require.Len(t, d.spans, 6)
	var size int64
	for i, s := range d.spans {
		paths, err := filepath.Glob(filepath.Join(d.dirs[s.dir], "*.log"))
		require.NoError(t, err)
		text, err := os.ReadFile(paths[i%3])
		require.NoError(t, err)
		size += int64(len(text))
		lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		require.Len(t, lines, int(s.n))
		for seq, line := range lines {
			id, err := gen.Parse(line)
			require.NoError(t, err)
			require.Equal(t, gen.ID{Stream: s.stream, Seq: uint64(seq)}, id)
		}
	}
	require.Equal(t, size, d.bytes)
	require.NoError(t, d.warm())
	require.NoError(t, d.remove())
	require.NoDirExists(t, d.dirs[0])

	d, err = accessLog(t.TempDir(), 1, 50, 10)
	require.NoError(t, err)
	require.EqualValues(t, 50, d.total(), "no file is empty")
}

func TestSizedLinesAreAllOfTheirLength(t *testing.T) {
	for _, size := range []int{64, 200, 20_000} {
		d, err := sizedLog(t.TempDir(), size, 1_000_000)
		require.NoError(t, err)
		text, err := os.ReadFile(filepath.Join(d.dirs[0], "sized.log"))
		require.NoError(t, err)
		require.EqualValues(t, len(text), d.bytes)
		require.InDelta(t, 1_000_000, len(text), float64(size))
		lines := bytes.SplitAfter(text, []byte("\n"))
		require.EqualValues(t, len(lines)-1, d.total())
		for _, l := range lines[:len(lines)-1] {
			require.Len(t, l, size)
		}
	}
}

func TestAStampTellsWhenAndWhich(t *testing.T) {
	now := time.Unix(1_760_000_000, 123_456_789)
	at, n, ok := parseStamp([]byte(stamp(now, 42, "some text")))
	require.True(t, ok)
	require.True(t, now.Equal(at))
	require.Equal(t, 42, n)
	for _, other := range []string{"", "at=1", "at=x n=1", "at=1 n=x", "at=1 m=1 text", string(gen.New(1, 1).Append(nil, 1))} {
		_, _, ok := parseStamp([]byte(other))
		require.False(t, ok, other)
	}
}

func TestArrivalsCountOnce(t *testing.T) {
	a := &arrivals{took: map[int]time.Duration{}, more: make(chan struct{})}
	sent := time.Unix(100, 0)
	a.note([]byte("no stamp"), sent)
	require.False(t, a.await(0, 1, 0))
	for i, after := range []time.Duration{3 * time.Millisecond, time.Millisecond} {
		a.note([]byte(stamp(sent, i, "x")), sent.Add(after))
		a.note([]byte(stamp(sent, i, "x")), sent.Add(time.Hour))
	}
	require.True(t, a.await(0, 2, 0))
	took, newest := a.milliseconds(0, 3)
	require.ElementsMatch(t, []float64{3, 1}, took)
	require.True(t, sent.Add(time.Millisecond).Equal(newest))
}

func TestTheConfigurationOfEachWriterIsOneThatTheAgentReads(t *testing.T) {
	j := job{
		inputs: []input{{dir: "/logs/a", topic: "a"}, {dir: "/logs/b", topic: "b"}}, brokers: []string{"127.0.0.1:9092"}, state: t.TempDir(),
		kafka: map[string]any{"compression": "zstd"}, task: map[string]any{"partitioner": "file"},
	}
	cmd, err := ferry{binary: "logferry", writer: "async"}.Command(j)
	require.NoError(t, err)
	require.Equal(t, []string{"logferry", "run", "--config", filepath.Join(j.state, "agent.yaml")}, cmd.Args)
	cfg, err := agent.LoadConfig(cmd.Args[3], nil)
	require.NoError(t, err)
	cfg.SetDefaults()
	require.NoError(t, cfg.Validate())
	require.Equal(t, "async", cfg.Kafka.Producer)
	require.Equal(t, "zstd", cfg.Kafka.Compression)
	tasks, err := filepath.Glob(filepath.Join(j.state, "tasks", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, tasks, 2)
}

func TestAScriptGetsItsFourVariables(t *testing.T) {
	s := script{"/agents/other.agent.sh"}
	require.Equal(t, "other.agent", s.Name())
	cmd, err := s.Command(job{inputs: []input{{dir: "/logs", topic: "web"}}, brokers: []string{"a:1", "b:2"}, state: "/state"})
	require.NoError(t, err)
	require.Equal(t, []string{"LOGDIR=/logs", "TOPIC=web", "BROKERS=a:1,b:2", "STATE_DIR=/state"}, cmd.Env)

	var why leftOut
	_, err = s.Command(job{inputs: make([]input, 2)})
	require.ErrorAs(t, err, &why)
	_, err = s.Command(job{inputs: make([]input, 1), kafka: map[string]any{"acks": "1"}})
	require.ErrorAs(t, err, &why)
}

func TestTheReasonIsTheLineThatNamesTheKey(t *testing.T) {
	require.Equal(t, `kafka.producer: "x" is unknown`, reason("checking\nlogferry: /tmp/b-1/agent.yaml:7: kafka.producer: \"x\" is unknown\n"))
	require.Equal(t, "last", reason("first\nlast\n"))
}

func TestASummaryShowsMediansAndTheWorstMemory(t *testing.T) {
	s := summary{runs: []result{
		{wall: time.Second, cpu: 3 * time.Second, lines: 1000, bytes: 1e9, peak: 10 << 20, mallocs: 0.5},
		{wall: 2 * time.Second, cpu: time.Second, lines: 1000, bytes: 1e9, peak: 40 << 20, mallocs: 0.1, doubled: 1500},
		{wall: 4 * time.Second, cpu: 2 * time.Second, lines: 1000, bytes: 1e9, peak: 20 << 20, mallocs: 0.2, lost: 2, checked: true},
	}}
	require.Equal(t, 500.0, s.linesPerSecond())
	require.Equal(t, 500.0, s.megabytesPerSecond())
	require.Equal(t, 2.0, s.cpuPerGB())
	require.Equal(t, "40.0", mebibytes(s.peak()))
	require.Equal(t, 0.2, s.mallocs())
	require.Equal(t, "250–1,000", s.spread())
	require.Equal(t, "2 / 1,500 ✓", s.losses())
	require.True(t, math.IsNaN(summary{runs: []result{{mallocs: -1, lines: 1}}}.mallocs()))

	base := summary{runs: []result{{wall: 10 * time.Second, cpu: 16 * time.Second, lines: 1000, bytes: 1e9}}}
	require.Equal(t, "`batch`: 5.00 × the tutorial's lines/s, at 1/8.00 of its CPU.", compare("batch", s, base))
}

func TestDelaysShowMediansAndTheLongest(t *testing.T) {
	s := delays{
		{p50: 1, p99: 9, max: 10, cpu: 0.01, lines: 40},
		{p50: 3, p99: 4, max: 50, cpu: 0.02, lines: 40, lost: 1},
		{p50: 2, p99: 5, max: 20, cpu: 0.04, lines: 40},
	}
	require.Equal(t, []float64{2, 5, 0.02}, []float64{s.median(delay.median), s.median(delay.tail), s.median(delay.share)})
	require.Equal(t, delay{max: 50, lines: 120, lost: 1}, s.sum())
	require.Equal(t, "1.00–4.00", s.spread())
	require.Equal(t, "–", s[:1].spread())
}

func TestOnlyWhatWasMeasuredIsReplacedInADocument(t *testing.T) {
	var r report
	r.set("main", "\nnew table\n\n")
	got, err := r.replace("a\n<!-- bench:main -->\nold\n<!-- /bench:main -->\nb\n<!-- bench:quiet -->\nkept\n<!-- /bench:quiet -->\n")
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- bench:main -->\nnew table\n<!-- /bench:main -->\nb\n<!-- bench:quiet -->\nkept\n<!-- /bench:quiet -->\n", got)
	_, err = r.replace("no marks")
	require.ErrorContains(t, err, "no place for main")

	path := filepath.Join(t.TempDir(), "doc.md")
	require.Error(t, r.update(path))
	require.NoError(t, os.WriteFile(path, []byte("<!-- bench:main -->\n<!-- /bench:main -->\n"), 0o600))
	require.NoError(t, r.update(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "<!-- bench:main -->\nnew table\n<!-- /bench:main -->\n", string(b))
}

func TestTheDocumentHasAPlaceForEverySection(t *testing.T) {
	var r report
	for _, s := range sections {
		r.set(s, "x")
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "benchmarks.md"))
	require.NoError(t, err)
	_, err = r.replace(string(b))
	require.NoError(t, err)
}

func TestTheMachineIsDescribed(t *testing.T) {
	require.Equal(t, "Some CPU 3000", cpuModel("processor\t: 0\nmodel name\t: Some  CPU 3000\n"))
	require.NotEmpty(t, cpuModel(""))
	require.Regexp(t, `^.+ · \d+ cores? · Linux .+ · go1\..+ · Apache Kafka .+ · 2026-01-02$`, machine(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, pause(ctx, time.Hour), context.Canceled)
	require.NoError(t, pause(t.Context(), 0))
}

func TestRowsAreChosenByAPieceOfTheirLabels(t *testing.T) {
	opt, err := parseOptions([]string{"-rows", "value: json, cri"}, io.Discard)
	require.NoError(t, err)
	require.True(t, opt.wantsRow("`value: json`"))
	require.True(t, opt.wantsRow("`format: cri`, every second line in two parts"))
	require.False(t, opt.wantsRow("`format: docker`"))
	opt, err = parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.True(t, opt.wantsRow("anything"))
}
