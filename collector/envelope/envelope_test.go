package envelope

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/internal/record"
)

var (
	readAt  = time.Date(2026, 3, 1, 8, 0, 1, 5000, time.UTC)
	podPath = "/var/log/pods/shop_web-7d9c_0c5a-11/app/0.log"
)

func source(path string) *record.Source {
	return &record.Source{Task: "shop", Host: "node-1", Path: path, File: "fd00-1a2b"}
}

// form makes the form of a file.
func form(t testing.TB, cfg Config, path string) *Form {
	t.Helper()
	e, err := New(cfg)
	require.NoError(t, err)
	return e.For(source(path))
}

// containerLine is a record of a container, as it is cut.
func containerLine(text string, offset int64, s record.Stream) record.Record {
	return record.Record{Value: []byte(text), Offset: offset, Extra: &record.Extra{
		Stream: s, Time: readAt.Add(-time.Hour), Headers: []record.Header{{Key: record.HeaderStream, Value: []byte(s.String())}},
	}}
}

func headersOf(r record.Record) (list []string) {
	for _, h := range r.Extra.Headers {
		list = append(list, h.Key+"="+string(h.Value))
	}
	return list
}

func TestThePathTellsThePodAndItsContainer(t *testing.T) {
	for path, want := range map[string]*Kubernetes{
		podPath: {"shop", "web-7d9c", "app", "0c5a-11"},
		"/var/log/pods/shop_web-7d9c_0c5a-11/app/3.log.20260301-080000.gz": {"shop", "web-7d9c", "app", "0c5a-11"},
		"/var/log/containers/web-7d9c_shop_the-app-0123abcd.log":           {"shop", "web-7d9c", "the-app", ""},
		"/var/log/pods/shop_web_uid/0.log":                                 nil,
		"/var/log/pods/shop_web/app/0.log":                                 nil,
		"/var/log/pods/__/app/0.log":                                       nil,
		"/var/log/pods/a_b_c_d/app/0.log":                                  nil,
		"/var/log/containers/web.log":                                      nil,
		"/var/log/containers/a_b_c.log":                                    nil,
		"/var/lib/docker/containers/0123/0123-json.log":                    nil,
		"/var/log/syslog":                                                  nil,
	} {
		got, ok := KubernetesOf(path)
		require.Equal(t, want != nil, ok, path)
		if ok {
			require.Equal(t, *want, got)
		}
	}
}

func TestHeadersHoldWhatTheyNameAndThoseThatCannotAreLeftOut(t *testing.T) {
	cfg := Config{Labels: map[string]string{"env": "prod"}, Headers: map[string]string{
		"a": "static", "env": "{{.labels.env}}", "zone": "{{.labels.zone}}", "from": "{{.host}}:{{ .path }}", "id": "{{.file}}@{{.offset}}.", "task": "{{.task}}",
		"pod": "{{.kubernetes.namespace}}/{{.kubernetes.pod}}/{{.kubernetes.container}}", "uid": "{{.kubernetes.uid}}", "stream": "{{.stream}}", "time": "{{.time}}",
	}}
	var space frame.Space
	recs := []record.Record{{Value: []byte("x"), Offset: 7}, {Value: []byte("y"), Offset: 9, Extra: &record.Extra{Headers: []record.Header{{Key: record.HeaderTruncated, Value: []byte("5")}}}}}
	form(t, cfg, "/var/log/a.log").Apply(recs, readAt, &space)
	plain := []string{"a=static", "env=prod", "from=node-1:/var/log/a.log", "id=fd00-1a2b@7.", "task=shop", "time=2026-03-01T08:00:01.000005000Z"}
	require.Equal(t, plain, headersOf(recs[0]))
	plain[3] = "id=fd00-1a2b@9."
	require.Equal(t, append(plain, "logferry.truncated=5"), headersOf(recs[1]))
	require.Equal(t, "x", string(recs[0].Value))

	recs = []record.Record{containerLine("x", 1, record.Stdout), containerLine("y", 2, record.Stderr)}
	form(t, cfg, podPath).Apply(recs, readAt, &space)
	require.Equal(t, []string{
		"a=static", "env=prod", "from=node-1:" + podPath, "id=fd00-1a2b@2.", "pod=shop/web-7d9c/app", "stream=stderr", "task=shop", "time=2026-03-01T07:00:01.000005000Z", "uid=0c5a-11",
	}, headersOf(recs[1]))
	require.Contains(t, headersOf(recs[0]), "stream=stdout")
	require.Equal(t, readAt.Add(-time.Hour), recs[0].Extra.Time)
	require.Positive(t, space.Held())
}

