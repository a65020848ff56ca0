package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	look      = 20 * time.Millisecond // between two looks at the fleet
	tellEvery = 10 * time.Second      // between two words on what is waited for
	patience  = 3 * time.Minute       // for the fleet to come to what is waited for
)

// result is all that was measured.
type result struct {
	opts    options
	load    string        // of the machine, before
	started time.Duration // from the first agent's start until all were ready
	edits   []edit
	spreads []spread
	strayed int // sets given to agents that an edit does not select

	rest, editing span
	restarts      []restart
}

// restart is what a restart of members did.
type restart struct {
	name    string
	back    spread        // of an edit made when the members were up again
	ready   time.Duration // until all agents stood in etcd again, from then
	highest float64       // requests in the busiest second
	usual   float64       // requests a second at rest
	cores   float64       // etcd's, from the stop until all were ready
	keys    int64         // registrations in etcd at the end
}

// run is one run. It belongs to one goroutine.
type run struct {
	opts   options
	log    *slog.Logger
	etcd   *etcd
	client *clientv3.Client
	meter  *meter
	fleet  *fleet
	jobs   []job
	number int // of the next edit
	result *result
}

// measure runs all sections. What was measured comes also with an error.
func measure(ctx context.Context, opts options, progress io.Writer) (res *result, err error) {
	r := &run{
		opts: opts, log: slog.New(slog.NewTextHandler(progress, nil)), jobs: opts.jobs(),
		result: &result{opts: opts, load: busy()},
	}
	dir, err := os.MkdirTemp("", "logferry-fleet-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if r.etcd, err = startEtcd(opts, dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.etcd.close()) }()
	r.client, err = clientv3.New(clientv3.Config{Endpoints: r.etcd.endpoints, DialTimeout: etcdTimeout, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	defer func() { _ = r.client.Close() }()
	r.meter = &meter{pid: r.etcd.cmd.Process.Pid, client: r.client, endpoints: r.etcd.endpoints}
	for _, section := range []struct {
		name string
		run  func(context.Context) error
	}{{"start", r.start}, {"rest", r.rest}, {"edits", r.edit}, {"restarts", r.restart}} {
		r.log.Info("section", "name", section.name, "load_average", busy())
		if err := section.run(ctx); err != nil {
			err = fmt.Errorf("section %s: %w", section.name, err)
			return r.result, errors.Join(err, r.end())
		}
	}
	return r.result, r.end()
}

// end stops the agents, and checks that they take their keys away.
func (r *run) end() error {
	if r.fleet == nil {
		return nil
	}
	r.fleet.stop()
	return nil
}

// start writes the tasks and starts the agents.
func (r *run) start(ctx context.Context) (err error) {
	for _, j := range r.jobs {
		if _, err := put(ctx, r.client, j, 0); err != nil {
			return err
		}
	}
	began := time.Now()
	if r.fleet, err = startFleet(ctx, r.opts, r.etcd.endpoints); err != nil {
		return err
	}
	if err := r.await(ctx, "all agents are ready", func() bool { return r.fleet.ready() == len(r.fleet.agents) }); err != nil {
		return err
	}
	r.result.started = time.Since(began)
	return nil
}

// rest measures a fleet in which nothing changes.
func (r *run) rest(ctx context.Context) (err error) {
	if err := pause(ctx, r.opts.settle); err != nil {
		return err
	}
	r.result.rest, err = r.span(ctx, func() error { return pause(ctx, r.opts.steady) })
	return err
}

func (r *run) span(ctx context.Context, do func() error) (s span, err error) {
	if s.from, err = r.meter.read(ctx); err != nil {
		return s, err
	}
	if err := do(); err != nil {
		return s, err
	}
	s.to, err = r.meter.read(ctx)
	return s, err
}

// nextEdit writes the next edit of a task for all or of one for an app.
func (r *run) nextEdit(ctx context.Context, forAll bool) (edit, error) {
	var fit []job
	for _, j := range r.jobs {
		if forAll == (j.app == everyone) {
			fit = append(fit, j)
		}
	}
	if len(fit) == 0 {
		fit = r.jobs
	}
	r.number++
	e, err := put(ctx, r.client, fit[r.number/2%len(fit)], r.number)
	e.want = r.fleet.selected(e.job)
	return e, err
}

// edit makes an edit now and then, and waits for the last one.
func (r *run) edit(ctx context.Context) (err error) {
	res := r.result
	given := r.fleet.given()
	res.editing, err = r.span(ctx, func() error {
		tick := time.NewTicker(max(r.opts.every, time.Millisecond))
		defer tick.Stop()
		for n := range r.opts.edits {
			e, err := r.nextEdit(ctx, n%2 == 0)
			if err != nil {
				return err
			}
			res.edits = append(res.edits, e)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
		return r.awaitEdits(ctx)
	})
	for n, e := range res.edits {
		s := spreadOf(r.fleet.agents, e)
		res.spreads = append(res.spreads, s)
		r.log.Info("edit", "number", n+1, "agents", e.want, "half", s.half, "most", s.most, "all", s.all, "missing", s.missing)
	}
	res.strayed = r.fleet.strayed(given, res.edits)
	return err
}

func (r *run) awaitEdits(ctx context.Context) error {
	return r.await(ctx, "all edits are applied", func() bool {
		for _, e := range r.result.edits {
			if spreadOf(r.fleet.agents, e).missing > 0 {
				return false
			}
		}
		return true
	})
}

// restart stops a member for a while, and then all.
func (r *run) restart(ctx context.Context) error {
	if !r.opts.restarts {
		return nil
	}
	all := make([]int, r.opts.members)
	for i := range all {
		all[i] = i
	}
	if len(all) > 1 {
		if err := r.restartOf(ctx, "one member", all[:1]); err != nil {
			return err
		}
		if err := pause(ctx, r.opts.settle); err != nil {
			return err
		}
	}
	return r.restartOf(ctx, "all members", all)
}

func (r *run) restartOf(ctx context.Context, name string, members []int) error {
	out := restart{name: name}
	before, err := r.meter.read(ctx)
	if err != nil {
		return err
	}
	rest := r.result.rest
	out.usual = (rest.to.requests() - rest.from.requests()) / rest.seconds()
	high := r.meter.watchPeak(ctx)
	defer high.end()
	if err := r.etcd.order("stop", members); err != nil {
		return err
	}
	if err := pause(ctx, r.opts.down); err != nil {
		return err
	}
	if err := r.etcd.order("start", members); err != nil {
		return err
	}
	up := time.Now()
	e, err := r.nextEdit(ctx, true)
	if err != nil {
		return err
	}
	// An agent that has applied an edit made now follows again.
	err = r.await(ctx, "all agents are back", func() bool {
		return r.fleet.ready() == len(r.fleet.agents) && spreadOf(r.fleet.agents, e).missing == 0
	})
	out.ready, out.back, out.highest = time.Since(up), spreadOf(r.fleet.agents, e), high.end()
	after, readErr := r.meter.read(ctx)
	if err := errors.Join(err, readErr); err != nil {
		return err
	}
	out.cores = span{before, after}.cores()
	keys, err := r.client.Get(ctx, "/logferry/agents/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("count registrations: %w", err)
	}
	out.keys = keys.Count
	r.result.restarts = append(r.result.restarts, out)
	return nil
}

// await looks again and again until something is so.
func (r *run) await(ctx context.Context, what string, so func() bool) error {
	timeout, tick, tell := time.NewTimer(patience), time.NewTicker(look), time.NewTicker(tellEvery)
	defer timeout.Stop()
	defer tick.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("it is not so after %s that %s: %d of %d agents are ready", patience, what, r.fleet.ready(), len(r.fleet.agents))
		case <-tell.C:
			ready, trouble := r.fleet.troubles()
			r.log.Info("waiting", "until", what, "ready", ready, "not_ready", trouble)
		case <-tick.C:
			if so() {
				return nil
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
