package tail

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/internal/record"
)

var update = flag.Bool("update", false, "write what containers' logs become into testdata")

// containerDesk is for logs of containers, with indented lines joined to those before if grouped.
func containerDesk(t testing.TB, maxBytes int, grouped bool) *desk {
	t.Helper()
	d := newDesk(t, frame.Lines{MaxBytes: maxBytes})
	k := &frame.Containers{Format: frame.Container, Apart: 5 * time.Second}
	if grouped {
		k.Groups = &frame.Groups{Continue: frame.MustCompile(`^ `), MaxLines: 100, MaxBytes: maxBytes}
	}
	d.Wrapped, d.Quiet = func(string) *frame.Containers { return k }, time.Hour
	d.Unwrapped = func(c frame.Counts) {
		d.unwrapped.Foreign += c.Foreign
		d.unwrapped.Split += c.Split
		d.unwrapped.Unfinished += c.Unfinished
	}
	return d
}

// described is a batch with all that its records have.
func described(b *record.Batch) (out []string) {
	for _, r := range b.Records {
		s := "- - "
		if x := r.Extra; x != nil {
			at := "-"
			if !x.Time.IsZero() {
				at = x.Time.UTC().Format(time.RFC3339Nano)
			}
			stream, partial := "-", ""
			for _, h := range x.Headers {
				switch h.Key {
				case record.HeaderStream:
					stream = string(h.Value)
				case record.HeaderPartial:
					partial = string(h.Value) + " "
				case record.HeaderTruncated:
					partial = "cut of " + string(h.Value) + " "
				}
			}
			s = stream + " " + at + " " + partial
		}
		out = append(out, fmt.Sprintf("%d %s%q", r.Offset, s, r.Value))
	}
	b.Done()
	return out
}

// describeAll reads to the end.
func describeAll(t testing.TB, f *File) (out []string) {
	t.Helper()
	for {
		b, err := f.Read(t.Context())
		require.NoError(t, err)
		switch {
		case b != nil:
			out = append(out, described(b)...)
		case !f.Full():
			return out
		}
	}
}

// describeRest ends what waits at the end of a file.
func describeRest(t testing.TB, f *File) (out []string) {
	t.Helper()
	for {
		b, err := f.Final(t.Context())
		require.NoError(t, err)
		if b == nil {
			return out
		}
		out = append(out, described(b)...)
	}
}

