package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

func TestARotatingLogLosesNoLineAndKeepsThreeGenerations(t *testing.T) {
	for _, c := range []struct {
		every     uint64
		lines     uint64
		files     int
		rotations int
	}{
		{every: 1000, lines: 300, files: 1, rotations: 0},
		{every: 100, lines: 300, files: 3, rotations: 2}, // none before a line that is not written
		{every: 100, lines: 301, files: 4, rotations: 3},
		{every: 7, lines: 300, files: 1 + keptGenerations, rotations: 42},
	} {
		b, told := newBoard(), 0
		w := newWriter(t.TempDir(), b, func(string) { told++ })
		l := w.add("a/b.log", 50_000, func(seq uint64) bool { return seq%c.every == 0 })
		w.writeUpTo(l, c.lines)
		for l.seq < c.lines {
			require.NoError(t, w.turn())
		}
		w.close()
		require.Equal(t, c.rotations, told)
		b.look(func(st *state) {
			require.Equal(t, c.rotations, st.rotations)
			require.Equal(t, c.lines, st.written())
		})

		files, err := filepath.Glob(l.path + "*")
		require.NoError(t, err)
		require.Len(t, files, c.files)
		next := c.lines
		for i := range files { // the newest first: each begins where the one before it ended
			name := l.path
			if i > 0 {
				name = fmt.Sprintf("%s.%d", l.path, i)
			}
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			next -= uint64(len(lines))
			for n, line := range lines {
				id, err := gen.Parse(line)
				require.NoError(t, err)
				require.Equal(t, gen.ID{Stream: 1, Seq: next + uint64(n)}, id)
			}
		}
		if c.rotations <= keptGenerations {
			require.Zero(t, next)
		}
	}
}

func TestAPausedLogIsNotWrittenTo(t *testing.T) {
	w := newWriter(t.TempDir(), newBoard(), func(string) {})
	defer w.close()
	l := w.add("a.log", 1000, nil)
	w.writeUpTo(l, 100)
	require.NoError(t, w.turn())
	require.EqualValues(t, 5, l.seq, "a tick's share")
	w.pause(l)
	require.NoError(t, w.turn())
	require.EqualValues(t, 5, l.seq)
	w.writeUpTo(l, 7)
	require.NoError(t, w.turn())
	require.EqualValues(t, 7, l.seq)
}

func TestWaitingEndsWithTheUpdateThatBringsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, done := newBoard(), make(chan error)
		go func() {
			done <- b.wait(t.Context(), time.Minute, "three records", func(s *state) string {
				return map[bool]string{false: "some are missing"}[s.others == 3]
			})
		}()
		for range 3 {
			synctest.Wait()
			b.update(func(s *state) { s.others++ })
		}
		require.NoError(t, <-done)
	})
}

func TestWaitingInVainSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		never := func(s *state) string { return fmt.Sprintf("%d of 3 are there", s.others) }
		b.update(func(s *state) { s.others = 2 })
		began := time.Now()
		require.EqualError(t, b.wait(t.Context(), time.Minute, "records", never), "waited 1m0s for records: 2 of 3 are there")
		require.Equal(t, time.Minute, time.Since(began))

		b.update(func(s *state) { s.deaf = errors.New("connection refused") })
		require.EqualError(t, b.wait(t.Context(), time.Second, "records", never),
			"waited 1s for records: 2 of 3 are there (the agent does not answer: connection refused)")

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("the agent: disk full"))
		require.EqualError(t, b.wait(ctx, time.Minute, "records", never), "wait for records: the agent: disk full")
	})
}

func TestALinesAgeIsThatOfTheWriteItBelongsTo(t *testing.T) {
	s, at := &newBoard().state, time.Now()
	s.wrote(1, 10, at)
	s.wrote(1, 20, at.Add(time.Second))
	s.took("t", 1, 0, at.Add(5*time.Second))
	require.Equal(t, 5*time.Second, s.first["t"])
	require.Empty(t, s.recent, "the write is not through yet")
	for seq := range uint64(20) {
		s.took("t", 1, seq, at.Add(5*time.Second))
	}
	require.Equal(t, []time.Duration{5 * time.Second, 4 * time.Second}, s.recent)
	require.Equal(t, 4*time.Second, s.quantile(0))
	require.Equal(t, 5*time.Second, s.quantile(1))
	require.EqualValues(t, 21, s.arrived())
	require.EqualValues(t, 20, s.written())
}