func TestAJSONValueHasTheFieldsInTheirOrderWithoutThoseThatAreMissing(t *testing.T) {
	cfg := Config{JSON: ValueFields(), Labels: map[string]string{"zone": `"a"`, "env": "prod"}}
	var space frame.Space
	recs := []record.Record{{Value: []byte("say \"hi\"\t\\\x00\xff é"), Offset: 7}}
	form(t, cfg, "/a").Apply(recs, readAt, &space)
	require.Equal(t, `{"message":"say \"hi\"\t\\\u0000`+"\ufffd"+` é","time":"2026-03-01T08:00:01.000005000Z","host":"node-1","path":"/a","file":"fd00-1a2b","offset":7,"task":"shop","labels":{"env":"prod","zone":"\"a\""}}`,
		string(recs[0].Value))
	require.Nil(t, recs[0].Extra)

	recs = []record.Record{containerLine("x", 1, record.Stderr), {Value: []byte("no line of a container"), Offset: 3}}
	form(t, Config{JSON: []string{"stream", "message", "kubernetes", "labels"}}, podPath).Apply(recs, readAt, &space)
	require.Equal(t, `{"stream":"stderr","message":"x","kubernetes":{"namespace":"shop","pod":"web-7d9c","container":"app","uid":"0c5a-11"}}`, string(recs[0].Value))
	require.Equal(t, []string{"logferry.stream=stderr"}, headersOf(recs[0]))
	require.Equal(t, `{"message":"no line of a container","kubernetes":{"namespace":"shop","pod":"web-7d9c","container":"app","uid":"0c5a-11"}}`, string(recs[1].Value))
}

func TestTheTimestampCanBeThatOfTheRead(t *testing.T) {
	var space frame.Space
	recs := []record.Record{containerLine("x", 1, record.Stdout), {Value: []byte("y")}}
	form(t, Config{ReadTime: true, JSON: []string{"message", "time"}}, podPath).Apply(recs, readAt, &space)
	require.True(t, recs[0].Extra.Time.IsZero())
	require.Equal(t, `{"message":"x","time":"2026-03-01T07:00:01.000005000Z"}`, string(recs[0].Value), "the value keeps the runtime's")
	require.Nil(t, recs[1].Extra)
}

func TestATemplateWithHalfABraceIsRefusedAndNothingToDoIsNoEnvelope(t *testing.T) {
	for _, text := range []string{"{{.host", "a}}", "{{host}}", "{{}}"} {
		_, err := New(Config{Headers: map[string]string{"a": text}})
		require.Error(t, err, text)
	}
	e, err := New(Config{Labels: map[string]string{"a": "b"}})
	require.NoError(t, err)
	require.Nil(t, e)
}

// plainRecords is what is cut of a block of access-log lines.
func plainRecords() []record.Record {
	recs := make([]record.Record, 1300)
	for i := range recs {
		recs[i] = record.Record{Value: []byte(`10.0.0.1 - - [01/Mar/2026:08:00:01 +0000] "GET /index.html HTTP/1.1" 200 1234 "-" "` + strings.Repeat("x", 100) + `"`), Offset: int64(i) * 189}
	}
	return recs
}

