package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"logferry/agent/etcdsource"
	"logferry/agent/rollout"
)

const (
	stepPatience = 90 * time.Second
	lookEvery    = 25 * time.Millisecond
)

// story is the check on its way.
type story struct {
	*show
	*world
	edits int
}

// check tells the whole story; its error is the first thing that is not as it
// should be.
func check(ctx context.Context, opts options, s *show) (err error) {
	st := &story{show: s, world: &world{}, edits: 20}
	if opts.quick {
		st.edits = 3
	}
	defer func() {
		if err != nil {
			for _, h := range st.hosts {
				err = fmt.Errorf("%w\n%s logged%s", err, h.id, h.tail())
			}
		}
		err = errors.Join(err, st.close())
		if err == nil {
			s.step("result", "all is as it should be")
		}
	}()
	if opts.logferry, err = filepath.Abs(opts.logferry); err != nil {
		return err
	}
	if err := st.open(ctx, opts); err != nil {
		return err
	}
	s.step("etcd", "three members are up: %s", strings.Join(st.etcd.Endpoints(), " "))
	s.step("kafka", "%s is up at %s", st.kafka, st.brokers[0])
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return st.agents(ctx, opts.logferry) },
		st.selectors, st.refusal, st.waves, st.canary, st.frozenLeader, st.edit, st.memberKill, st.compaction, st.restartWithoutEtcd, st.delivery,
	} {
		ctx, cancel := context.WithTimeout(ctx, stepPatience)
		err := step(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// until waits for something that is told should it never come.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last error
	for {
		done, err := ok()
		if done {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it never came that %s: %w", what, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
	}
}

func (s *story) agents(ctx context.Context, binary string) error {
	for id, labels := range map[string]string{"web-1": "env: prod, ring: canary", "web-2": "env: prod, ring: main", "db-1": "env: test, ring: main"} {
		if _, err := s.addHost(binary, id, labels); err != nil {
			return err
		}
	}
	slices.SortFunc(s.hosts, func(a, b *host) int { return strings.Compare(b.id, a.id) }) // web-2 web-1 db-1
	err := until(ctx, "three agents stand in etcd", func() (bool, error) {
		out, err := s.logferry(ctx, "agents")
		return strings.Count(out.text, "\n") == 4, err
	})
	s.outcome(err, "agents", "logferry agents lists web-1 (env=prod, ring=canary), web-2 (env=prod), db-1 (env=test)")
	return err
}

// outcome tells a step that is done.
func (s *story) outcome(err error, label, format string, args ...any) {
	if err == nil {
		s.step(label, format, args...)
		return
	}
	s.step(label, "FAILED: %v", err)
}

// task is the text of the task shop, for the agents with env=prod.
func (s *story) task(topic, more string) string {
	if !slices.Contains(s.topics, topic) {
		s.topics = append(s.topics, topic)
	}
	return fmt.Sprintf("paths: [%q]\ntopic: %s\nkey: host\nselect: {labels: {env: prod}}\n%s", s.log.path, topic, more)
}

// everywhere waits until each agent that is meant runs a revision, by their own
// word, and returns how long that took.
func (s *story) everywhere(ctx context.Context, rev int64) (time.Duration, error) {
	began := time.Now()
	err := until(ctx, fmt.Sprintf("web-1 and web-2 run revision %d", rev), func() (bool, error) {
		for _, h := range s.hosts[:2] {
			v, err := h.tasks(ctx)
			if err != nil || len(v.Tasks) != 1 || v.Tasks[0].State != "running" || v.Tasks[0].Revision != rev {
				return false, err
			}
		}
		return true, nil
	})
	return time.Since(began), err
}

// says waits until logferry status says something of the task.
func (s *story) says(ctx context.Context, what string, ok func(o etcdsource.TaskOverview) bool) (o etcdsource.TaskOverview, err error) {
	err = until(ctx, "logferry status says that "+what, func() (bool, error) {
		o, err = s.status(ctx, "shop")
		return err == nil && ok(o), err
	})
	return o, err
}

func (s *story) selectors(ctx context.Context) error {
	rev, err := s.put(ctx, "shop", s.task("shop_log", ""))
	if err != nil {
		return err
	}
	if _, err = s.everywhere(ctx, rev); err != nil {
		return err
	}
	if _, err = s.says(ctx, "two agents run it", func(o etcdsource.TaskOverview) bool { return o.Agents == 2 && o.Running == 2 }); err != nil {
		return err
	}
	v, err := s.hosts[2].tasks(ctx)
	if err == nil && len(v.Tasks) > 0 {
		err = errors.New("db-1 has a task that is not for it")
	}
	s.outcome(err, "selector", "a task for env=prod runs on web-1 and web-2, and db-1 does nothing for it")
	return err
}

func (s *story) edit(ctx context.Context) error {
	var took []time.Duration
	for i := range s.edits {
		rev, err := s.put(ctx, "shop", s.task(fmt.Sprintf("shop_log_%d", i%2), ""))
		if err != nil {
			return err
		}
		d, err := s.everywhere(ctx, rev)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	s.step("edit", "%d edits of the topic: on both agents after %s (median), %s (slowest)", s.edits,
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	return nil
}

func (s *story) refusal(ctx context.Context) error {
	before := s.topics[len(s.topics)-1]
	began := time.Now()
	if _, err := s.put(ctx, "shop", "paths: [/etc/passwd]\ntopic: x\nselect: {labels: {env: prod}}\n"); err != nil {
		return err
	}
	o, err := s.says(ctx, "both refuse it", func(o etcdsource.TaskOverview) bool { return o.Refused == 2 })
	if err != nil {
		return err
	}
	out, err := s.logferry(ctx, "status", "shop")
	if err == nil && (out.code != 1 || !strings.Contains(out.text, "allow_paths")) {
		err = fmt.Errorf("logferry status ends with exit code %d and says: %s", out.code, out.text)
	}
	s.outcome(err, "refusal", "a task outside of allow_paths: status says so after %s, exit code 1: %s", time.Since(began).Round(time.Millisecond), o.On[0].Error)
	if err != nil {
		return err
	}
	for _, h := range s.hosts[:2] {
		err := until(ctx, h.id+" runs the last good version", func() (bool, error) {
			v, err := h.tasks(ctx)
			return err == nil && len(v.Tasks) == 1 && v.Tasks[0].State == "running" && v.Tasks[0].Files == 1, err
		})
		if err != nil {
			return err
		}
	}
	rev, err := s.put(ctx, "shop", s.task(before, ""))
	if err == nil {
		_, err = s.everywhere(ctx, rev)
	}
	s.outcome(err, "refusal", "meanwhile the last good version ran; the task is valid again")
	return err
}

// store puts a task with the command, which tells what it will do.
func (s *story) store(ctx context.Context, text string) (output, error) {
	file := filepath.Join(s.dir, "shop.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return output{}, err
	}
	out, err := s.logferry(ctx, "task", "put", "shop", "-f", file)
	if err == nil && out.code != 0 {
		err = fmt.Errorf("logferry task put says: %s", out.text)
	}
	return out, err
}

func (s *story) waves(ctx context.Context) error {
	out, err := s.store(ctx, s.task("shop_log", "rollout: {waves: [ring=canary, all], pause: 1s, timeout: 30s}\n"))
	if err != nil {
		return err
	}
	s.step("rollout", "logferry task put says: %s", strings.Split(out.text, "\n")[1])
	o, err := s.says(ctx, "it has reached every agent", func(o etcdsource.TaskOverview) bool { return o.Rollout == nil && o.Running == 2 })
	s.outcome(err, "rollout", "web-1 first, then web-2: revision %d runs on %d agents", o.Revision, o.Running)
	return err
}

func (s *story) canary(ctx context.Context) error {
	v, err := s.hosts[0].tasks(ctx)
	if err != nil {
		return err
	}
	started := v.Tasks[0].Started
	if _, err := s.store(ctx, s.task("shop_log", "cluster: elsewhere\nrollout: {waves: [ring=canary, all], pause: 10m, timeout: 2s, max_lag: 1s}\n")); err != nil {
		return err
	}
	o, err := s.says(ctx, "it went back and runs", func(o etcdsource.TaskOverview) bool {
		return o.Rollout != nil && o.Rollout.Phase == rollout.Back && o.Running == 2
	})
	if err != nil {
		return err
	}
	out, err := s.logferry(ctx, "status", "shop")
	if err == nil && (out.code != 1 || o.Rollout.Agent != "web-1" || o.Rollout.Wave != 1) {
		err = fmt.Errorf("logferry status ends with exit code %d and says: %s", out.code, out.text)
	}
	if v, viewErr := s.hosts[0].tasks(ctx); err == nil && (viewErr != nil || !v.Tasks[0].Started.Equal(started)) {
		err = fmt.Errorf("web-2, which is no canary, was restarted: %w", viewErr)
	}
	lines := strings.Split(strings.TrimSpace(out.text), "\n")
	s.outcome(err, "canary", "%s", lines[len(lines)-1])
	return err
}
