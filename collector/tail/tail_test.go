package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	nxtail "github.com/nxadm/tail"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// counting is a budget without a bound that knows what is held.
type counting struct {
	mu   sync.Mutex
	held int
	peak int
}

func (c *counting) Acquire(ctx context.Context, n int) error { c.Charge(n); return ctx.Err() }
func (c *counting) TryAcquire(n int) bool                    { c.Charge(n); return true }
func (c *counting) Release(n int)                            { c.Charge(-n) }
func (c *counting) Charge(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += n
	c.peak = max(c.peak, c.held)
}

type desk struct {
	*Deps
	budget       *counting
	store        *checkpoint.Store
	cut, dropped int
	shaped       []shape.Counts
	unwrapped    frame.Counts
}

// undecodable lists how many records could not be decoded, by batch that had any.
func (d *desk) undecodable() (list []int) {
	for _, c := range d.shaped {
		if c.Undecodable > 0 {
			list = append(list, c.Undecodable)
		}
	}
	return list
}

func newDesk(t testing.TB, lines frame.Lines) *desk {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := checkpoint.Open(t.TempDir(), time.Hour, checkpoint.NewMetrics(prometheus.NewRegistry()), log)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	d := &desk{budget: &counting{}, store: store}
	d.Deps = &Deps{
		Frame: lines, Pool: NewPool(), Budget: d.budget, Store: store, Log: log, RecordOverhead: 10,
		Read: func(*record.Batch, int) {}, Acked: func(*record.Batch) {},
		Long: func(c, dr int) { d.cut += c; d.dropped += dr },
	}
	return d
}

func (d *desk) open(t testing.TB, path string) *File {
	t.Helper()
	f := d.openOnce(t, path)
	t.Cleanup(f.Close)
	return f
}

// openOnce is open for the thousandth time: who calls it closes the file.
func (d *desk) openOnce(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path, d.Deps)
	require.NoError(t, err)
	f.SetSource(&record.Source{Task: "web", Path: path, File: f.ID().String()})
	return f
}

// readAll reads to the end, resolves every batch, and returns the lines.
func readAll(t testing.TB, f *File) (out []string) {
	t.Helper()
	for {
		b, err := f.Read(context.Background())
		require.NoError(t, err)
		if b == nil {
			if f.Full() {
				continue
			}
			return out
		}
		out = append(out, take(b)...)
	}
}

func take(b *record.Batch) (out []string) {
	for _, r := range b.Records {
		out = append(out, string(r.Value))
	}
	b.Done()
	return out
}

func write(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	_, err = f.WriteString(text)
	require.NoError(t, err)
}

var plain = frame.Lines{MaxBytes: 1 << 20}

func TestReadYieldsWholeLinesAndWaitsForTheRest(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\ntwo\npar")
	f := d.open(t, p)
	b, err := f.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(0), b.Start)
	require.Equal(t, int64(8), b.End)
	require.Equal(t, []int64{0, 4}, []int64{b.Records[0].Offset, b.Records[1].Offset})
	require.Zero(t, f.Status().Committed)
	require.Equal(t, []string{"one", "two"}, take(b))
	require.Equal(t, int64(8), f.Status().Committed)
	require.Empty(t, readAll(t, f))
	write(t, p, "tial")
	require.Empty(t, readAll(t, f))
	write(t, p, "\n")
	require.Equal(t, []string{"partial"}, readAll(t, f))
	require.True(t, f.Idle())
	require.Zero(t, d.budget.held, "every byte of the budget is given back")
}

func TestAPartialLineIsFoundWholeAfterARestart(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\npar")
	f := d.open(t, p)
	require.Equal(t, []string{"one"}, readAll(t, f))
	st := f.Checkpoint()
	f.Close()
	write(t, p, "tial\n")
	f = d.open(t, p)
	require.True(t, f.Resume(st))
	require.Equal(t, []string{"partial"}, readAll(t, f))
}

