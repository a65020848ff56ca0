package envelope

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/collector/rate"
	"logferry/internal/record"
	"logferry/internal/timestamp"
)

func texts(lines ...string) (recs []record.Record) {
	at := int64(0)
	for _, line := range lines {
		recs = append(recs, record.Record{Value: []byte(line), Offset: at})
		at += int64(len(line)) + 1
	}
	return recs
}

func sent(recs []record.Record) (list []string) {
	for _, r := range recs {
		list = append(list, string(r.Value))
	}
	return list
}

func TestRecordsAreChosenByTheirFields(t *testing.T) {
	lines := []string{"level=ERROR user=a", "level=INFO user=a", "level=WARN user=health", "user=b", "level=ERROR user=b9"}
	for _, c := range []struct {
		where []Where
		want  []int
	}{
		{[]Where{{Field: "level", In: []string{"ERROR", "WARN"}}}, []int{0, 2, 4}},
		{[]Where{{Field: "level", NotIn: []string{"INFO"}}}, []int{0, 2, 3, 4}},
		{[]Where{{Field: "user", Matches: `\d`}}, []int{4}},
		{[]Where{{Field: "level", Matches: "O"}}, []int{0, 1, 4}},
		{[]Where{{Field: "level", NotMatches: "O"}}, []int{2, 3}},
		{[]Where{{Field: "level", In: []string{"ERROR"}}, {Field: "user", NotIn: []string{"a"}}}, []int{4}},
		{[]Where{{Field: "nothing", In: []string{"x"}}}, nil},
		{[]Where{{Field: "nothing", NotIn: []string{"x"}}}, []int{0, 1, 2, 3, 4}},
	} {
		var space frame.Space
		recs, counts := form(t, Config{FieldFormat: Logfmt, Where: c.where}, "/a").Apply(texts(lines...), readAt, &space)
		var want []string
		for _, i := range c.want {
			want = append(want, lines[i])
		}
		require.Equal(t, want, sent(recs), c.where)
		require.Equal(t, Counts{Where: len(lines) - len(want)}, counts)
	}
}

func TestTheSameRecordsAreChosenWheneverTheyAreRead(t *testing.T) {
	var lines []string
	for i := range 20_000 {
		lines = append(lines, fmt.Sprintf("trace=t%d n=%d", i/4, i))
	}
	var space frame.Space
	for _, share := range []float64{0.001, 0.1, 0.5, 0.9} {
		whole, counts := form(t, Config{Share: share}, "/a").Apply(texts(lines...), readAt, &space)
		first := sent(whole)
		require.InDelta(t, share*20_000, len(first), 4*140)
		require.Equal(t, 20_000-len(first), counts.Sample)
		var parts []string // read in parts, by another agent, at another time
		f := form(t, Config{Share: share}, "/a")
		for recs := texts(lines...); len(recs) > 0; {
			n := min(777, len(recs))
			some, _ := f.Apply(recs[:n:n], readAt.Add(time.Hour), &space)
			parts = append(parts, sent(some)...)
			recs = recs[n:]
		}
		require.Equal(t, first, parts)
		other, _ := form(t, Config{Share: share}, "/b").Apply(texts(lines...), readAt, &space)
		require.NotEqual(t, first, sent(other), "what is chosen differs between files")
	}
	same, _ := form(t, Config{Share: 0.3}, "/a").Apply(texts(strings.Fields(strings.Repeat("same ", 10_000))...), readAt, &space)
	require.InDelta(t, 3000, len(same), 200, "equal lines are not chosen together")
}

func TestRecordsOfOneTraceAreAllChosenOrNoneOnEveryHost(t *testing.T) {
	var lines []string
	for i := range 8000 {
		lines = append(lines, fmt.Sprintf("trace=t%d n=%d", i/4, i))
	}
	cfg := Config{Share: 0.25, SampleBy: "{{.fields.trace}}", FieldFormat: Logfmt}
	var space frame.Space
	a, _ := form(t, cfg, "/a").Apply(texts(lines...), readAt, &space)
	b, _ := form(t, cfg, "/b").Apply(texts(lines...), readAt, &space)
	require.Equal(t, sent(a), sent(b))
	require.InDelta(t, 2000, len(a), 250)
	traces := map[string]int{}
	for _, line := range sent(a) {
		traces[strings.Fields(line)[0]]++
	}
	for trace, n := range traces {
		require.Equal(t, 4, n, trace)
	}
}

