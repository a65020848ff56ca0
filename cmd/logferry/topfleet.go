package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"logferry/agent/etcdsource"
)

// fleetTop is one run of top for all agents.
type fleetTop struct {
	topRun
	reports map[string]reportPair // by agent
	fleet   etcdsource.Fleet
}

// reportPair is an agent's newest report and the one before it: rates are those
// between the two.
type reportPair struct{ before, now etcdsource.Report }

// take adds what etcd holds now.
func (t *fleetTop) take(fleet etcdsource.Fleet) {
	pairs := make(map[string]reportPair, len(fleet.Members))
	for _, m := range fleet.Members {
		p := t.reports[m.Name]
		if !m.Report.At.Equal(p.now.At) {
			p.before, p.now = p.now, m.Report
		}
		pairs[m.Name] = p
	}
	t.reports, t.fleet = pairs, fleet
}

// rates returns what a task of an agent delivered a second between its two newest
// reports.
func (p reportPair) rates() map[string]topRate {
	out := map[string]topRate{}
	seconds := p.now.At.Sub(p.before.At).Seconds()
	if p.before.At.IsZero() || seconds <= 0 {
		return out
	}
	was := map[string]etcdsource.TaskReport{}
	for _, r := range p.before.Tasks {
		was[r.Name] = r
	}
	for _, r := range p.now.Tasks {
		if w, known := was[r.Name]; known && r.Records >= w.Records && r.Bytes >= w.Bytes { // else it counts anew
			out[r.Name] = topRate{float64(r.Records-w.Records) / seconds, float64(r.Bytes-w.Bytes) / seconds}
		}
	}
	return out
}

type topRate struct{ records, bytes float64 }

// fleetView is one picture of all agents.
type fleetView struct {
	Time    time.Time     `json:"time"`
	Agents  []topAgentRow `json:"agents"`
	Trouble bool          `json:"trouble"` // what exit code 1 stands for

	troubles []string
}

// topAgentRow is one agent. Its numbers are those of its newest report.
type topAgentRow struct {
	Name       string    `json:"name"`
	Host       string    `json:"host,omitempty"`
	Tasks      int       `json:"tasks"`
	Troubled   int       `json:"troubled"` // tasks that are refused or fail
	Records    float64   `json:"records_per_second"`
	Bytes      float64   `json:"bytes_per_second"`
	LagBytes   int64     `json:"lag_bytes"`
	LagSeconds float64   `json:"lag_seconds"` // of the task that is furthest behind
	Files      int       `json:"files"`
	Reported   time.Time `json:"reported,omitzero"`
}

func (t *fleetTop) view(now time.Time) fleetView {
	v := fleetView{Time: now, Agents: []topAgentRow{}}
	rows := map[string]*topAgentRow{}
	for _, m := range t.fleet.Members {
		v.Agents = append(v.Agents, topAgentRow{Name: m.Name, Host: m.Agent.Host, Reported: m.Report.At})
	}
	for i := range v.Agents {
		rows[v.Agents[i].Name] = &v.Agents[i]
	}
	shown, _ := newStatusView(t.fleet, "")
	for _, o := range shown.Tasks {
		for _, on := range o.On {
			row := rows[on.Agent]
			row.Tasks++
			if on.Troubled() {
				row.Troubled++
			}
			row.LagBytes, row.LagSeconds, row.Files = row.LagBytes+on.LagBytes, max(row.LagSeconds, on.LagSeconds), row.Files+on.Files
		}
	}
	for name, pair := range t.reports {
		for _, r := range pair.rates() {
			rows[name].Records, rows[name].Bytes = rows[name].Records+r.records, rows[name].Bytes+r.bytes
		}
	}
	v.Trouble, v.troubles = shown.Trouble, shown.troubleLines()
	return v
}

// fleetOrders are the orders of rows by the key that chooses them.
var fleetOrders = map[byte]func(a, b topAgentRow) int{
	'n': func(a, b topAgentRow) int { return strings.Compare(a.Name, b.Name) },
	'r': func(a, b topAgentRow) int { return cmp.Compare(b.Records, a.Records) },
	'l': func(a, b topAgentRow) int { return cmp.Compare(b.LagBytes, a.LagBytes) },
}