func TestLinesOfEveryLengthPassWhole(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	var want []string
	for _, n := range []int{0, 1, 4095, 4096, 4097, BlockBytes - 1, BlockBytes, BlockBytes + 1, 3 * BlockBytes, 1<<20 - 1, 1 << 20, 7} {
		want = append(want, strings.Repeat(string(rune('a'+n%26)), n))
	}
	write(t, p, strings.Join(want, "\n")+"\n")
	require.Equal(t, want, readAll(t, d.open(t, p)))
	require.Zero(t, d.cut)
}

func TestLinesLongerThanTheBoundAreCutOrDroppedAndTheRestIsIntact(t *testing.T) {
	for _, bound := range []int{1 << 10, 5000, BlockBytes, 1 << 20} {
		for _, length := range []int{bound, bound + 1, bound + 2, 2*bound + 3, BlockBytes + bound, 5 << 20} {
			for _, drop := range []bool{false, true} {
				t.Run(fmt.Sprintf("bound %d length %d drop %v", bound, length, drop), func(t *testing.T) {
					d := newDesk(t, frame.Lines{MaxBytes: bound, DropLong: drop})
					p := filepath.Join(t.TempDir(), "a")
					long := strings.Repeat("x", length)
					write(t, p, "before\r\n"+long+"\nafter\n"+long+"\r\n")
					write(t, p, "end\n")
					f := d.open(t, p)
					got := readAll(t, f)
					switch {
					case length <= bound:
						require.Equal(t, []string{"before", long, "after", long, "end"}, got)
					case drop:
						require.Equal(t, []string{"before", "after", "end"}, got)
						require.Equal(t, 2, d.dropped)
					default:
						require.Equal(t, []string{"before", long[:bound], "after", long[:bound], "end"}, got)
						require.Equal(t, 2, d.cut)
					}
					require.Equal(t, f.Status().Size, f.Status().Committed)
					require.Zero(t, d.budget.held)
					require.Less(t, d.budget.peak, 4<<20, "a long line is not held")
				})
			}
		}
	}
}

func TestACutLineCarriesItsFullLengthInAHeader(t *testing.T) {
	d := newDesk(t, frame.Lines{MaxBytes: 1 << 10})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, strings.Repeat("x", 5<<20)) // seen without its newline first
	f := d.open(t, p)
	require.Empty(t, readAll(t, f))
	write(t, p, "\nnext\n")
	b, err := f.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, []record.Header{{Key: record.HeaderTruncated, Value: []byte("5242880")}}, b.Records[0].Extra.Headers)
	b.Done()
	require.Equal(t, []string{"next"}, readAll(t, f))
}

func TestOddBytesPassUnchanged(t *testing.T) {
	for name, text := range map[string]string{
		"only newlines": strings.Repeat("\n", 3*maxRecords+5),
		"NUL":           "a\x00b\n\x00\x00\n",
		"invalid UTF-8": "\xff\xfe\xc3\n\x80\n",
		"blanks":        " \t\n\v\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, plain)
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, text)
			require.Equal(t, strings.Split(strings.TrimSuffix(text, "\n"), "\n"), readAll(t, d.open(t, p)))
		})
	}
}

func TestTruncationIsToldAndResetStartsAgain(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\ntwo\n")
	f := d.open(t, p)
	old, err := f.Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Truncate(p, 0))
	_, err = f.Read(t.Context())
	require.ErrorIs(t, err, ErrTruncated)
	f.Reset()
	require.Empty(t, readAll(t, f))
	write(t, p, "new\n")
	require.Equal(t, []string{"new"}, readAll(t, f))
	require.Equal(t, int64(4), f.Status().Committed)
	old.Done()
	require.Equal(t, int64(4), f.Status().Committed, "a late acknowledgement of the old content moves nothing")
}

