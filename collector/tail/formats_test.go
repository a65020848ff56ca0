package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/envelope"
	"logferry/collector/rate"
	"logferry/internal/record"
	"logferry/internal/timestamp"
)

// formats says how the fields of each log of testdata/formats are found, and
// what is made of them.
func formats(t *testing.T) map[string]envelope.Config {
	t.Helper()
	times := func(layout string) *timestamp.Reader {
		r, err := timestamp.New([]string{layout}, "")
		require.NoError(t, err)
		return r
	}
	common := envelope.Config{
		Topic: "log_{{.fields.app}}", Key: "{{.fields.user.id}}", Headers: map[string]string{"app": "{{.fields.app}}", "at": "{{.offset}}"},
		Where: []envelope.Where{{Field: "level", NotIn: []string{"debug"}}}, TimeField: "time",
	}
	jsonText, logfmt, dissect, pattern := common, common, common, common
	jsonText.FieldFormat, jsonText.Times = envelope.JSONFields, times("rfc3339")
	logfmt.FieldFormat, logfmt.TimeField, logfmt.Times = envelope.Logfmt, "ts", times("unix_ms")
	dissect.FieldDissect, dissect.Times = `%{client} - %{user.id} [%{time}] "%{method} %{path} %{?proto}" %{status} "%{app}"`, times("%d/%b/%Y:%H:%M:%S %z")
	dissect.Where = []envelope.Where{{Field: "path", NotMatches: "^/health"}, {Field: "status", NotIn: []string{"301"}}}
	pattern.FieldPattern, pattern.Times = `^<\d+>(?P<time>\d+ \w+ +\d+ [\d:]+) \S+ (?P<app>\w+)(?:\[\d+\])?: (?P<level>debug)?(?:.*user=(?P<user>\S+))?`, times("%Y %b %e %H:%M:%S")
	pattern.Key = "{{.fields.user}}"
	return map[string]envelope.Config{"json": jsonText, "logfmt": logfmt, "dissect": dissect, "pattern": pattern}
}

// carried is a batch with what the fields of its records became.
func carried(b *record.Batch) (out []string) {
	for _, r := range b.Records {
		at := "read"
		if !r.Extra.Time.IsZero() {
			at = r.Extra.Time.UTC().Format(time.RFC3339Nano)
		}
		s := fmt.Sprintf("%d %s topic=%s key=%q", r.Offset, at, r.Extra.Topic, r.Extra.Key)
		for _, h := range r.Extra.Headers {
			s += fmt.Sprintf(" %s=%q", h.Key, h.Value)
		}
		out = append(out, fmt.Sprintf("%s %q", s, r.Value))
	}
	b.Done()
	return out
}

func carriedAll(t testing.TB, f *File) (out []string) {
	t.Helper()
	for {
		b, err := f.Read(t.Context())
		require.NoError(t, err)
		switch {
		case b != nil:
			out = append(out, carried(b)...)
		case !f.Full():
			return out
		}
	}
}

func TestFieldsAreTheSameWhereverALogIsTornOrItsReaderRestarted(t *testing.T) {
	for name, cfg := range formats(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, plain)
			var counts envelope.Counts
			d.Dressed = func(c envelope.Counts) { counts.Where += c.Where; counts.Unparsed += c.Unparsed }
			var err error
			d.Envelope, err = envelope.New(cfg)
			require.NoError(t, err)
			file := "testdata/formats/" + name
			data, err := os.ReadFile(file + ".log")
			require.NoError(t, err)
			if *update {
				got := carriedAll(t, d.open(t, file+".log"))
				require.NoError(t, os.WriteFile(file+".want", []byte(strings.Join(got, "\n")+"\n"), 0o600))
			}
			golden, err := os.ReadFile(file + ".want")
			require.NoError(t, err)
			want := strings.Split(strings.TrimSuffix(string(golden), "\n"), "\n")
			none := func(testing.TB, *File) []string { return nil }
			d.restartAtAnyByte(t, string(data), want, carriedAll, none)
			d.tornAtAnyByte(t, string(data), want, carriedAll, none)

			counts = envelope.Counts{}
			require.Equal(t, want, carriedAll(t, d.open(t, file+".log")))
			require.Equal(t, strings.Count(string(data), "\n"), len(want)+counts.Where, "each line is there or counted")
			require.NotZero(t, counts.Where)
			require.NotZero(t, counts.Unparsed)
			require.Zero(t, d.budget.held)
		})
	}
}

func TestAReaderThatIsHeldToFewRecordsYieldsTheSameOnes(t *testing.T) {
	for _, most := range []int{1, 2, 7} {
		limit := func(d *desk) {
			d.MostRecords, d.MostBytes = most, 64
		}
		containerLogs(t, func(t *testing.T, d *desk, data string, want []string) {
			limit(d)
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, data)
			f := d.open(t, p)
			require.Equal(t, want, append(describeAll(t, f), describeRest(t, f)...))
		})
		d := newDesk(t, plain)
		limit(d)
		p := filepath.Join(t.TempDir(), "a")
		want := someLines(3000, 300_000) // longer than any bound of what is read at once
		write(t, p, strings.Join(want, "\n")+"\n")
		f := d.open(t, p)
		for i := 0; i < len(want); {
			b, err := f.Read(t.Context())
			require.NoError(t, err)
			if b == nil {
				require.True(t, f.Full())
				continue
			}
			require.LessOrEqual(t, len(b.Records), most)
			for _, line := range take(b) {
				require.Equal(t, want[i], line)
				i++
			}
		}
		require.Zero(t, d.budget.held)
	}
	require.Equal(t, 5, rate.New(rate.Config{Lines: 10, Burst: 500 * time.Millisecond}).MostLines())
}
