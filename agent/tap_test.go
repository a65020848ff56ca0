package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

// tapped reads the events of a tap until its end.
type tapped struct {
	t      *testing.T
	events *json.Decoder
	close  func() error
}

func (w *world) tap(query string) *tapped {
	w.t.Helper()
	resp, err := http.Get("http://" + w.agent.Addr().String() + "/api/v1/tap?" + query)
	require.NoError(w.t, err)
	require.Equal(w.t, http.StatusOK, resp.StatusCode)
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return &tapped{w.t, json.NewDecoder(bufio.NewReader(resp.Body)), resp.Body.Close}
}

func (p *tapped) next() TapEvent {
	p.t.Helper()
	var e TapEvent
	require.NoError(p.t, p.events.Decode(&e))
	return e
}

func TestATapShowsRecordsAsTheyLeave(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", `
paths: ["DIR/logs/web.log"]
topic: web_log
key: path
filter: {exclude: [DEBUG], mask: [{pattern: 'token=\S+', replace: 'token=*'}]}
`)
	w.waitFor("the task", func() bool { return w.task("web").State == TaskRunning })
	p := w.tap("task=web")
	w.appendLog("web.log", "1 token=secret\n2 DEBUG\n3 \xff\n")
	one := p.next()
	require.Equal(t, []any{"1 token=*", "web_log", w.dir + "/logs/web.log", *one.Key, int64(0), 9, uint64(0)},
		[]any{*one.Value, one.Topic, one.Path, w.dir + "/logs/web.log", one.Offset, one.Bytes, one.Skipped})
	require.WithinDuration(t, time.Now(), one.Time, time.Minute)
	three := p.next()
	require.Nil(t, three.Value)
	require.Equal(t, "3 \xff", string(three.ValueBase64))
	require.Equal(t, int64(23), three.Offset)
	w.waitFor("both in the sink", func() bool { return strings.Count(w.out.String(), "\n") == 2 })
}

func TestATapGoesOnWhenItsTaskIsEditedAndEndsWithIt(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", webTask)
	w.waitFor("the task", func() bool { return w.task("web").State == TaskRunning })
	p := w.tap("task=web")
	w.putTask("web", webTask+"key: host\n")
	w.waitFor("the edit", func() bool { return w.task("web").Task.Key == "host" && w.task("web").State == TaskRunning })
	w.appendLog("web.log", "one\n")
	require.Equal(t, "one", *p.next().Value)
	w.removeTask("web")
	require.Equal(t, `task "web" was removed`, p.next().Error)
}

func TestAStoppingAgentEndsItsTapsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", webTask)
	w.waitFor("the task", func() bool { return w.task("web").State == TaskRunning })
	p := w.tap("task=web")
	w.stop()
	require.Equal(t, "the agent is stopping", p.next().Error)
}

func TestATapIsRefusedWithARemedy(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", webTask)
	w.waitFor("the task", func() bool { return w.task("web").State == TaskRunning })
	for query, want := range map[string]string{
		"task=wbe":             `404 this agent has no task "wbe"; it has web`,
		"task=web&rate=0":      `400 rate is "0"; write a number of records a second, 1000 at most`,
		"task=web&rate=NaN":    `400 rate is "NaN"; write a number of records a second, 1000 at most`,
		"task=web&rate=1000.5": `400 rate is "1000.5"; write a number of records a second, 1000 at most`,
	} {
		code, text := w.get("/api/v1/tap?" + query)
		require.Equal(t, want, fmt.Sprint(code, " ", strings.TrimSpace(text)))
	}
	for range maxTaps {
		w.tap("task=web")
	}
	code, text := w.get("/api/v1/tap?task=web")
	require.Equal(t, http.StatusTooManyRequests, code, text)
}

// A reader that takes nothing holds up nobody: what it does not take is dropped
// for it alone.
func TestAReaderThatDoesNotReadHoldsUpNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", webTask)
	w.waitFor("the task", func() bool { return w.task("web").State == TaskRunning })
	for range 3 {
		conn, err := net.Dial("tcp", w.agent.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(1024))
		_, err = fmt.Fprintf(conn, "GET /api/v1/tap?task=web&rate=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
	}
	of := w.agent.taps.of("web")
	w.waitFor("the taps", func() bool { list := of.list.Load(); return list != nil && len(*list) == 3 })
	taps, line, lines := *of.list.Load(), strings.Repeat("x", 10_000)+"\n", 0
	write := func(n int) {
		w.appendLog("web.log", strings.Repeat(line, n))
		lines += n
	}
	w.waitFor("the queues of all readers to be full", func() bool {
		for _, p := range taps {
			if len(p.out) < cap(p.out) {
				write(5)
				return false
			}
		}
		return true
	})
	write(2000)
	w.waitFor("all committed", func() bool { st := w.task("web"); return st.LagBytes == 0 && st.BufferedBytes == 0 })
	require.Equal(t, lines*len(line), len(w.out.String()))
}

func batchOf(n int, at time.Time) *record.Batch {
	b := &record.Batch{Source: &record.Source{Path: "/a"}, Time: at}
	for i := range n {
		b.Records = append(b.Records, record.Record{Value: fmt.Append(nil, i), Offset: int64(i)})
	}
	return b
}

func TestATapKeepsToItsRateAndSpreadsWhatItShows(t *testing.T) {
	p, stop, err := newTaps().start("web", 4)
	require.NoError(t, err)
	defer stop()
	now := p.last
	p.offer(batchOf(100, now))
	p.offer(batchOf(100, now.Add(10*time.Millisecond))) // nothing is left
	p.offer(batchOf(10, now.Add(time.Second)))          // three or four more
	close(p.out)
	var shown []int64
	var missed uint64
	for r := range p.out {
		shown, missed = append(shown, r.offset), missed+r.missed
	}
	require.Equal(t, []int64{0, 25, 50, 75}, shown[:4])
	require.Equal(t, uint64(210-len(shown)), missed+p.missed.Load())
	require.InDelta(t, 8, len(shown), 1)
}

func TestNothingIsKeptWhenNobodyLooks(t *testing.T) {
	all := newTaps()
	of := all.of("web")
	_, stop, err := all.start("web", 1)
	require.NoError(t, err)
	all.forget("web")
	require.Same(t, of, all.of("web"), "somebody still looks")
	stop()
	b := batchOf(1000, time.Now())
	require.Zero(t, testing.AllocsPerRun(100, func() { of.offer(b) }))
	all.forget("web")
	require.Empty(t, all.tasks)
	require.Zero(t, all.open)
}

func BenchmarkOfferToNobody(b *testing.B) {
	of, batch := newTaps().of("web"), batchOf(1000, time.Now())
	for b.Loop() {
		of.offer(batch)
	}
}
