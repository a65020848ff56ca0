package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"logferry/bench/proc"
)

// leftOut says why a contender cannot take part in a run. It is no failure:
// the report says so instead of showing a number.
type leftOut string

func (l leftOut) Error() string { return "left out: " + string(l) }

// stopGrace is how long a contender may take to end on SIGTERM.
const stopGrace = 30 * time.Second

// running is a contender at work.
type running struct {
	*proc.Proc
	name  string
	state string
	http  atomic.Pointer[string] // address of its HTTP; nil until it is logged
}

// start starts a contender on a job with an empty state directory.
func (b *bench) start(c contender, j job) (*running, error) {
	state, err := os.MkdirTemp(b.dir, "state-*")
	if err != nil {
		return nil, err
	}
	j.state = state
	r := &running{name: c.Name(), state: state}
	cmd, err := c.Command(j)
	if err == nil {
		r.Proc, err = proc.Start(cmd, r.line)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	return r, nil
}

// line looks for the HTTP address in logferry's log.
func (r *running) line(text string) {
	var entry struct {
		Msg  string `json:"msg"`
		HTTP string `json:"http"`
	}
	if strings.Contains(text, `"agent started"`) && json.Unmarshal([]byte(text), &entry) == nil && entry.HTTP != "" {
		r.http.Store(&entry.HTTP)
	}
}

// ended is the error for a contender that ended by itself; nil while it runs.
func (r *running) ended() error {
	select {
	case <-r.Done():
	default:
		return nil
	}
	if r.ExitCode() == exitBadConfig {
		return leftOut(reason(r.Output()))
	}
	return fmt.Errorf("%s ended with code %d:\n%s", r.name, r.ExitCode(), r.Output())
}

// stop ends it and removes its state.
func (r *running) stop() error {
	err := r.Stop(stopGrace)
	if err != nil {
		err = fmt.Errorf("%s %w", r.name, err)
	}
	return errors.Join(err, os.RemoveAll(r.state))
}

// metric sums the series of one of logferry's metrics.
func (r *running) metric(ctx context.Context, name string) (float64, error) {
	addr := r.http.Load()
	if addr == nil {
		return 0, errors.New("no metrics: its HTTP address is not known")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+*addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	sum, found := 0.0, false
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		series, value, _ := strings.Cut(sc.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return sum, nil
}