func TestResumeRefusesAFileThatIsNotTheOneThatWasStored(t *testing.T) {
	const text = "the first line of the file\nand a second one\nand a third\n"
	for name, c := range map[string]struct {
		change func(t *testing.T, p string, st *checkpoint.State)
		want   bool
	}{
		"the same":        {func(*testing.T, string, *checkpoint.State) {}, true},
		"longer":          {func(t *testing.T, p string, _ *checkpoint.State) { write(t, p, "more\n") }, true},
		"no birth stored": {func(_ *testing.T, _ string, st *checkpoint.State) { st.Birth = 0 }, true},
		"nothing stored but the offset": {func(_ *testing.T, _ string, st *checkpoint.State) {
			*st = checkpoint.State{Offset: st.Offset}
		}, true},
		"another birth": {func(_ *testing.T, _ string, st *checkpoint.State) { st.Birth++ }, false},
		"shorter":       {func(t *testing.T, p string, _ *checkpoint.State) { require.NoError(t, os.Truncate(p, 10)) }, false},
		"another head": {func(t *testing.T, p string, _ *checkpoint.State) {
			require.NoError(t, os.WriteFile(p, []byte("THE"+text[3:]), 0o600))
		}, false},
		"a changed byte before the offset": {func(t *testing.T, p string, st *checkpoint.State) {
			st.Head = checkpoint.Sum{}
			require.NoError(t, os.WriteFile(p, []byte(text[:len(text)-3]+"?"+text[len(text)-2:]), 0o600))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, plain)
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, text)
			f := d.open(t, p)
			require.Len(t, readAll(t, f), 3)
			st := f.Checkpoint()
			require.Equal(t, int64(len(text)), st.Offset)
			require.Equal(t, len(text), st.Head.Len)
			f.Close()
			c.change(t, p, &st)
			f = d.open(t, p)
			require.Equal(t, c.want, f.Resume(st))
			if c.want {
				require.Equal(t, st.Offset, f.Status().Committed)
			} else {
				require.Zero(t, f.Status().Committed)
			}
		})
	}
}

func TestReopenNoticesWhatHappenedToAClosedFile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, p string)
		want   error
	}{
		"nothing":  {func(*testing.T, string) {}, nil},
		"appended": {func(t *testing.T, p string) { write(t, p, "more\n") }, nil},
		"removed":  {func(t *testing.T, p string) { require.NoError(t, os.Remove(p)) }, os.ErrNotExist},
		"rewritten": {func(t *testing.T, p string) {
			require.NoError(t, os.WriteFile(p, []byte("another and longer\n"), 0o600))
		}, ErrTruncated},
		"replaced": {func(t *testing.T, p string) {
			write(t, p+".new", "one\ntwo\nthree\n")
			require.NoError(t, os.Rename(p+".new", p))
		}, ErrOther},
		"deleted and made anew, perhaps with its inode": {func(t *testing.T, p string) {
			first, err := Look(p)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				require.NoError(t, os.Remove(p))
				write(t, p, "one\ntwo\nthree\n")
				again, err := Look(p)
				require.NoError(t, err)
				return again.Birth != first.Birth
			}, time.Minute, time.Millisecond)
		}, ErrOther},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, plain)
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, "one\ntwo\n")
			f := d.open(t, p)
			require.Len(t, readAll(t, f), 2)
			f.Close()
			require.False(t, f.IsOpen())
			c.change(t, p)
			err := f.Reopen()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestFinalSendsWhatStandsBehindTheLastNewline(t *testing.T) {
	d := newDesk(t, frame.Lines{MaxBytes: 10})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\nrest")
	f := d.open(t, p)
	require.Equal(t, []string{"one"}, readAll(t, f))
	b, err := f.Final(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"rest"}, take(b))
	b, err = f.Final(t.Context())
	require.NoError(t, err)
	require.Nil(t, b)
	write(t, p, strings.Repeat("z", 4000))
	require.Empty(t, readAll(t, f))
	b, err = f.Final(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"zzzzzzzzzz"}, take(b))
	require.Equal(t, f.Status().Size, f.Status().Committed)
	require.Zero(t, d.budget.held)
}