func TestRecordsBeyondARateAreLeftOut(t *testing.T) {
	var space frame.Space
	cfg := Config{RateLimit: rate.New(rate.Config{Lines: 1, Burst: 3 * time.Second}), Where: []Where{{Field: "a", In: []string{"1"}}}, FieldFormat: Logfmt}
	recs, counts := form(t, cfg, "/a").Apply(texts("a=1", "a=2", "a=1", "a=1", "a=1", "a=1"), readAt, &space)
	require.Len(t, recs, 3, "what is left out before does not count")
	require.Equal(t, Counts{Where: 1, Rate: 2}, counts)
}

func TestTimestampsAreReadFromTheText(t *testing.T) {
	times, err := timestamp.New([]string{"rfc3339", "unix_ms", "%d/%b/%Y:%H:%M:%S %z"}, "")
	require.NoError(t, err)
	zero := time.Time{}
	container := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, headers := range []map[string]string{nil, {"h": "{{.host}}"}, {"h": "{{.fields.time}}"}} {
		recs := texts(
			`{"time":"2020-03-01T08:00:01Z"}`, `{"time":1583049601500}`, `{"time":"01/Mar/2020:09:00:01 +0100"}`,
			`{"time":"soon"}`, `no time`, `{"time":"1969-12-31T23:59:59Z"}`, `{"time":"`+readAt.Add(2*time.Minute).Format(time.RFC3339)+`"}`, `{"time":"never"}`)
		recs[7].Extra = &record.Extra{Time: container, Stream: record.Stdout}
		var space frame.Space
		recs, counts := form(t, Config{FieldFormat: JSONFields, TimeField: "time", Times: times, Headers: headers}, "/a").Apply(recs, readAt, &space)
		require.Equal(t, Counts{Unparsed: 5}, counts)
		at := time.Date(2020, 3, 1, 8, 0, 1, 0, time.UTC)
		for i, want := range []time.Time{at, time.UnixMilli(1583049601500), at, zero, zero, zero, zero, container} {
			got := zero
			if recs[i].Extra != nil {
				got = recs[i].Extra.Time
			}
			require.True(t, want.Equal(got), "%d: %s %s", i, want, got)
		}
	}
}

func TestFieldsAreFoundByTheTextBetweenThem(t *testing.T) {
	var space frame.Space
	recs, _ := form(t, Config{FieldDissect: "%{user} - [%{time}] %{?rest}", Key: "{{.fields.user}}", Headers: map[string]string{"t": "{{.fields.time}}"}}, "/a").
		Apply(texts("joe - [now] x", "joe", " - [later] "), readAt, &space)
	require.Equal(t, "joe", string(recs[0].Extra.Key))
	require.Equal(t, "now", string(recs[0].Extra.Headers[0].Value))
	require.Nil(t, recs[1].Extra.Key)
	require.Empty(t, recs[1].Extra.Headers)
	require.Nil(t, recs[2].Extra.Key, "an empty field is none")
	require.Equal(t, "later", string(recs[2].Extra.Headers[0].Value))
}

func TestWhatIsChosenKeepsItsOrderAndOffsets(t *testing.T) {
	var space frame.Space
	f := form(t, Config{FieldFormat: Logfmt, Where: []Where{{Field: "k", In: []string{"1"}}}, JSON: []string{"message", "offset"}, Topic: "t_{{.fields.k}}"}, "/a")
	recs, _ := f.Apply(texts("k=0", "k=1 a", "k=0", "k=1 b"), readAt, &space)
	require.Equal(t, []string{`{"message":"k=1 a","offset":4}`, `{"message":"k=1 b","offset":14}`}, sent(recs))
	require.Equal(t, "t_1", string(recs[0].Extra.Topic))
}
