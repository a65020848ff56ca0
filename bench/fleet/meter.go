package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/bench/proc"
)

// counters of etcd's members, which share one process, and so one count.
const (
	requestsMetric = "grpc_server_started_total"      // unary requests and streams, by method
	messagesMetric = "grpc_server_msg_received_total" // also what comes in a stream
	watchersMetric = "etcd_debugging_mvcc_watcher_total"
)

// meter reads what etcd's process has done and cost so far. It may be used
// from several goroutines.
type meter struct {
	pid       int
	client    *clientv3.Client
	endpoints []string
	http      http.Client
}

// reading is what the meter says at one moment.
type reading struct {
	at       time.Time
	own, its proc.Usage // of the simulation, and of etcd's process
	sockets  int        // that etcd's process has open, with those between its members
	revision int64      // one more with each write
	size     int64      // bytes of one member's database
	used     int64      // of these, what is not free for reuse
	leases   int
	counts   map[string]float64 // by metric and method
}

func (m *meter) read(ctx context.Context) (r reading, err error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	r.at = time.Now()
	if r.its, err = proc.UsageOf(m.pid); err != nil {
		return r, err
	}
	if r.own, err = proc.UsageOf(os.Getpid()); err != nil {
		return r, err
	}
	r.sockets = sockets(m.pid)
	if r.counts, err = m.scrape(ctx); err != nil {
		return r, err
	}
	st, err := m.client.Status(ctx, m.endpoints[0])
	if err != nil {
		return r, fmt.Errorf("ask etcd how it stands: %w", err)
	}
	r.revision, r.size, r.used = st.Header.Revision, st.DbSize, st.DbSizeInUse
	leases, err := m.client.Leases(ctx)
	if err != nil {
		return r, fmt.Errorf("count leases: %w", err)
	}
	r.leases = len(leases.Leases)
	return r, nil
}

// scrape reads etcd's metrics from the first member that answers.
func (m *meter) scrape(ctx context.Context) (counts map[string]float64, err error) {
	var errs []error
	for _, e := range m.endpoints {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		resp, err := m.http.Do(req)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		counts, err = parseMetrics(resp.Body)
		_ = resp.Body.Close()
		if err == nil {
			return counts, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("read etcd's metrics: %w", errors.Join(errs...))
}

// parseMetrics keeps the counters of requests, as "METRIC METHOD", and of
// watchers.
func parseMetrics(text io.Reader) (map[string]float64, error) {
	counts := map[string]float64{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, labels, _ := strings.Cut(name, "{")
		switch name {
		case requestsMetric, messagesMetric:
			_, method, _ := strings.Cut(labels, `grpc_method="`)
			method, _, _ = strings.Cut(method, `"`)
			name += " " + method
		case watchersMetric:
		default:
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("parse metric %s: %w", name, err)
		}
		counts[name] += v
	}
	return counts, lines.Err()
}

// watchers is how many watches etcd serves.
func (r reading) watchers() float64 { return r.counts[watchersMetric] }

// requests sums up what clients have asked for: unary requests, and messages
// in streams.
func (r reading) requests() float64 {
	var sum float64
	for name, n := range r.counts {
		if strings.HasPrefix(name, messagesMetric) {
			sum += n
		}
	}
	return sum
}

// sockets counts the sockets of a process.
func sockets(pid int) int {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// span is what happened between two readings.
type span struct{ from, to reading }

func (s span) seconds() float64 { return s.to.at.Sub(s.from.at).Seconds() }

// cores is etcd's processor time, in processors.
func (s span) cores() float64 { return (s.to.its.CPU - s.from.its.CPU).Seconds() / s.seconds() }

// ownCores is that of the simulation.
func (s span) ownCores() float64 { return (s.to.own.CPU - s.from.own.CPU).Seconds() / s.seconds() }

// rate is how often a second something was counted.
func (s span) rate(name string) float64 {
	return (s.to.counts[name] - s.from.counts[name]) / s.seconds()
}

func (s span) writes() int64 { return s.to.revision - s.from.revision }

// peak watches how many requests come in, until it is stopped.
type peak struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	highest float64 // requests in the busiest second
}

const peakLook = 250 * time.Millisecond

func (m *meter) watchPeak(ctx context.Context) *peak {
	ctx, cancel := context.WithCancel(ctx)
	p := &peak{stop: cancel}
	p.done.Go(func() {
		tick := time.NewTicker(peakLook)
		defer tick.Stop()
		var seen []reading // of the last second
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			r := reading{at: time.Now()}
			var err error
			if r.counts, err = m.scrape(ctx); err != nil {
				continue // it is away
			}
			for seen = append(seen, r); r.at.Sub(seen[0].at) > time.Second+peakLook/2; {
				seen = seen[1:]
			}
			if s := (span{seen[0], r}); s.seconds() > 0.9 {
				p.highest = max(p.highest, (r.requests()-seen[0].requests())/s.seconds())
			}
		}
	})
	return p
}

// end returns the requests a second in the busiest second.
func (p *peak) end() float64 {
	p.stop()
	p.done.Wait()
	return p.highest
}
