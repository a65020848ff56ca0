package collector

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/collector/shape"
)

// specimen is a log of tail's testdata, with the values of its records.
type specimen struct {
	name, data string
	want       []string
	how        option
	again      option // after a rotation that nobody saw, with parts that wait for the next file until then; nil: how
	mark       string // the byte order mark that each file begins with
	whole      bool   // records of several lines: it is rotated between records only
}

// specimens reads the whole corpus: encodings, traces, containers and formats.
func specimens(t *testing.T) (list []specimen) {
	t.Helper()
	read := func(path string) string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	files, err := filepath.Glob("tail/testdata/*/*.log")
	require.NoError(t, err)
	for _, file := range files {
		base := strings.TrimSuffix(file, ".log")
		name := strings.TrimSuffix(filepath.Base(file), ".log")
		s := specimen{name: filepath.Base(filepath.Dir(file)) + "/" + name, data: read(file), how: with(func(*Config) {})}
		golden := strings.TrimSuffix(read(base+".want"), "\n")
		switch filepath.Base(filepath.Dir(file)) {
		case "encodings":
			encoding, _, _ := strings.Cut(name, ".")
			s.want, s.how = strings.Split(golden, "\n"), decoding(t, encoding)
			if strings.HasPrefix(s.data, "\xff\xfe") || strings.HasPrefix(s.data, "\xfe\xff") {
				s.mark = s.data[:2]
			}
		case "traces":
			s.want, s.whole = strings.Split(golden, "\n=====\n"), true
			s.how = with(func(c *Config) {
				c.Groups = &frame.Groups{Continue: frame.Preset(name), MaxLines: 500, MaxBytes: c.MaxLineBytes}
				c.GroupQuiet = 20 * time.Millisecond
			})
		case "containers":
			language, _, _ := strings.Cut(name, "-")
			s.how = wrapping(language, strings.Contains(name, "grouped"), time.Hour)
			s.again = wrapping(language, strings.Contains(name, "grouped"), 100*time.Millisecond)
			s.want = quoted(t, golden)
		case "formats": // fields make no difference to what is sent
			s.want = strings.Split(strings.TrimSuffix(s.data, "\n"), "\n")
		}
		list = append(list, s)
	}
	return list
}

func decoding(t *testing.T, encoding string) option {
	t.Helper()
	charset, known := frame.LookUp(encoding)
	require.True(t, known, encoding)
	s, err := shape.New(shape.Config{Charset: charset, MaxBytes: 1 << 20})
	require.NoError(t, err)
	return with(func(c *Config) { c.Unit, c.Shape = charset.Unit(), s })
}

func wrapping(language string, grouped bool, quiet time.Duration) option {
	return with(func(c *Config) {
		k := &frame.Containers{Format: frame.Container, Apart: 5 * time.Second}
		if grouped {
			k.Groups = &frame.Groups{Continue: frame.MustCompile(`^ `), MaxLines: 100, MaxBytes: c.MaxLineBytes}
			if p := frame.Preset(language); p != nil {
				k.Groups.Continue = p
			}
		}
		c.Wrapped, c.GroupQuiet = func(string) *frame.Containers { return k }, quiet
	})
}

// quoted is the values at the ends of lines.
func quoted(t *testing.T, golden string) (values []string) {
	t.Helper()
	for _, line := range strings.Split(golden, "\n") {
		value, err := strconv.Unquote(line[strings.IndexByte(line, '"'):])
		require.NoError(t, err)
		values = append(values, value)
	}
	return values
}

// borders is where the file can be rotated: behind its lines, or its records.
func (s *specimen) borders() (at []int) {
	newline := "\n"
	if strings.Contains(s.name, "utf-16") {
		newline = "\n\x00"
		if strings.HasPrefix(s.data, "\xfe\xff") || strings.Contains(s.name, "utf-16be") {
			newline = "\x00\n"
		}
	}
	if s.whole {
		n := 0
		for _, record := range s.want[:len(s.want)-1] {
			n += len(record) + 1
			at = append(at, n)
		}
		return at
	}
	for n := 0; ; {
		i := strings.Index(s.data[n:], newline)
		if i < 0 {
			return at
		}
		if n += i + len(newline); n == len(s.data) {
			return at
		}
		if len(newline) == 1 || n%2 == 0 {
			at = append(at, n)
		}
	}
}

func TestTheCorpusHoldsEveryFormat(t *testing.T) {
	kinds := map[string]int{}
	for _, s := range specimens(t) {
		kind, _, _ := strings.Cut(s.name, "/")
		kinds[kind]++
	}
	require.Equal(t, map[string]int{"encodings": 39, "traces": 6, "containers": 17, "formats": 4}, kinds)
}

// Every log is rotated behind each of its lines, or its records, with FAULTS=all;
// otherwise logs of more than seven are behind every second or third one, and so on.
// Package tail tears them, and restarts their readers, at each of their bytes.
func TestEveryLogOfTheCorpusIsTheSameRotatedAtAnyLineAndReadOnAfterARestart(t *testing.T) {
	everywhere := os.Getenv("FAULTS") == "all"
	for n, s := range specimens(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			borders := s.borders()
			require.NotEmpty(t, borders)
			for i, at := range borders {
				if !everywhere && (i+n)%(1+len(borders)/8) != 0 {
					continue // an agent for each of them takes its time; the logs are rotated at different ones
				}
				s.rotated(t, at, true)
				if s.again == nil {
					s.rotated(t, at, false)
				}
			}
		})
	}
}

// rotated demands the same records of a log that is rotated at this byte, while
// an agent looks on, or between two agents.
func (s *specimen) rotated(t *testing.T, at int, unseen bool) {
	t.Helper()
	w := newWorld(t, false)
	w.write("a.log", s.data[:at])
	a := w.start(s.how)
	path := w.path("a.log")
	var got []string
	a.until("a first look", func() bool { return len(a.c.Files()) == 1 })
	a.settled()
	if unseen {
		a.stop()
		got = a.lines(path)
	}
	w.rename("a.log", "a.log.1")
	w.write("a.log", s.mark+s.data[at:])
	switch {
	case unseen && s.again != nil:
		a = w.start(s.again)
	case unseen:
		a = w.start(s.how)
	}
	a.until("all of it", func() bool { return len(got)+len(a.lines(path)) >= len(s.want) })
	a.settled()
	require.Equal(t, s.want, append(got, a.lines(path)...), "rotated at %d, unseen: %v", at, unseen)
	a.stop()
}
