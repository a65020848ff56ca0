package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"logferry/agent"
)

// When the demo does what, in units of its tempo from the first line on.
const (
	editAfter   = 4
	secondAfter = 8
	removeAfter = 14
	rotateEvery = 6 // of writing
)

const statusTick = 250 * time.Millisecond

// scene is one thing that the demo does by itself.
type scene struct {
	after time.Duration // in units of the tempo
	play  func(ctx context.Context) error
}

// demo runs until ctx ends: it plays a few scenes and then leaves the world to
// the user.
func (s *story) demo(ctx context.Context) error {
	s.lookAround()
	rate := float64(s.opts.rate)
	perFile := max(uint64(rate*rotateEvery*s.opts.tempo.Seconds()), 2)
	access := s.writer.add("web/access.log", rate, func(seq uint64) bool { return seq%perFile == perFile/2 })
	if err := s.put(ctx, "task", "web", s.taskText(webTopic, "web/*.log")); err != nil {
		return s.end(ctx, err)
	}
	s.show.step("writer", "writes %d lines/s to %s", s.opts.rate, access.path)
	s.writer.writeUpTo(access, forever)
	if err := s.firstLine(ctx, access, webTopic); err != nil {
		return s.end(ctx, err)
	}
	s.show.showRecords(true)
	return s.end(ctx, s.play(ctx, s.scenes(rate)))
}

// forever is more lines than anybody will wait for.
const forever = 1 << 30

func (s *story) scenes(rate float64) []scene {
	appLog := s.writer.add("app/app.log", rate/4, nil)
	auditLog := s.writer.add("audit/audit.log", rate/4, nil)
	return []scene{
		{editAfter, func(ctx context.Context) error {
			s.writer.writeUpTo(appLog, forever)
			return s.put(ctx, "edit", "web", s.taskText(webTopic, "web/*.log", "app/*.log"))
		}},
		{secondAfter, func(ctx context.Context) error {
			s.writer.writeUpTo(auditLog, forever)
			if err := s.put(ctx, "task", "audit", s.taskText(auditTopic, "audit/*.log")); err != nil {
				return err
			}
			return s.firstLine(ctx, auditLog, auditTopic)
		}},
		{removeAfter, func(ctx context.Context) error {
			s.writer.pause(auditLog)
			if err := s.streamArrived(ctx, auditLog); err != nil {
				return err
			}
			if err := s.remove(ctx, "audit"); err != nil {
				return err
			}
			s.show.step("yours", "the rest is up to you: try the commands above; Ctrl-C ends it")
			return nil
		}},
	}
}

// play plays the scenes at their times and keeps the status line true, until
// ctx ends. A scene that fails is told, because the user may have changed
// what it builds on.
func (s *story) play(ctx context.Context, scenes []scene) error {
	began := time.Now()
	tick := time.NewTicker(statusTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		s.show.setStatus(s.status())
		if len(scenes) == 0 || time.Since(began) < scenes[0].after*s.opts.tempo {
			continue
		}
		if err := scenes[0].play(ctx); err != nil && ctx.Err() == nil {
			s.show.bad("skipped", "%v", err)
		}
		scenes = scenes[1:]
	}
}

func (s *story) streamArrived(ctx context.Context, l *logFile) error {
	return s.board.wait(ctx, s.opts.patience, "the lines of "+filepath.Base(l.path), func(st *state) string {
		if now := st.stream(l.stream); now.arrived < now.written {
			return fmt.Sprintf("%d of %d arrived", now.arrived, now.written)
		}
		return ""
	})
}

func (s *story) status() (text string) {
	s.board.look(func(st *state) {
		text = fmt.Sprintf("written %s  arrived %s  lag %s  rotations %d  latency p50 %s, p99 %s",
			count(st.written()), count(st.arrived()), size(st.lag()), st.rotations, ms(st.quantile(0.5)), ms(st.quantile(0.99)))
		if st.others > 0 {
			text += fmt.Sprintf("  yours %s", count(st.others))
		}
	})
	return text
}

// end stops the writing, waits a little for the last lines, and tells the
// sums. Ctrl-C is a good end; anything else is not.
func (s *story) end(ctx context.Context, cause error) error {
	s.show.endStatus()
	s.show.showRecords(false)
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		return cause
	}
	ctx = context.WithoutCancel(ctx)
	s.show.step("stop", "writing ends, the last lines are waited for")
	s.writer.pauseAll()
	if err := s.writerPart.stop(); err != nil {
		return err
	}
	waitErr := s.arrived(ctx, s.opts.lastWait)
	if err := s.stopAndRead(ctx); err != nil {
		return err
	}
	if err := s.verdict(); err != nil && waitErr == nil {
		return err
	}
	if waitErr != nil {
		s.show.step("", "what is missing is in files that no task collects now")
	}
	return nil
}

// lookAround shows where everything is and what can be tried.
func (s *story) lookAround() {
	w := s.world
	mine := filepath.Join(w.logs(), "mine")
	etcdctl := "etcdctl --endpoints " + w.etcdEndpoint()
	s.show.blank()
	s.show.table("look at", [][2]string{
		{w.agentURL() + "/", "the status page"},
		{w.agentURL() + "/api/v1/tasks", "the state of each task"},
		{w.agentURL() + "/api/v1/files", "offsets and lag of each file"},
		{w.agentURL() + "/metrics", "for Prometheus"},
		{w.logFile(), "what the agent logs"},
	})
	s.show.table("try", [][2]string{
		{s.opts.command + " task list --etcd " + w.etcdEndpoint()},
		{s.opts.command + " consume " + webTopic + " --brokers " + w.broker()},
		{etcdctl + " put " + agent.DefaultEtcdPrefix + "/tasks/mine '" + s.taskText("mine", "mine/*.log") + "'"},
		{"echo '" + s.taskText("mine", "mine/*.log") + "' | " + s.opts.command + " task put mine -f - --etcd " + w.etcdEndpoint()},
		{"mkdir -p " + mine + " && date >> " + mine + "/a.log"},
	})
	s.show.table("end", [][2]string{{"Ctrl-C"}})
	s.show.blank()
}