// api answers with whatever documents hold.
func api(t *testing.T, documents map[string]string) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, there := documents[r.URL.Path]
		if !there {
			http.Error(w, "not there", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestTheWatcherTellsEachChangeOnce(t *testing.T) {
	docs := map[string]string{}
	srv := api(t, docs)
	var told []string
	b := newBoard()
	w := newWatcher(srv.URL, b, observer{
		taskRuns:    func(v taskView) { told = append(told, "runs "+v.Name) },
		taskRefused: func(v taskView) { told = append(told, "refused "+v.Name) },
		taskFails:   func(v taskView) { told = append(told, "fails "+v.Name) },
		taskGone:    func(name string) { told = append(told, "gone "+name) },
		fileFound:   func(f fileView) { told = append(told, "found "+f.Path) },
	})
	defer w.http.CloseIdleConnections()
	require.ErrorContains(t, w.ask(t.Context()), "GET /readyz: 503")

	const started = `"started":"2026-01-01T00:00:0`
	for _, step := range []struct {
		tasks, files string
		want         []string
		seen         int
		lag          int64
	}{
		{``, ``, nil, 0, 0},
		{`{"name":"a","state":"pending"}`, ``, nil, 0, 0},
		{`{"name":"a","state":"running",` + started + `1Z"}`, `{"task":"a","path":"/x","file":""}`, []string{"runs a"}, 0, 0},
		{`{"name":"a","state":"running",` + started + `1Z"}`, `{"task":"a","path":"/x","file":"1","lag_bytes":7}`, []string{"found /x"}, 0, 7},
		{`{"name":"a","state":"running",` + started + `1Z"}`,
			`{"task":"a","path":"/x","file":"2","lag_bytes":3},{"task":"a","path":"/x","file":"1","state":"rotated"}`, nil, 1, 3},
		{`{"name":"a","state":"running",` + started + `2Z"}`, `{"task":"a","path":"/x","file":"2"}`, []string{"runs a"}, 1, 0},
		{`{"name":"a","state":"failing","error":"no topic",` + started + `2Z"},{"name":"b","state":"refused","refused":true,"error":"no paths"}`, ``,
			[]string{"fails a", "refused b"}, 1, 0},
		{`{"name":"a","state":"failing","error":"no topic",` + started + `2Z"}`, ``, []string{"gone b"}, 1, 0},
		{``, ``, []string{"gone a"}, 1, 0},
		{`{"name":"a","state":"running",` + started + `3Z"}`, `{"task":"a","path":"/x","file":"2"}`, []string{"runs a", "found /x"}, 1, 0},
	} {
		told = nil
		docs["/readyz"] = "ready"
		docs["/api/v1/tasks"] = `{"tasks":[` + step.tasks + `]}`
		docs["/api/v1/files"] = `{"files":[` + step.files + `]}`
		require.NoError(t, w.ask(t.Context()))
		require.Equal(t, step.want, told, step.tasks)
		b.look(func(s *state) {
			require.True(t, s.ready)
			require.Equal(t, step.seen, s.seen)
			require.Equal(t, step.lag, s.lag())
		})
	}
}

func TestWhatIsShownIsAlignedAndTellsFilesFromTheirRoot(t *testing.T) {
	var out bytes.Buffer
	s := newShow(&out, "/tmp/x")
	s.step("etcd", "is up")
	s.bad("result", "%d lost in %s", 3, "/tmp/x/logs/a.log")
	s.table("try", [][2]string{{"a", "first"}, {"a longer one", "second"}, {"last"}})
	require.Regexp(t, `^   0\.\d\ds  etcd      is up
   0\.\d\ds  result    3 lost in logs/a\.log
          try       a             first
                    a longer one  second
                    last
$`, out.String())
}

func TestArrivingLinesAreShownNowAndThenAndCannotSteerTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newShow(&out, "/tmp/x")
		s.record(false, "t", 0, 0, []byte("not yet"))
		s.showRecords(true)
		for range 100 {
			s.record(false, "web", 2, 41, []byte("red \x1b[31m\r\nalert \xff"+strings.Repeat("é", 200)))
			<-time.After(10 * time.Millisecond) // of the bubble's clock
		}
		s.record(true, "mine", 0, 1, []byte("hello"))
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		require.Len(t, lines, 3, "two in a second, and the user's")
		require.Contains(t, lines[0], "web[2]@41  red ·[31m··alert ·é")
		require.Len(t, []rune(lines[0]), plainWidth-1)
		require.Contains(t, lines[2], "mine[0]@1  hello")
	})
}

func TestTheStatusIsALineNowAndThenWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newShow(&out, "/tmp/x")
		for range 12 {
			s.setStatus("written 1")
			<-time.After(time.Second) // of the bubble's clock
		}
		require.Equal(t, 2, strings.Count(out.String(), "status    written 1\n"))
	})
}

func TestOnATerminalTheStatusStaysBelowWhatIsTold(t *testing.T) {
	var out bytes.Buffer
	s := newShow(&out, "/tmp/x")
	s.terminal = true
	t.Setenv("NO_COLOR", "1")
	s.setStatus("written 1")
	s.step("etcd", "is up")
	s.endStatus()
	s.step("end", "good")
	const erase = "\r\x1b[K"
	status := out.String()[len(erase) : strings.Index(out.String()[1:], "\r")+1]
	require.Contains(t, status, "status    written 1")
	require.NotContains(t, status, "\n")
	require.True(t, strings.HasPrefix(out.String(), erase+status+erase))
	require.Contains(t, out.String(), "is up\n"+status+erase)
	require.True(t, strings.HasSuffix(out.String(), "good\n"))
}

func TestNumbersAreEasyToRead(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "12,345,678", "-1,000"}, []string{count(0), count(999), count(1000), count(12345678), count(-1000)})
	require.Equal(t, []string{"0.3 ms", "9.9 ms", "10 ms", "1234 ms"},
		[]string{ms(300 * time.Microsecond), ms(9900 * time.Microsecond), ms(10 * time.Millisecond), ms(1234 * time.Millisecond)})
	require.Equal(t, []string{"999 B", "1.5 kB", "2.0 MB"}, []string{size(999), size(1500), size(2_000_000)})
}
