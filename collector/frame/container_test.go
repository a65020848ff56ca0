package frame

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

// dockerLine is what encoding/json makes of a line of json-file.
type dockerLine struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Time   string            `json:"time"`
}

// letters replaces each byte that is no UTF-8, as encoding/json does.
func letters(b []byte) string { return string([]rune(string(b))) }

// What is taken apart is what encoding/json says, and what encoding/json writes is taken apart.
func FuzzDocker(f *testing.F) {
	const at = "2026-03-01T08:00:01.123456789Z"
	for _, text := range []string{"a\n", "", `\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx\ude00\u0000\n`, `\\n`, `\\\n`, `\u12`, `\q`, `<&>`, "\xff\xc3"} {
		f.Add([]byte(`{"log":"`+text+`","stream":"stderr","attrs":{"a":"b","c":"\""},"time":"`+at+`"}`), text)
	}
	f.Add([]byte(`{"log":"\n","stream":"stdout","attrs":{},"time":"2026-03-01T08:00:01+02:00"}`), "\ud7ff")
	f.Fuzz(func(t *testing.T, line []byte, text string) {
		var s stamps
		if w, ok := Docker.unwrap(line, &s); ok && !bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			var want dockerLine
			require.NoError(t, json.Unmarshal(line, &want))
			got := w.text
			if w.escaped {
				got = AppendUnescaped(nil, w.text)
			}
			require.LessOrEqual(t, len(got), len(w.text))
			require.Equal(t, strings.TrimSuffix(want.Log, "\n"), letters(got))
			require.Equal(t, want.Stream == "stderr", w.stderr)
			require.Equal(t, !strings.HasSuffix(want.Log, "\n"), w.partial)
			wantTime, err := time.Parse(time.RFC3339Nano, want.Time)
			require.NoError(t, err)
			require.True(t, wantTime.Equal(w.time))
		}

		written, err := json.Marshal(dockerLine{Log: text, Stream: "stdout", Attrs: map[string]string{text: text, "b": "c"}, Time: at})
		require.NoError(t, err)
		w, ok := Container.unwrap(written, &s)
		require.True(t, ok, "%s", written)
		require.Equal(t, letters([]byte(strings.TrimSuffix(text, "\n"))), string(AppendUnescaped(nil, w.text)))
	})
}

// A time is read as package time reads it.
func FuzzStamps(f *testing.F) {
	for _, text := range []string{
		"2026-03-01T08:00:01.123456789Z", "2026-03-01T08:00:59+02:00", "2024-02-29T23:59:00.5-11:30", "2023-02-29T00:00:00Z", "2026-03-01T08:00:60Z",
		"0000-01-01T00:00:00Z", "2026-03-01T08:00:01.Z", "2026-03-01T24:00:01Z", "2026-03-01T08:00:01,5Z", "2026-13-01T08:00:01Z",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s stamps
		want, err := time.Parse(time.RFC3339Nano, string(text))
		for range 2 {
			got, ok := s.parse(text)
			require.True(t, !ok || err == nil, "%q", text)
			if ok {
				require.True(t, want.Equal(got), "%q is %s, not %s", text, want, got)
			}
			_, _ = s.parse([]byte("2026-03-01T08:00:01Z")) // what it remembers makes no difference
		}
		if err == nil && text[len(text)-1] == 'Z' && len(text) <= 30 && bytes.IndexByte(text, ',') < 0 && text[13] == ':' {
			_, ok := s.parse(text)
			require.True(t, ok, "%q", text)
		}
	})
}

func FuzzCRI(f *testing.F) {
	for _, line := range []string{
		"2026-03-01T08:00:01Z stdout F a b", "2026-03-01T08:00:01Z stderr P ", "2026-03-01T08:00:01Z stdout F", "2026-03-01T08:00:01Z stdout F:x:y z",
		"2026-03-01T08:00:01Z stdout F:", "2026-03-01T08:00:01Z stdxxx F a", "x stdout F a", "2026-03-01T08:00:01Z  F a", "",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var s stamps
		w, ok := CRI.unwrap(line, &s)
		parts := bytes.SplitN(line, []byte(" "), 4)
		if !ok {
			if len(parts) == 4 && (string(parts[1]) == "stdout" || string(parts[1]) == "stderr") && (string(parts[2]) == "F" || string(parts[2]) == "P") {
				_, right := s.parse(parts[0])
				require.False(t, right, "%q", line)
			}
			return
		}
		require.Len(t, parts, 4)
		tag, _, _ := strings.Cut(string(parts[2]), ":")
		require.Equal(t, map[bool]string{true: "P", false: "F"}[w.partial], tag)
		require.Equal(t, map[bool]string{true: "stderr", false: "stdout"}[w.stderr], string(parts[1]))
		require.Equal(t, string(parts[3]), string(w.text))
		want, err := time.Parse(time.RFC3339Nano, string(parts[0]))
		require.NoError(t, err)
		require.True(t, want.Equal(w.time))
	})
}