func TestOnlyRegularFilesWithinTheAllowedPathsAreOpened(t *testing.T) {
	d := newDesk(t, plain)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(in("allowed"), 0o700))
	require.NoError(t, unix.Mkfifo(in("allowed/fifo"), 0o600))
	require.NoError(t, os.Symlink("/dev/null", in("allowed/null")))
	write(t, in("secret"), "secret\n")
	write(t, in("allowed/fine"), "fine\n")
	require.NoError(t, os.Symlink("../secret", in("allowed/escape")))
	require.NoError(t, os.Symlink("fine", in("allowed/inside")))
	refused := errors.New("outside")
	d.Allow = func(_, resolved string) error {
		if !strings.HasPrefix(resolved, in("allowed")+"/") {
			return refused
		}
		return nil
	}
	for name, want := range map[string]error{
		"allowed/fifo": ErrNotRegular, "allowed/null": ErrNotRegular, "allowed": ErrNotRegular,
		"allowed/none": os.ErrNotExist, "allowed/escape": refused, "secret": ErrNotAllowed,
	} {
		_, err := Open(in(name), d.Deps)
		require.ErrorIs(t, err, want, name)
	}
	require.Equal(t, []string{"fine"}, readAll(t, d.open(t, in("allowed/inside"))))
}

func TestABatchIsDoneOnce(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\n")
	f := d.open(t, p)
	b, err := f.Read(t.Context())
	require.NoError(t, err)
	b.Source = f.src
	b.Done()
	b.Source = f.src
	require.Panics(t, b.Done)
}

func TestAForgottenFileIsNotBroughtBackByALateAcknowledgement(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "one\n")
	f := d.open(t, p)
	f.Mark()
	b, err := f.Read(t.Context())
	require.NoError(t, err)
	f.Forget()
	b.Done()
	_, ok := d.store.Get("web", f.ID())
	require.False(t, ok)
}

func TestSeekToLastLineFindsTheLastNewline(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want int64
	}{
		"empty": {"", 0}, "no newline": {"abc", 0}, "at a line's end": {"a\nb\n", 4}, "in a line": {"a\nbc", 2},
		"in a long line": {"a\n" + strings.Repeat("x", 20000), 2}, "longer than the bound": {"a\n" + strings.Repeat("x", 40000), 40002},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, frame.Lines{MaxBytes: 32 << 10})
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, c.text)
			f := d.open(t, p)
			require.NoError(t, f.SeekToLastLine())
			require.Equal(t, c.want, f.Status().Committed)
		})
	}
}

// A writer appends pieces of any size while a reader follows: what comes out
// must be what was written, whatever the cuts, acknowledged in any order.
func TestAnyPiecesInAnyOrderOfAcknowledgementYieldTheSameLines(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		d := newDesk(t, plain)
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, "")
		f := d.open(t, p)
		var want, got []string
		var open []*record.Batch
		text := ""
		for range 200 {
			line := strings.Repeat("l", rnd.IntN(30)*rnd.IntN(30)*rnd.IntN(30))
			want = append(want, line)
			text += line + "\n"
		}
		committed := int64(0)
		for text != "" || len(open) > 0 {
			n := min(len(text), rnd.IntN(9000))
			write(t, p, text[:n])
			text = text[n:]
			b, err := f.Read(t.Context())
			require.NoError(t, err)
			if b != nil {
				for _, r := range b.Records {
					got = append(got, string(r.Value))
				}
				open = append(open, b)
			}
			for len(open) > 0 && (rnd.IntN(2) == 0 || text == "") {
				i := rnd.IntN(len(open))
				open[i].Done()
				open = append(open[:i], open[i+1:]...)
			}
			require.GreaterOrEqual(t, f.Status().Committed, committed)
			committed = f.Status().Committed
			if rnd.IntN(10) == 0 && f.Idle() {
				st := f.Checkpoint()
				f.Close()
				f = d.open(t, p)
				require.True(t, f.Resume(st))
			}
		}
		got = append(got, readAll(t, f)...)
		require.Equal(t, want, got, "seed %d", seed)
		require.Zero(t, d.budget.held)
	}
}

