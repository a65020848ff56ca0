package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"logferry/agent"
)

// topSample is what an agent said at one moment.
type topSample struct {
	at    time.Time
	agent topAgent
	tasks agent.TaskList
}

// topAgent is what top shows of /api/v1/agent.
type topAgent struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
}

// topView is one picture: an agent and its tasks, with rates since the sample before.
type topView struct {
	Agent   topAgent  `json:"agent"`
	Time    time.Time `json:"time"`
	Tasks   []topTask `json:"tasks"`
	Trouble bool      `json:"trouble"` // what exit code 1 stands for
}

type topTask struct {
	Name        string          `json:"name"`
	State       agent.TaskState `json:"state"`
	Topic       string          `json:"topic,omitempty"`
	Records     float64         `json:"records_per_second"` // acknowledged by Kafka
	Bytes       float64         `json:"bytes_per_second"`
	LagBytes    int64           `json:"lag_bytes"`
	LagSeconds  float64         `json:"lag_seconds"`
	Files       int             `json:"files"`
	Buffered    int             `json:"buffered_bytes"`
	Errors      uint64          `json:"produce_errors"` // since the agent's start
	DeadLetters uint64          `json:"dead_letters"`   // since the agent's start
	Error       string          `json:"error,omitempty"`
}

// newTopView compares two samples; rates are 0 where there is nothing to compare.
func newTopView(before, now topSample) topView {
	v := topView{Agent: now.agent, Time: now.at, Tasks: []topTask{}}
	old := map[string]agent.TaskStatus{}
	if before.agent.Started.Equal(now.agent.Started) { // it counts from its start
		for _, t := range before.tasks.Tasks {
			old[t.Name] = t
		}
	}
	seconds := now.at.Sub(before.at).Seconds()
	for _, t := range now.tasks.Tasks {
		row := topTask{
			Name: t.Name, State: t.State, LagBytes: t.LagBytes, LagSeconds: t.LagSeconds, Files: t.Files,
			Buffered: t.BufferedBytes, Errors: t.ProduceErrors, DeadLetters: t.DeadLetters, Error: t.Error,
		}
		if t.Task != nil {
			row.Topic = t.Task.Topic
		}
		if was, ok := old[t.Name]; ok && seconds > 0 && t.AckedRecords >= was.AckedRecords && t.AckedBytes >= was.AckedBytes {
			row.Records = float64(t.AckedRecords-was.AckedRecords) / seconds
			row.Bytes = float64(t.AckedBytes-was.AckedBytes) / seconds
		}
		v.Trouble = v.Trouble || t.State == agent.TaskFailing || t.Refused || t.State == agent.TaskRefused
		v.Tasks = append(v.Tasks, row)
	}
	return v
}

// topOrders are the orders of rows by the key that chooses them.
var topOrders = map[byte]func(a, b topTask) int{
	'n': func(a, b topTask) int { return strings.Compare(a.Name, b.Name) },
	'r': func(a, b topTask) int { return cmp.Compare(b.Records, a.Records) },
	'l': func(a, b topTask) int { return cmp.Compare(b.LagBytes, a.LagBytes) },
}

func (v topView) troubled() bool { return v.Trouble }

func (v topView) ordered(key byte) topPicture {
	v.Tasks = slices.Clone(v.Tasks)
	slices.SortStableFunc(v.Tasks, topOrders[key])
	return v
}

// lines are the picture for people: the agent, a row a task, and what is wrong.
func (v topView) lines() (head, rows, troubles []string) {
	var sum topTask
	for _, t := range v.Tasks {
		sum.Records, sum.Bytes, sum.LagBytes, sum.Files = sum.Records+t.Records, sum.Bytes+t.Bytes, sum.LagBytes+t.LagBytes, sum.Files+t.Files
		if t.Error != "" {
			troubles = append(troubles, harmless(fmt.Sprintf("%s is %s: %s", t.Name, t.State, t.Error)))
		}
	}
	about := "agent " + v.Agent.ID
	if v.Agent.Host != "" && v.Agent.Host != v.Agent.ID {
		about += " on " + v.Agent.Host
	}
	if v.Agent.Version != "" {
		about += ", " + v.Agent.Version
	}
	if !v.Agent.Started.IsZero() {
		about += ", up " + v.Time.Sub(v.Agent.Started).Round(time.Second).String()
	}
	head = []string{
		fmt.Sprintf("%s, at %s", about, v.Time.Format(time.TimeOnly)),
		fmt.Sprintf("%s, %s, %s records/s, %s/s, %s behind", count(len(v.Tasks), "task"), count(sum.Files, "file"), rateWords(sum.Records), byteWords(int64(sum.Bytes)), byteWords(sum.LagBytes)),
	}
	rows = tableLines(func(t *table) {
		t.row("TASK", "STATE", "RECORDS/S", "BYTES/S", "LAG", "BEHIND", "FILES", "BUFFERED", "ERRORS", "DEAD", "TOPIC")
		for _, r := range v.Tasks {
			t.row(r.Name, r.State, rateWords(r.Records), byteWords(int64(r.Bytes)), byteWords(r.LagBytes), behind(r.LagSeconds), r.Files, byteWords(int64(r.Buffered)), r.Errors, r.DeadLetters, textOrDash(r.Topic))
		}
	})
	return head, rows, troubles
}

// tableLines are the lines of a table.
func tableLines(fill func(t *table)) []string {
	var text strings.Builder
	t := &table{w: tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)}
	fill(t)
	_ = t.w.Flush() // a Builder takes everything
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func rateWords(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	case n > 0 && n < 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

// screenful lays a picture out for a terminal of that size: what does not fit is
// cut on the right and counted below. foot is its last line.
func screenful(v topPicture, foot string, columns, rows int) string {
	head, table, troubles := v.lines()
	all := append(append(append(head, ""), table...), "")
	all = append(all, troubles...)
	all = atMost(all, rows-1)
	for len(all) < rows-1 {
		all = append(all, "")
	}
	all = append(all, foot)
	var out strings.Builder
	out.WriteString(ansiHome)
	for i, line := range all {
		if i > 0 {
			out.WriteString("\r\n")
		}
		out.WriteString(fitted(line, columns) + ansiClear)
	}
	out.WriteString(ansiBelow)
	return out.String()
}

// atMost keeps as many lines as there is room for, and counts the others in the last one.
func atMost(lines []string, room int) []string {
	if len(lines) <= room {
		return lines
	}
	cut := max(room-1, 0)
	return append(lines[:cut:cut], fmt.Sprintf("… %s more", count(len(lines)-cut, "line")))
}

// harmless takes out what a terminal would obey.
func harmless(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, line)
}

// fitted cuts a line to a width.
func fitted(line string, columns int) string {
	runes := []rune(harmless(line))
	if len(runes) > columns {
		runes = append(runes[:max(columns-1, 0)], '…')
	}
	return string(runes)
}