func TestWhatAFileHasInCommonCostsNothingForALineAndTheRestNoAllocation(t *testing.T) {
	recs := plainRecords()
	work := make([]record.Record, len(recs))
	for name, c := range map[string]struct {
		cfg  Config
		held bool
	}{
		"static headers":  {Config{Headers: map[string]string{"a": "b", "host": "{{.host}}"}}, false},
		"offsets":         {Config{Headers: map[string]string{"at": "{{.offset}}"}}, true},
		"a JSON value":    {Config{JSON: ValueFields()}, true},
		"read timestamps": {Config{ReadTime: true}, false},
	} {
		f := form(t, c.cfg, podPath)
		var space frame.Space
		require.Less(t, testing.AllocsPerRun(20, func() {
			copy(work, recs)
			f.Apply(work, readAt, &space)
			require.Equal(t, c.held, space.Held() > 0, name)
			space.Reset(1 << 20)
		}), 6.0, name)
	}
}

func TestValuesAndHeadersInASpaceStayApart(t *testing.T) {
	f := form(t, Config{JSON: []string{"message", "offset"}, Headers: map[string]string{"at": "{{.offset}}"}}, "/a")
	var space frame.Space
	for _, keep := range []int{1 << 20, 100, 0} { // it is used again
		recs := make([]record.Record, 700)
		for i := range recs {
			recs[i] = record.Record{Value: []byte(strings.Repeat("\x01", i%50)), Offset: int64(i)}
		}
		f.Apply(recs, readAt, &space)
		for i, r := range recs {
			require.Equal(t, fmt.Sprintf(`{"message":"%s","offset":%d}`, strings.Repeat(`\u0001`, i%50), i), string(r.Value))
			require.Equal(t, []string{fmt.Sprintf("at=%d", i)}, headersOf(r))
		}
		space.Reset(keep)
		require.Zero(t, space.Held())
	}
}

// A JSON value says what encoding/json reads out of it, whatever the text is.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{"", "a", "0123456789abcdef\"", "\\", "\x00\x1f \x7f", "日本\xe6\x97 語", "\xff\xfe", "\u2028<&>", strings.Repeat("x", 31) + "\n"} {
		f.Add([]byte(text), text, int64(5))
	}
	f.Fuzz(func(t *testing.T, text []byte, label string, nanos int64) {
		at := readAt.Add(time.Duration(nanos))
		recs := []record.Record{{Value: text, Offset: nanos}}
		e, err := New(Config{JSON: ValueFields(), Labels: map[string]string{"a": label, label: "b"}})
		require.NoError(t, err)
		e.For(source("/"+label)).Apply(recs, at, &frame.Space{})
		var got struct {
			Message, Path string
			Time          time.Time
			Offset        int64
			Labels        map[string]string
		}
		require.NoError(t, json.Unmarshal(recs[0].Value, &got), "%s", recs[0].Value)
		require.Equal(t, string([]rune(string(text))), got.Message)
		require.Equal(t, string([]rune("/"+label)), got.Path)
		require.Equal(t, nanos, got.Offset)
		require.True(t, at.Equal(got.Time))

		n := plain(text)
		for _, c := range text[:n] {
			require.True(t, c >= 0x20 && c < 0x80 && c != '"' && c != '\\')
		}
	})
}

func BenchmarkApply(b *testing.B) {
	recs := plainRecords()
	work := make([]record.Record, len(recs))
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"static headers", Config{Headers: map[string]string{"host": "{{.host}}", "path": "{{.path}}"}}},
		{"headers with offsets", Config{Headers: map[string]string{"host": "{{.host}}", "offset": "{{.offset}}"}}},
		{"json", Config{JSON: ValueFields()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := form(b, c.cfg, podPath)
			var space frame.Space
			b.SetBytes(int64(len(recs) * 189))
			b.ReportAllocs()
			for b.Loop() {
				copy(work, recs)
				f.Apply(work, readAt, &space)
				space.Reset(512 << 10)
			}
		})
	}
}
