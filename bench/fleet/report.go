package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"logferry/bench/stats"
)

// busy is the load average of the last minute: what else the machine does.
func busy() string {
	b, _ := os.ReadFile("/proc/loadavg") // what is missing is not told
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

func megabytes(n int64) string { return stats.Number(float64(n)/1e6) + " MB" }

// print writes what was measured, as far as it was.
func (r *result) print(out io.Writer) {
	o := r.opts
	fmt.Fprintf(out, "%d agents, %d tasks, etcd of %d member(s) in one process beside them, %d cores, load average %s before\n\n",
		o.agents, o.tasks, o.members, runtime.NumCPU(), r.load)
	t := stats.NewTable(1, "", "measured")
	if r.started > 0 {
		t.Add("start of all agents, "+fmt.Sprint(o.ramp)+" a second", seconds(r.started))
	}
	if !r.rest.to.at.IsZero() {
		r.rest.addTo(t, "at rest", o.agents)
	}
	if len(r.spreads) > 0 {
		r.addEdits(t)
	}
	if !r.editing.to.at.IsZero() {
		r.editing.addTo(t, "while edited", o.agents)
	}
	for _, s := range r.restarts {
		at := s.name + " away for " + o.down.String()
		t.Add(at+": then 50 %, 99 %, all agents follow after", spreadText([]spread{s.back}, 0.5))
		t.Add(at+": all stand in etcd after", seconds(s.ready))
		t.Add(at+": requests in the busiest second (at rest)", fmt.Sprintf("%s (%s)", stats.Number(s.highest), stats.Number(s.usual)))
		t.Add(at+": etcd's cores until then", stats.Number(s.cores))
	}
	fmt.Fprint(out, t.Markdown())
}

// addEdits adds the time until agents had an edit, for the two kinds of edits.
func (r *result) addEdits(t *stats.Table) {
	for _, all := range []bool{true, false} {
		var of []spread
		want := 0
		for i, s := range r.spreads {
			if (r.edits[i].job.app == everyone) == all {
				of = append(of, s)
				want = r.edits[i].want
			}
		}
		if len(of) == 0 {
			continue
		}
		what := fmt.Sprintf("edit for %d agents, on 50 %%, 99 %%, all of them: ", want)
		t.Add(what+"median", spreadText(of, 0.5))
		t.Add(what+"p99", spreadText(of, 0.99))
	}
	missing := 0
	for _, s := range r.spreads {
		missing += s.missing
	}
	t.Add("agents that an edit did not reach; sets given to others than it selects", fmt.Sprintf("%d; %d", missing, r.strayed))
}

// spreadText is a quantile of each part over edits.
func spreadText(of []spread, q float64) string {
	var parts []string
	for _, part := range []func(spread) time.Duration{
		func(s spread) time.Duration { return s.half }, func(s spread) time.Duration { return s.most }, func(s spread) time.Duration { return s.all },
	} {
		values := make([]float64, len(of))
		for i, s := range of {
			values[i] = part(s).Seconds()
		}
		parts = append(parts, stats.Number(stats.Quantile(values, q)))
	}
	return strings.Join(parts, ", ") + " s"
}

// addTo adds what etcd did and cost.
func (s span) addTo(t *stats.Table, when string, agents int) {
	t.Add("etcd's cores "+when, stats.Number(s.cores()))
	t.Add("the simulation's cores "+when, stats.Number(s.ownCores()))
	t.Add("etcd's memory "+when+", the most so far", megabytes(s.to.its.RSS)+", "+megabytes(s.to.its.PeakRSS))
	t.Add("the simulation's memory "+when, megabytes(s.to.own.RSS))
	t.Add("sockets of etcd "+when, stats.Count(int64(s.to.sockets)))
	t.Add("watches, leases "+when, stats.Count(int64(s.to.watchers()))+", "+stats.Count(int64(s.to.leases)))
	t.Add("writes per agent in 30 s "+when, stats.Number(float64(s.writes())/float64(agents)*30/s.seconds()))
	t.Add("database of a member "+when+", growth an hour", megabytes(s.to.size)+", "+megabytes(int64(float64(s.to.size-s.from.size)*3600/s.seconds())))
	var names []string
	for name := range s.to.counts {
		if strings.HasPrefix(name, messagesMetric) && s.rate(name) >= 0.5 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(s.rate(b) - s.rate(a)) })
	for _, name := range names {
		t.Add("requests a second "+when+": "+strings.TrimPrefix(name, messagesMetric+" "), stats.Number(s.rate(name)))
	}
}