// containerLogs yields each log of testdata, with the records that it holds.
func containerLogs(t *testing.T, each func(t *testing.T, d *desk, data string, want []string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/containers/*.log")
	require.NoError(t, err)
	require.Len(t, files, 17)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".log"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			desk := func() *desk {
				d := containerDesk(t, 1<<20, strings.Contains(file, "grouped"))
				if language, _, ok := strings.Cut(filepath.Base(file), "-"); ok && frame.Preset(language) != nil {
					d.Wrapped("").Groups.Continue = frame.Preset(language)
				}
				return d
			}
			golden := strings.TrimSuffix(file, ".log") + ".want"
			if *update {
				f := desk().open(t, file)
				got := append(describeAll(t, f), describeRest(t, f)...)
				require.NoError(t, os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			each(t, desk(), string(data), strings.Split(strings.TrimSuffix(string(want), "\n"), "\n"))
		})
	}
}

func TestAContainerLogThatIsWrittenByteByByteYieldsTheSameRecords(t *testing.T) {
	containerLogs(t, func(t *testing.T, d *desk, data string, want []string) {
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, "")
		f := d.open(t, p)
		var got []string
		for i := range len(data) {
			write(t, p, data[i:i+1])
			got = append(got, describeAll(t, f)...)
			require.False(t, grown(t, f), "it would never rest")
		}
		require.Equal(t, want, append(got, describeRest(t, f)...))
		require.Equal(t, int64(len(data)), f.Status().Committed)
		require.Zero(t, d.budget.held)
	})
}

func TestATraceIsTheSameRecordsInAContainersLog(t *testing.T) {
	for language, format := range map[string]string{"java": "cri", "go": "cri", "dotnet": "cri", "python": "docker", "node": "docker", "ruby": "docker"} {
		want, err := os.ReadFile("testdata/traces/" + language + ".want")
		require.NoError(t, err)
		data, err := os.ReadFile("testdata/containers/" + language + "-" + format + ".grouped.want")
		require.NoError(t, err)
		var got []string
		for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
			if !strings.Contains(line, " stdout ") {
				continue
			}
			value, err := strconv.Unquote(line[strings.Index(line, `"`):])
			require.NoError(t, err)
			got = append(got, value)
		}
		require.Equal(t, strings.Split(strings.TrimSuffix(string(want), "\n"), "\n=====\n"), got, language)
	}
}

func TestAContainerLogIsReadOnAfterARestartAtAnyByte(t *testing.T) {
	containerLogs(t, func(t *testing.T, d *desk, data string, want []string) {
		t.Parallel()
		d.restartAtAnyByte(t, data, want, describeAll, describeRest)
		d.tornAtAnyByte(t, data, want, describeAll, describeRest)
	})
}

func TestAContainerLogIsReadWholeOverManyBlocks(t *testing.T) {
	containerLogs(t, func(t *testing.T, d *desk, data string, want []string) {
		p := filepath.Join(t.TempDir(), "a")
		times := 3 * BlockBytes / len(data)
		write(t, p, strings.Repeat(data, times))
		f := d.open(t, p)
		got := append(readAll(t, f), final(t, f)...)
		if strings.Contains(t.Name(), "grouped") || strings.Contains(t.Name(), "never") {
			require.NotEmpty(t, got) // what is at its end goes on at its beginning
			return
		}
		require.Equal(t, times*len(want), len(got))
		for i := range got {
			require.True(t, strings.HasSuffix(want[i%len(want)], fmt.Sprintf("%q", got[i])), "%q is not %s", got[i], want[i%len(want)])
		}
	})
}

func TestFaultsInContainerLogsAreCounted(t *testing.T) {
	for name, want := range map[string]frame.Counts{
		"cri": {}, "cri-foreign": {Foreign: 8}, "docker-foreign": {Foreign: 6}, "cri-never-finished": {Unfinished: 1},
	} {
		d := containerDesk(t, 1<<20, false)
		f := d.open(t, "testdata/containers/"+name+".log")
		describeAll(t, f)
		describeRest(t, f)
		require.Equal(t, want, d.unwrapped, name)
	}
}

func TestAHugePartialLineIsSplitAndHoldsNoMoreThanTheBound(t *testing.T) {
	const bound = 64 << 10
	d := containerDesk(t, bound, false)
	p := filepath.Join(t.TempDir(), "a")
	var text strings.Builder
	part := func(flag, s string) { write(t, p, "2026-03-01T08:00:01Z stdout "+flag+" "+s+"\n"); text.WriteString(s) }
	for i := range 1000 {
		part("P", strings.Repeat(string(rune('a'+i%26)), 8000))
		if i%100 == 0 {
			write(t, p, "2026-03-01T08:00:01Z stderr F between\n")
		}
	}
	part("F", "end")
	f := d.open(t, p)
	var got strings.Builder
	splits, between := 0, 0
	for {
		b, err := f.Read(t.Context())
		require.NoError(t, err)
		if b == nil {
			require.False(t, f.Full())
			break
		}
		for _, r := range b.Records {
			require.LessOrEqual(t, len(r.Value), bound)
			if string(r.Extra.Headers[0].Value) == "stderr" {
				between++
				continue
			}
			got.Write(r.Value)
			if r.Extra.Has(record.HeaderPartial) {
				splits++
			}
		}
		b.Done()
	}
	require.Equal(t, text.String(), got.String())
	require.Equal(t, 10, between)
	require.Equal(t, 124, splits)
	require.Equal(t, 124, d.unwrapped.Split)
	require.Zero(t, d.budget.held)
	require.Less(t, d.budget.peak, 2<<20)
}

func TestALongLineOfAContainerIsCutWhereverItIsTorn(t *testing.T) {
	const bound = 1 << 10
	long := strings.Repeat("y", 3000)
	data := "2026-03-01T08:00:01Z stdout P begin\n" + "2026-03-01T08:00:01Z stderr F " + long + "\n" + "2026-03-01T08:00:01Z stdout F end\n" +
		`{"log":"` + long + `\n","stream":"stdout","time":"2026-03-01T08:00:01Z"}` + "\n" + "2026-03-01T08:00:01Z stdout P " + long + "\n2026-03-01T08:00:01Z stdout F rest\n"
	d := containerDesk(t, bound, false)
	p := filepath.Join(t.TempDir(), "a")
	for split := 0; split < len(data); split += 29 {
		d.unwrapped, d.cut = frame.Counts{}, 0
		require.NoError(t, os.WriteFile(p, []byte(data[:split]), 0o600))
		f := d.open(t, p)
		got := describeAll(t, f)
		write(t, p, data[split:])
		got = append(got, describeAll(t, f)...)
		require.Len(t, got, 6, "torn at %d", split)
		require.Contains(t, got[0], `split "begin"`)
		require.Contains(t, got[1], `stderr 2026-03-01T08:00:01Z cut of 3000 "yyy`)
		require.Contains(t, got[2], `Z "end"`)
		require.Contains(t, got[3], `"{\"log\":\"yyy`)
		require.Contains(t, got[4], `stdout 2026-03-01T08:00:01Z cut of 3000 "yyy`)
		require.Contains(t, got[5], `Z "rest"`)
		require.Equal(t, frame.Counts{Foreign: 1, Split: 2}, d.unwrapped)
		require.Equal(t, 3, d.cut)
		f.Close()
	}
}

func TestAPartThatWaitsInAQuietFileIsSentAfterItsTime(t *testing.T) {
	d := containerDesk(t, 1<<20, false)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "2026-03-01T08:00:01Z stdout P a prompt: \n2026-03-01T08:00:01Z stderr F behind it\n")
	f := d.open(t, p)
	require.Empty(t, readAll(t, f))
	require.Zero(t, f.Status().Committed, "it stays before the part")
	require.Greater(t, f.GroupDue(), time.Duration(0))
	d.Quiet = 0
	require.Equal(t, []string{"a prompt: ", "behind it"}, readAll(t, f))
	require.Equal(t, 1, d.unwrapped.Unfinished)
	write(t, p, "2026-03-01T08:00:01Z stdout F answer\n")
	require.Equal(t, []string{"answer"}, readAll(t, f))
}

func TestAnEnvelopeIsPaidForAndGivenBack(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		d := containerDesk(t, 1<<20, false)
		if !wrapped {
			d.Wrapped = nil
		}
		var err error
		d.Envelope, err = envelope.New(envelope.Config{JSON: envelope.ValueFields(), Headers: map[string]string{"at": "{{.offset}}"}})
		require.NoError(t, err)
		p := filepath.Join(t.TempDir(), "a")
		text := strings.Repeat("2026-03-01T08:00:01Z stdout F say \"hi\"\n", 10_000)
		write(t, p, text+"no newline")
		f := d.open(t, p)
		for at := 0; ; {
			b, err := f.Read(t.Context())
			require.NoError(t, err)
			if b == nil {
				break
			}
			size := 0
			for _, r := range b.Records {
				require.Equal(t, []record.Header{{Key: "at", Value: []byte(strconv.Itoa(at))}}, r.Extra.Headers)
				require.Equal(t, wrapped, strings.Contains(string(r.Value), `{"message":"say \"hi\"",`), "%s", r.Value)
				require.Equal(t, wrapped, !r.Extra.Time.IsZero())
				size += len(r.Value) + len(r.Extra.Headers[0].Value)
				at += len(text) / 10_000
			}
			require.Greater(t, b.Size, size)
			b.Done()
		}
		b, err := f.Final(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(b.Records[0].Value), `{"message":"no newline",`)
		b.Done()
		require.Zero(t, d.budget.held)
	}
}

func TestALineOfAGibibyteTakesABlockAndTheNextIsRight(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a gibibyte")
	}
	d := containerDesk(t, 1<<20, true)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, `{"log":"`)
	require.NoError(t, os.Truncate(p, 1<<30)) // sparse
	write(t, p, "\n"+`{"log":"next\n","stream":"stdout","time":"2026-03-01T08:00:01Z"}`+"\n")
	f := d.open(t, p)
	b, err := f.Read(t.Context())
	for b == nil && err == nil {
		b, err = f.Read(t.Context())
	}
	require.NoError(t, err)
	require.Len(t, b.Records, 1)
	require.Len(t, b.Records[0].Value, 1<<20)
	require.Equal(t, []record.Header{{Key: record.HeaderTruncated, Value: []byte("1073741824")}}, b.Records[0].Extra.Headers)
	b.Done()
	require.Equal(t, []string{"next"}, append(readAll(t, f), final(t, f)...))
	require.Equal(t, frame.Counts{Foreign: 1}, d.unwrapped)
	require.Less(t, d.budget.peak, 8<<20)
	require.Zero(t, d.budget.held)
}

func TestALineWhosePartsStandInTwoFilesIsJoined(t *testing.T) {
	containerLogs(t, func(t *testing.T, d *desk, data string, want []string) {
		text := func(described []string) (list []string) { // without offsets, which differ
			for _, s := range described {
				_, s, _ = strings.Cut(s, " ")
				list = append(list, s)
			}
			return list
		}
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		for at := 0; at < len(data); at += strings.IndexByte(data[at:], '\n') + 1 {
			require.NoError(t, os.WriteFile(a, []byte(data[:at]), 0o600))
			require.NoError(t, os.WriteFile(b, nil, 0o600))
			first := d.open(t, a)
			got := describeAll(t, first)
			committed := first.Status().Committed
			rest, err := first.TakeRest()
			require.NoError(t, err)
			next := d.open(t, b)
			if rest != nil {
				require.True(t, next.Follow(rest))
				require.False(t, next.Follow(rest))
			}
			require.Empty(t, describeAll(t, next))
			require.Equal(t, committed, first.Status().Committed)
			write(t, b, data[at:at+20])
			got = append(got, describeAll(t, next)...)
			write(t, b, data[at+20:])
			got = append(got, describeAll(t, next)...)
			got = append(got, describeRest(t, next)...)
			require.Equal(t, text(want), text(got), "rotated after %d bytes", at)
			require.Equal(t, int64(at), first.Status().Committed)
			require.Equal(t, int64(len(data)-at), next.Status().Committed)
			require.True(t, first.Idle())
			require.Zero(t, d.budget.held)
			first.Close()
			next.Close()
		}
	})
}

func TestTheRestOfAFileIsProvenByTheNextOneOrSentAsItIs(t *testing.T) {
	d := containerDesk(t, 1<<20, false)
	dir := t.TempDir()
	part, end := "2026-03-01T08:00:01Z stdout P one, \n", "2026-03-01T08:00:01Z stdout F two\n"
	open := func(name, text string) *File {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		return d.open(t, filepath.Join(dir, name))
	}
	first, next := open("a", part+"half a li"), open("b", end)
	require.Empty(t, readAll(t, first))
	rest, err := first.TakeRest()
	require.NoError(t, err)
	require.True(t, next.Follow(rest))
	b, err := next.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int64{-int64(len(part))}, []int64{b.Records[0].Offset})
	require.Zero(t, first.Status().Committed, "the next file's batch is on its way")
	require.Equal(t, []string{"one, two"}, take(b))
	require.Equal(t, int64(len(part)), first.Status().Committed)
	require.Equal(t, []string{"half a li"}, final(t, first))

	first, next = open("c", part), open("d", end+part)
	require.Empty(t, readAll(t, first))
	require.Equal(t, []string{"two"}, readAll(t, next))
	rest, err = first.TakeRest()
	require.NoError(t, err)
	require.False(t, next.Follow(rest), "it was read before")
	b = rest.Unfinished()
	require.Equal(t, "unfinished", string(b.Records[0].Extra.Headers[1].Value))
	require.Equal(t, []string{"one, "}, take(b))
	require.Equal(t, int64(len(part)), first.Status().Committed)
	rest, err = first.TakeRest()
	require.NoError(t, err)
	require.Nil(t, rest)

	// What the next file never says is not waited for, and a file that is given up lets go of it.
	first, next = open("e", part), open("f", "")
	require.Empty(t, readAll(t, first))
	rest, err = first.TakeRest()
	require.NoError(t, err)
	require.True(t, next.Follow(rest))
	require.Empty(t, readAll(t, next))
	require.True(t, next.GroupOpen())
	d.Quiet = 0
	require.Equal(t, []string{"one, "}, readAll(t, next))
	require.True(t, first.Idle())
	d.Quiet = time.Hour

	first, next = open("g", part), open("h", "")
	require.Empty(t, readAll(t, first))
	rest, err = first.TakeRest()
	require.NoError(t, err)
	require.True(t, next.Follow(rest))
	require.Equal(t, int64(len(part)), next.GiveUp())
	require.True(t, first.Idle())
	_, err = next.Read(t.Context())
	require.NoError(t, err)
}
