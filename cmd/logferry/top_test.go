package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"

	"logferry/agent"
	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

// twoTasks runs an agent with a task that ships, and one whose topic is missing.
func twoTasks(t *testing.T) (p *process, addr, log string) {
	t.Helper()
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	dir := t.TempDir()
	log = filepath.Join(dir, "web.log")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("web.yaml", "paths: ["+log+"]\ntopic: web_log\n")
	write("shop.yaml", "paths: ["+dir+"/shop.log]\ntopic: shop_log\n")
	write("agent.yaml", fmt.Sprintf("id: web-1\nkafka: {brokers: [%s]}\ntasks: {files: [web.yaml, shop.yaml]}\nstate_dir: state\nhttp: {listen: 127.0.0.1:0}\n", brokers[0]))
	appendTo(t, log, "one\n")
	p = start(t, "run", "--config", filepath.Join(dir, "agent.yaml"))
	addr = p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	p.awaitMetric(t, `logferry_acked_records_total\{task="web",topic="web_log"\} 1`)
	p.awaitMetric(t, `logferry_tasks\{state="failing"\} 1`)
	return p, addr, log
}

func TestTopShowsOnePictureForScripts(t *testing.T) {
	p, addr, _ := twoTasks(t)
	out, code := runOnce(t, "top", "--once", "--interval", "100ms", "--agent", addr)
	require.Equal(t, exitFailed, code, out)
	require.Regexp(t, `(?m)^agent web-1.*, up \S+, at \d\d:\d\d:\d\d$`, out)
	require.Regexp(t, `(?m)^2 tasks, 1 file, 0 records/s, 0B/s, 0B behind$`, out)
	require.Regexp(t, `(?m)^TASK +STATE +RECORDS/S +BYTES/S +LAG +BEHIND +FILES +BUFFERED +ERRORS +DEAD +TOPIC$`, out)
	require.Regexp(t, `(?m)^web +running +0 +0B +0B +0\.0s +1 +0B +0 +0 +web_log$`, out)
	require.Regexp(t, `(?m)^shop is failing: topic "shop_log" does not exist; create it`, out)

	out, code = runOnce(t, "top", "--once", "-i", "100ms", "-o", "json", "--agent", addr)
	require.Equal(t, exitFailed, code)
	var v topView
	require.NoError(t, json.Unmarshal([]byte(out), &v), out)
	require.True(t, v.Trouble)
	require.Equal(t, []string{"web-1", "shop", "web"}, []string{v.Agent.ID, v.Tasks[0].Name, v.Tasks[1].Name})

	follow := start(t, "top", "-i", "100ms", "--agent", addr) // its output is no terminal
	for range 2 {
		for line := ""; line != "TASK"; line = strings.SplitN(follow.readLine(t), " ", 2)[0] {
			require.NotContains(t, line, "\x1b")
		}
	}
	require.Equal(t, exitOK, follow.end(t, syscall.SIGINT))
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
	out, code = runOnce(t, "top", "--once", "--agent", addr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "give the address of its http.listen with --agent")
	out, code = runOnce(t, "top", "-i", "1ms")
	require.Equal(t, exitUsage, code, out)
}

// lastPicture returns the lines of the newest whole picture as they are seen.
func lastPicture(s *screen) []string {
	text := s.String()
	end := strings.LastIndex(text, ansiBelow)
	if end < 0 {
		return nil
	}
	text = text[:end]
	text = text[strings.LastIndex(text, ansiHome)+len(ansiHome):]
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\r\n", "\n"), "\r\n", "\n") // the terminal adds returns too
	return strings.Split(strings.ReplaceAll(text, ansiClear, ""), "\n")
}

// awaitPicture waits for a picture that fits.
func awaitPicture(t *testing.T, s *screen, what string, fits func(lines []string) bool) {
	t.Helper()
	if !assert.Eventually(t, func() bool { return fits(lastPicture(s)) }, patience, 5*time.Millisecond) {
		require.FailNow(t, "no picture with "+what, "%s", strings.Join(lastPicture(s), "\n"))
	}
}