func (v fleetView) troubled() bool { return v.Trouble }

func (v fleetView) ordered(key byte) topPicture {
	v.Agents = slices.Clone(v.Agents)
	slices.SortStableFunc(v.Agents, fleetOrders[key])
	return v
}

func (v fleetView) lines() (head, rows, troubles []string) {
	var sum topAgentRow
	rows = tableLines(func(t *table) {
		t.row("AGENT", "HOST", "TASKS", "TROUBLED", "RECORDS/S", "BYTES/S", "LAG", "BEHIND", "FILES", "REPORTED")
		for _, r := range v.Agents {
			sum.Records, sum.Bytes, sum.LagBytes, sum.Files = sum.Records+r.Records, sum.Bytes+r.Bytes, sum.LagBytes+r.LagBytes, sum.Files+r.Files
			reported := "-"
			if !r.Reported.IsZero() {
				reported = max(v.Time.Sub(r.Reported), 0).Round(time.Second).String() + " ago"
			}
			t.row(r.Name, textOrDash(r.Host), r.Tasks, r.Troubled, rateWords(r.Records), byteWords(int64(r.Bytes)), byteWords(r.LagBytes), behind(r.LagSeconds), r.Files, reported)
		}
	})
	head = []string{
		fmt.Sprintf("%s, at %s", count(len(v.Agents), "agent"), v.Time.Format(time.TimeOnly)),
		fmt.Sprintf("%s, %s records/s, %s/s, %s behind", count(sum.Files, "file"), rateWords(sum.Records), byteWords(int64(sum.Bytes)), byteWords(sum.LagBytes)),
	}
	for _, line := range v.troubles {
		troubles = append(troubles, harmless(line))
	}
	return head, rows, troubles
}

// run shows the fleet as the flags of top ask for.
func (t *fleetTop) run(ctx context.Context, s remote, once bool) error {
	fleet, err := s.Fleet(ctx)
	if err != nil {
		return err
	}
	t.take(fleet)
	if once {
		return t.showLast(t.view(time.Now()))
	}
	out := asTerminal(t.app.out)
	if out == nil || t.output.format == "json" {
		return t.follow(ctx, s)
	}
	ctx, stop := context.WithCancel(ctx)
	moments, done := make(chan topMoment), make(chan struct{})
	defer func() { stop(); <-done }()
	began := topMoment{view: t.view(time.Now()), at: time.Now()}
	go func() {
		defer close(done)
		t.watchFleet(ctx, s, func(m topMoment) {
			select {
			case moments <- m:
			case <-ctx.Done():
			}
		})
	}()
	return t.app.drive(ctx, out, began, moments)
}

// watchFleet shows the fleet at each change and, as rates and ages move on by
// themselves, at each interval, until ctx ends.
func (t *fleetTop) watchFleet(ctx context.Context, s remote, show func(topMoment)) {
	type news struct {
		fleet etcdsource.Fleet
		lost  error
	}
	fleets, done := make(chan news), make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	defer func() { stop(); <-done }()
	go func() {
		defer close(done)
		tell := func(fleet etcdsource.Fleet, lost error) {
			select {
			case fleets <- news{fleet, lost}:
			case <-ctx.Done():
			}
		}
		if err := s.WatchFleet(ctx, t.interval, tell); err != nil {
			tell(etcdsource.Fleet{}, err)
		}
	}()
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	seen, lost := time.Now(), error(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-fleets:
			if lost = n.lost; lost == nil {
				t.take(n.fleet)
				seen = time.Now()
			}
		case <-tick.C:
		}
		at := time.Now()
		if lost != nil {
			at = seen
		}
		show(topMoment{view: t.view(at), at: seen, lost: lost})
	}
}

// follow writes one picture after the other, until Ctrl-C.
func (t *fleetTop) follow(ctx context.Context, s remote) error {
	var failed error
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t.watchFleet(ctx, s, func(m topMoment) {
		if m.lost != nil {
			return
		}
		if failed = t.showNext(m.view); failed != nil {
			stop()
		}
	})
	return failed
}