// Read whole or in two reads at any place, the records are the same, in the
// order in which they begin, and nothing of the text is missing.
func FuzzContainers(f *testing.F) {
	f.Add([]byte("oFa\noPb\neFc\noFd\nePx\nxx\neFy\n"), uint8(9), uint8(200), false, uint8(0))
	f.Add([]byte("oFa\noF b\neFc\noF d\neF x\noFe\n"), uint8(40), uint8(3), true, uint8(1))
	f.Add([]byte("oPaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\noPb\neFc\n"), uint8(70), uint8(20), false, uint8(2))
	f.Fuzz(func(t *testing.T, script []byte, split, bound uint8, grouped bool, step uint8) {
		data := scripted(script, step)
		l := Lines{MaxBytes: int(bound) + 40}
		k := &Containers{Format: Container, Apart: time.Second}
		if grouped {
			k.Groups = &Groups{Continue: MustCompile(`^ `), MaxLines: 4, MaxBytes: l.MaxBytes}
		}
		latest := time.Now()
		var space Space
		all := func(recs []record.Record, from int) ([]record.Record, int, Counts) {
			recs, used, _, c := l.AppendContainers(k, recs, data[from:], int64(from), 1<<20, true, latest, &space)
			return recs, from + used, c
		}
		want, used, counts := all(nil, 0)
		at := min(int(split)*8, len(data))
		got, first, _, some := l.AppendContainers(k, nil, data[:at], 0, 1<<20, false, latest, &space)
		require.LessOrEqual(t, first, at)
		got, again, more := all(got, first)
		require.Equal(t, used, again)
		require.Equal(t, shown(want), shown(got))
		require.Equal(t, counts, Counts{
			Cut: some.Cut + more.Cut, Foreign: some.Foreign + more.Foreign, Split: some.Split + more.Split, Unfinished: some.Unfinished + more.Unfinished,
		})
		for i := 1; i < len(want); i++ {
			require.Less(t, want[i-1].Offset, want[i].Offset)
		}
		if bytes.LastIndexByte(data, '\n')+1 == used && counts.Cut == 0 && !grouped {
			require.Equal(t, textOf(data, "stdout"), joined(want, "stdout"))
			require.Equal(t, textOf(data, "stderr"), joined(want, "stderr"))
		}
	})
}

// scripted makes lines of a log: o or e is the stream, F or P the flag, a
// capital O or E makes it a line of Docker, anything else none of a container.
func scripted(script []byte, step uint8) []byte {
	var b bytes.Buffer
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, line := range bytes.SplitAfter(script, []byte("\n")) {
		at = at.Add(time.Duration(step) * 17 * time.Millisecond)
		if len(line) < 3 || !bytes.ContainsRune([]byte("oOeE"), rune(line[0])) {
			b.Write(line)
			continue
		}
		stream := map[byte]string{'o': "stdout", 'e': "stderr"}[line[0]|0x20]
		if line[0]&0x20 != 0 {
			fmt.Fprintf(&b, "%s %s %c %s", at.Format(time.RFC3339Nano), stream, line[1], line[2:])
			continue
		}
		text := strings.TrimSuffix(string(line[2:]), "\n")
		if line[1] == 'F' {
			text += "\n"
		}
		enc, _ := json.Marshal(dockerLine{Log: text, Stream: stream, Time: at.Format(time.RFC3339Nano)})
		b.Write(append(enc, '\n'))
	}
	return b.Bytes()
}

func shown(recs []record.Record) (list []string) {
	for _, r := range recs {
		s := fmt.Sprintf("%d %q", r.Offset, r.Value)
		if r.Extra != nil {
			s += fmt.Sprint(r.Extra.Time, r.Extra.Headers)
		}
		list = append(list, s)
	}
	return list
}