func TestTopOnATerminalIsDrivenByKeysAndFitsItsSize(t *testing.T) {
	p, addr, log := twoTasks(t)
	master, tty, shown := openBothEnds(t)
	resize := func(columns, rows uint16) {
		require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
	}
	resize(120, 20)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	require.NoError(t, err)
	top := exec.Command("logferry", "top", "-i", "100ms", "--agent", addr)
	top.Env = append(os.Environ(), endAtOnce)
	top.Stdin, top.Stdout, top.Stderr = tty, tty, tty
	top.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, top.Start())
	t.Cleanup(func() { _ = top.Process.Kill(); _ = top.Wait() })

	shown.shows(t, ansiEnter)
	awaitPicture(t, shown, "20 rows and both tasks by name", func(l []string) bool {
		return len(l) == 20 && strings.HasPrefix(l[4], "shop ") && strings.HasPrefix(l[5], "web ") && l[19] == "q ends; sort by n name, r rate, l lag"
	})
	appendTo(t, log, strings.Repeat("x\n", 5000))
	require.Eventually(t, func() bool { return strings.Contains(shown.String(), "k records/s") }, patience, 5*time.Millisecond)

	typed := func(key string) {
		_, err := master.WriteString(key)
		require.NoError(t, err)
	}
	appendTo(t, filepath.Join(filepath.Dir(log), "shop.log"), "never arrives\n")
	p.awaitMetric(t, `logferry_lag_bytes\{task="shop"\} 14`)
	typed("l")
	awaitPicture(t, shown, "the one behind first", func(l []string) bool { return len(l) > 5 && strings.Contains(l[4], " 14B ") })

	resize(30, 6)
	awaitPicture(t, shown, "30 columns and 6 rows", func(l []string) bool {
		for _, line := range l {
			if utf8.RuneCountInString(line) > 30 {
				return false
			}
		}
		return len(l) == 6 && strings.HasSuffix(l[4], "lines more") && strings.HasSuffix(l[1], "…")
	})
	require.NotContains(t, shown.String(), "lqlq", "keys are not shown")

	p.end(t, syscall.SIGKILL)
	resize(100, 10)
	awaitPicture(t, shown, "that the agent is gone", func(l []string) bool {
		return len(l) == 10 && strings.HasPrefix(l[9], "no answer since ")
	})
	typed("q")
	require.NoError(t, top.Wait())
	shown.shows(t, ansiLeave)
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestRatesAreThoseBetweenTwoLooks(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	sample := func(after time.Duration, started int64, records, bytes uint64) topSample {
		return topSample{at: at.Add(after), agent: topAgent{ID: "a", Started: time.Unix(started, 0)}, tasks: agent.TaskList{Tasks: []agent.TaskStatus{
			{Name: "web", State: agent.TaskRunning, Task: &task.Task{Topic: "t"}, AckedRecords: records, AckedBytes: bytes},
		}}}
	}
	v := newTopView(sample(0, 1, 100, 1000), sample(2*time.Second, 1, 300, 5000))
	require.Equal(t, []float64{100, 2000}, []float64{v.Tasks[0].Records, v.Tasks[0].Bytes})
	require.False(t, v.Trouble)
	v = newTopView(sample(0, 1, 100, 1000), sample(2*time.Second, 5, 300, 5000))
	require.Zero(t, v.Tasks[0].Records, "another process counts from its own start")
	v = newTopView(sample(0, 1, 100, 1000), sample(2*time.Second, 1, 10, 50))
	require.Zero(t, v.Tasks[0].Records, "a task that was removed and came back counts anew")
}

func TestALineIsCutToTheWidthAndObeysNobody(t *testing.T) {
	for in, want := range map[string]string{
		"short": "short", "exactly 10": "exactly 10", "longer than ten": "longer th…", "a\x1b[2Jb": "a [2Jb", "日本語日本語日本語日本語": "日本語日本語日本語…",
	} {
		require.Equal(t, want, fitted(in, 10))
	}
	require.Equal(t, "…", fitted("ab", 1))
}

func TestRatesAreWrittenShortly(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.54: "0.5", 12.3: "12", 9999: "9999", 12_345: "12.3k", 1_781_000: "1.78M"} {
		require.Equal(t, want, rateWords(n))
	}
}

func TestRatesOfTheFleetAreThoseBetweenTwoReports(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	report := func(after time.Duration, records, bytes uint64) etcdsource.Fleet {
		return etcdsource.Fleet{Members: []etcdsource.Member{{Name: "a", Report: etcdsource.Report{At: at.Add(after), Tasks: []etcdsource.TaskReport{
			{Name: "web", State: "running", Records: records, Bytes: bytes, Files: 2, LagBytes: 7},
		}}}}}
	}
	var f fleetTop
	f.take(report(0, 100, 1000))
	require.Zero(t, f.view(at).Agents[0].Records, "one report says nothing")
	f.take(report(10*time.Second, 300, 5000))
	f.take(report(10*time.Second, 300, 5000)) // the same one
	v := f.view(at.Add(12 * time.Second))
	require.Equal(t, []topAgentRow{{Name: "a", Tasks: 1, Records: 20, Bytes: 400, LagBytes: 7, Files: 2, Reported: at.Add(10 * time.Second)}}, v.Agents)
	_, rows, _ := v.lines()
	require.True(t, strings.HasSuffix(rows[1], " 2s ago"), rows[1])
	f.take(report(20*time.Second, 10, 50))
	require.Zero(t, f.view(at).Agents[0].Records, "it was started anew")
	f.take(etcdsource.Fleet{})
	require.Empty(t, f.view(at).Agents)
}

func TestAStatusHasTheRoomOfItsTerminal(t *testing.T) {
	text := "head line\n\nTASK  AGENTS\nweb   1\n\nweb is refused on all agents\nsecond\n"
	require.Equal(t, "head l…\n\nTASK  …\nweb   1\n\nweb is \nrefused\n on all\n agents\nsecond", roomFor(text, 7, 20))
	require.Equal(t, "head line\n\nTASK  AGENTS\n… 4 lines more", roomFor(text, 40, 4))
}
