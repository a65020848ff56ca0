package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"logferry/agent/etcdsource"
)

// frozenLeader stops the agent that moves the rollout on, so that it lives and
// says nothing; it comes back when another has taken its place.
func (s *story) frozenLeader(ctx context.Context) error {
	if _, err := s.store(ctx, s.task("shop_log_0", "rollout: {waves: [ring=canary, all], pause: 5s, timeout: 60s}\n")); err != nil {
		return err
	}
	o, err := s.says(ctx, "somebody moves it on", func(o etcdsource.TaskOverview) bool {
		return o.Rollout != nil && o.Rollout.Leader != "" && o.Rollout.Have == 1
	})
	if err != nil {
		return err
	}
	first := o.Rollout.Leader
	i := slices.IndexFunc(s.hosts, func(h *host) bool { return h.id == first })
	if i < 0 {
		return fmt.Errorf("%s moves it on, which is no agent here", first)
	}
	if err := s.hosts[i].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	o, err = s.says(ctx, "another agent moves it on", func(o etcdsource.TaskOverview) bool {
		return o.Rollout == nil || o.Rollout.Leader != "" && o.Rollout.Leader != first
	})
	err = errors.Join(err, s.hosts[i].signal(syscall.SIGCONT))
	if err == nil && o.Rollout == nil {
		err = errors.New("the change reached every agent before another took the turn")
	}
	if err != nil {
		return err
	}
	second := o.Rollout.Leader
	_, err = s.says(ctx, "it has reached every agent", func(o etcdsource.TaskOverview) bool { return o.Rollout == nil && o.Running == 2 })
	s.outcome(err, "leader", "%s, which moved a rollout on, was frozen; %s took its place, and both agents have the change", first, second)
	return err
}

func (s *story) memberKill(ctx context.Context) error {
	if err := s.etcd.Stop(0); err != nil {
		return err
	}
	rev, err := s.put(ctx, "shop", s.task("shop_log_1", ""))
	if err != nil {
		return err
	}
	took, err := s.everywhere(ctx, rev)
	s.outcome(err, "etcd", "one of three members is gone; an edit is on both agents %s after its put", took.Round(time.Millisecond))
	if err != nil {
		return err
	}
	return s.etcd.Restart(ctx, 0)
}

func (s *story) compaction(ctx context.Context) error {
	if err := s.hosts[0].stop(); err != nil {
		return err
	}
	if _, err := s.put(ctx, "shop", s.task("shop_log_0", "")); err != nil {
		return err
	}
	rev, err := s.put(ctx, "shop", s.task("shop_log", ""))
	if err != nil {
		return err
	}
	if err := s.compact(ctx); err != nil {
		return err
	}
	if err := s.hosts[0].start(); err != nil {
		return err
	}
	_, err = s.everywhere(ctx, rev)
	s.outcome(err, "compaction", "web-2 was away while the task changed twice and etcd forgot: it runs revision %d", rev)
	return err
}

func (s *story) restartWithoutEtcd(ctx context.Context) error {
	for i := range 3 {
		if err := s.etcd.Stop(i); err != nil {
			return err
		}
	}
	h := s.hosts[0]
	if err := h.stop(); err != nil {
		return err
	}
	if err := h.start(); err != nil {
		return err
	}
	err := until(ctx, "web-2 ships without etcd", func() (bool, error) {
		v, err := h.tasks(ctx)
		return err == nil && len(v.Tasks) == 1 && v.Tasks[0].State == "running" && v.Tasks[0].Files == 1, err
	})
	s.outcome(err, "etcd", "no member runs; web-2 is started and ships what it knows")
	if err != nil {
		return err
	}
	if err := s.etcd.Restart(ctx, 0, 1, 2); err != nil {
		return err
	}
	rev, err := s.put(ctx, "shop", s.task("shop_log_1", ""))
	if err == nil {
		_, err = s.everywhere(ctx, rev)
	}
	if err == nil {
		_, err = s.says(ctx, "both are back", func(o etcdsource.TaskOverview) bool { return o.Running == 2 && o.Pending == 0 })
	}
	s.outcome(err, "etcd", "all members are back; an edit is on both agents")
	return err
}

func (s *story) delivery(ctx context.Context) error {
	if err := s.log.stop(); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	for _, h := range s.hosts[:2] {
		err := until(ctx, h.id+" has delivered all", func() (bool, error) {
			v, err := h.tasks(ctx)
			return err == nil && len(v.Tasks) == 1 && v.Tasks[0].Lag == 0 && v.Tasks[0].Files == 1, err
		})
		if err != nil {
			return err
		}
	}
	for _, h := range s.hosts {
		if err := h.stop(); err != nil {
			return err
		}
	}
	records, err := s.delivered(ctx, s.log.next, "web-1", "web-2")
	s.outcome(err, "lines", "%d lines were written, each of two agents delivered each once: %d records; lost 0, doubled 0", s.log.next, records)
	return err
}