// textOf is what a container wrote to a stream.
func textOf(data []byte, stream string) string {
	var b strings.Builder
	var s stamps
	for _, line := range bytes.Split(data[:bytes.LastIndexByte(data, '\n')+1], []byte("\n")) {
		w, ok := Container.unwrap(line, &s)
		if !ok || w.stderr != (stream == "stderr") {
			continue
		}
		if w.escaped {
			w.text = AppendUnescaped(nil, w.text)
		}
		if !w.partial {
			w.text = Bytes.trimCR(w.text)
		}
		b.Write(w.text)
	}
	return b.String()
}

func joined(recs []record.Record, stream string) string {
	var b strings.Builder
	for _, r := range recs {
		if r.Extra.Has(record.HeaderStream) && string(r.Extra.Headers[0].Value) == stream {
			b.Write(r.Value)
		}
	}
	return b.String()
}

func criBlock(size int) []byte {
	return bytes.Repeat([]byte("2026-03-01T08:00:01.123456789Z stdout F "+strings.Repeat("x", size)+"\n"), blockBytes/(size+41))
}

func dockerBlock(size int) []byte {
	line, _ := json.Marshal(dockerLine{Log: `"GET /" ` + strings.Repeat("x", size-8) + "\n", Stream: "stdout", Time: "2026-03-01T08:00:01.123456789Z"})
	return bytes.Repeat(append(line, '\n'), blockBytes/(len(line)+1))
}

func TestTakingContainerLinesApartAllocatesNothingForALine(t *testing.T) {
	k := &Containers{Format: Container, Apart: time.Second}
	for _, block := range [][]byte{criBlock(150), dockerBlock(150)} {
		l := Lines{MaxBytes: 1 << 20}
		recs := make([]record.Record, 0, 4096)
		var space Space
		latest := time.Now()
		require.Less(t, testing.AllocsPerRun(20, func() {
			_, used, _, _ := l.AppendContainers(k, recs[:0], block, 0, 4096, false, latest, &space)
			require.Equal(t, len(block), used)
			space.Reset(1 << 20)
		}), 8.0)
	}
}

func TestALineOfAMillionKeysTakesNoMemory(t *testing.T) {
	keys := []byte(`{"log":"a\n","stream":"stdout","attrs":{` + strings.Repeat(`"key":"value",`, 1_000_000) + `"k":"v"},"time":"2026-03-01T08:00:01Z"}`)
	big := append([]byte(`{"log":"`), bytes.Repeat([]byte(`\u0041x`), 4<<20)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var s stamps
	w, ok := Docker.unwrap(keys, &s)
	require.True(t, ok)
	require.Equal(t, "a", string(w.text))
	_, ok = Docker.unwrap(keys[:len(keys)-2], &s)
	require.False(t, ok)
	_, ok = Docker.unwrap(big, &s)
	require.False(t, ok)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
}

func TestAMomentOfTheFutureOrBeforeTheEpochIsNotTaken(t *testing.T) {
	var space Space
	latest := time.Date(2026, 3, 1, 8, 1, 0, 0, time.UTC)
	data := []byte("2026-03-01T08:00:59Z stdout F a\n2026-03-01T08:01:01Z stdout F b\n1969-03-01T08:00:59Z stdout F c\n")
	recs, _, _, _ := Lines{MaxBytes: 100}.AppendContainers(&Containers{}, nil, data, 0, 10, false, latest, &space)
	require.Equal(t, latest.Add(-time.Second).Unix(), recs[0].Extra.Time.Unix())
	require.True(t, recs[1].Extra.Time.IsZero())
	require.True(t, recs[2].Extra.Time.IsZero())
}

func BenchmarkContainers(b *testing.B) {
	for name, block := range map[string][]byte{"cri": criBlock(150), "docker": dockerBlock(150), "plain": blockOf(189)} {
		b.Run(name, func(b *testing.B) {
			recs := make([]record.Record, 0, 4096)
			l, k := Lines{MaxBytes: 1 << 20}, &Containers{Format: Container, Apart: time.Second}
			var space Space
			latest := time.Now()
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			for b.Loop() {
				if name == "plain" {
					recs, _, _ = l.Append(recs[:0], block, 0, 4096)
					continue
				}
				recs, _, _, _ = l.AppendContainers(k, recs[:0], block, 0, 4096, false, latest, &space)
				space.Reset(len(block))
			}
		})
	}
}