// The oracle follows one line at a time with a reader of its own.
func TestTheSameLinesComeInTheSameOrderAsFromNxadmTail(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	rnd := rand.New(rand.NewPCG(1, 1))
	var text strings.Builder
	n := 0
	for ; n < 5000; n++ {
		fmt.Fprintf(&text, "%d %s\n", n, strings.Repeat("x", rnd.IntN(300)))
	}
	write(t, p, "")
	oracle, err := nxtail.TailFile(p, nxtail.Config{Follow: true, Poll: true, MustExist: true, CompleteLines: true, Logger: nxtail.DiscardingLogger})
	require.NoError(t, err)
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for rest := text.String(); rest != ""; {
			k := min(len(rest), 1+rnd.IntN(5000))
			write(t, p, rest[:k])
			rest = rest[k:]
		}
	}()
	d := newDesk(t, plain)
	f := d.open(t, p)
	var got []string
	for len(got) < n {
		got = append(got, readAll(t, f)...)
	}
	<-wrote
	for i := range n {
		line := <-oracle.Lines
		require.NoError(t, line.Err)
		require.Equal(t, line.Text, got[i])
	}
	require.NoError(t, oracle.Stop())
}

func TestReadingAllocatesNothingForALine(t *testing.T) {
	d := newDesk(t, plain)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, strings.Repeat(strings.Repeat("x", 188)+"\n", 20000))
	f := d.open(t, p)
	records := 0
	allocs := testing.AllocsPerRun(1, func() {
		f.SeekTo(0)
		records = 0
		for {
			b, err := f.Read(context.Background())
			if err != nil || b == nil {
				return
			}
			records += len(b.Records)
			b.Done()
		}
	})
	require.Equal(t, 20000, records)
	require.Less(t, allocs/float64(records), 0.02)
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1, 188, 4000} {
		b.Run(fmt.Sprintf("lines of %d bytes", size), func(b *testing.B) {
			d := newDesk(b, plain)
			p := filepath.Join(b.TempDir(), "a")
			n := (32 << 20) / (size + 1)
			write(b, p, strings.Repeat(strings.Repeat("x", size)+"\n", n))
			f := d.open(b, p)
			b.SetBytes(int64(n * (size + 1)))
			b.ReportAllocs()
			for b.Loop() {
				f.SeekTo(0)
				for {
					batch, err := f.Read(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					if batch == nil {
						break
					}
					batch.Done()
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// What a file costs that gets one line at a time.
func BenchmarkReadOneLine(b *testing.B) {
	d := newDesk(b, plain)
	p := filepath.Join(b.TempDir(), "a")
	w, err := os.Create(p)
	require.NoError(b, err)
	defer func() { _ = w.Close() }()
	f := d.open(b, p)
	line := []byte(strings.Repeat("x", 188) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(line)
		batch, err := f.Read(context.Background())
		if err != nil || batch == nil {
			b.Fatal(batch, err)
		}
		batch.Done()
	}
}

func grown(t *testing.T, f *File) bool {
	t.Helper()
	grown, err := f.Grown()
	require.NoError(t, err)
	return grown
}

func TestSmallBatchesCountForWhatTheyReallyTake(t *testing.T) {
	const files = 400
	d := newDesk(t, plain)
	dir := t.TempDir()
	all := make([]*File, files)
	for i := range all {
		p := filepath.Join(dir, strconv.Itoa(i))
		write(t, p, "a line\n")
		all[i] = d.open(t, p)
	}
	alive := func() uint64 {
		runtime.GC()
		runtime.GC() // what a pool keeps survives one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	batches := make([]*record.Batch, files)
	before := alive()
	for i, f := range all {
		var err error
		batches[i], err = f.Read(t.Context())
		require.NoError(t, err)
		require.NotNil(t, batches[i])
	}
	require.LessOrEqual(t, alive()-before, uint64(d.budget.held))
	for _, b := range batches {
		b.Done()
	}
	require.Zero(t, d.budget.held)
}
