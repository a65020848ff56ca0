package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// writeTime is about how long the writing takes in all, whatever the number
// of lines: long enough for a rotation and an edit to happen in its midst.
const writeTime = 1500 * time.Millisecond

// errIncomplete says that not each line arrived exactly once; what is wrong
// was shown already.
var errIncomplete = errors.New("not every line arrived exactly once and in order")

// once writes a fixed number of lines through two renames, an edit of the
// task and a second task, and checks that each arrived.
//
// The writer is let on in stretches, so that each event falls into the midst
// of the writing however fast or slow the machine is.
func (s *story) once(ctx context.Context) error {
	web, app := s.opts.lines*6/10, s.opts.lines*2/10
	audit := s.opts.lines - web - app
	rate := float64(web) / writeTime.Seconds()
	access := s.writer.add("web/access.log", rate, func(seq uint64) bool { return seq == web/5 || seq == web*9/10 })
	appLog := s.writer.add("app/app.log", rate, nil)
	auditLog := s.writer.add("audit/audit.log", rate, nil)

	if err := s.put(ctx, "task", "web", s.taskText(webTopic, "web/*.log")); err != nil {
		return err
	}
	s.show.step("writer", "writes %s lines to %s", count(web), access.path)
	s.writer.writeUpTo(access, web*4/10)
	if err := s.firstLine(ctx, access, webTopic); err != nil {
		return err
	}
	if err := s.written(ctx, access, web*3/10); err != nil {
		return err
	}
	s.writer.writeUpTo(access, web*8/10)
	if err := s.put(ctx, "edit", "web", s.taskText(webTopic, "web/*.log", "app/*.log")); err != nil {
		return err
	}
	s.show.step("writer", "goes on, and writes %s lines to %s as well", count(app), appLog.path)
	s.writer.writeUpTo(access, web)
	s.writer.writeUpTo(appLog, app)
	if err := s.put(ctx, "task", "audit", s.taskText(auditTopic, "audit/*.log")); err != nil {
		return err
	}
	s.show.step("writer", "writes %s lines to %s", count(audit), auditLog.path)
	s.writer.writeUpTo(auditLog, audit)
	if err := s.firstLine(ctx, auditLog, auditTopic); err != nil {
		return err
	}
	return s.finish(ctx, access, appLog, auditLog)
}

func (s *story) written(ctx context.Context, l *logFile, lines uint64) error {
	return s.board.wait(ctx, s.opts.patience, "the writer", func(st *state) string {
		if n := st.stream(l.stream).written; n < lines {
			return fmt.Sprintf("%d of %d lines are written to %s", n, lines, l.path)
		}
		return ""
	})
}

// finish waits for the last lines, removes the tasks, stops the agent, reads
// the topics to their ends, and gives the verdict.
func (s *story) finish(ctx context.Context, logs ...*logFile) error {
	for _, l := range logs {
		if err := s.written(ctx, l, l.goalNow(s.writer)); err != nil {
			return err
		}
	}
	if err := s.writerPart.stop(); err != nil {
		return err
	}
	waitErr := s.arrived(ctx, s.opts.patience)
	if waitErr == nil {
		waitErr = s.rotationsSeen(ctx)
	}
	if waitErr == nil {
		for _, name := range []string{"audit", "web"} {
			if err := s.remove(ctx, name); err != nil {
				return err
			}
		}
	} else if ctx.Err() != nil {
		return waitErr
	}
	if err := s.stopAndRead(ctx); err != nil {
		return errors.Join(waitErr, err)
	}
	if err := s.verdict(); err != nil {
		return errors.Join(waitErr, err)
	}
	return waitErr
}

// arrived waits until every line that was written has arrived.
func (s *story) arrived(ctx context.Context, patience time.Duration) error {
	return s.board.wait(ctx, patience, "the lines to arrive", func(st *state) string {
		missing := ""
		for _, id := range slices.Sorted(maps.Keys(st.streams)) {
			if l := st.stream(id); l.arrived < l.written {
				missing += fmt.Sprintf("%d of %d lines of log %d arrived; ", l.arrived, l.written, id)
			}
		}
		if missing == "" {
			return ""
		}
		return missing + fmt.Sprintf("the agent reports a lag of %d bytes", st.lag())
	})
}

func (s *story) rotationsSeen(ctx context.Context) error {
	return s.board.wait(ctx, s.opts.patience, "the agent to notice each rotation", func(st *state) string {
		if st.seen < st.rotations {
			return fmt.Sprintf("it has noticed %d of %d", st.seen, st.rotations)
		}
		return ""
	})
}

// stopAndRead stops the agent, after which the topics grow no more, and lets
// the consumer come to their ends: only then is it known that nothing came twice.
func (s *story) stopAndRead(ctx context.Context) error {
	began := time.Now()
	if err := s.agentPart.stop(); err != nil {
		return fmt.Errorf("stop the agent: %w", err)
	}
	s.show.step("agent", "has stopped within %s, its offsets are stored", ms(time.Since(began)))
	for _, topic := range []string{webTopic, auditTopic} {
		for place, end := range s.world.ends(topic) {
			err := s.board.wait(ctx, s.opts.patience, "the consumer", func(st *state) string {
				if at := st.positions[place]; at < end {
					return fmt.Sprintf("it is at %d of %d in %s[%d]", at, end, place.topic, place.partition)
				}
				return ""
			})
			if err != nil {
				return err
			}
		}
	}
	return s.readerPart.stop()
}

// verdict compares what was written with what arrived.
func (s *story) verdict() error {
	var st state
	s.board.look(func(now *state) { st = *now })
	for id, l := range st.streams {
		s.reader.check.Expect(id, 0, l.written)
	}
	r := s.reader.check.Report()
	tell := s.show.good
	if r.Err(0) != nil {
		tell = s.show.bad
	}
	tell("result", "lines written = %d, lines arrived = %d", r.Expected, r.Delivered-r.Doubled)
	tell("", "lost %d, doubled %d, out of order %d, garbled %d", r.Lost, r.Doubled, r.OutOfOrder, r.Garbled)
	tell("", "rotations %d, from write to arrival p50 %s, p99 %s", st.rotations, ms(st.quantile(0.5)), ms(st.quantile(0.99)))
	if err := r.Err(0); err != nil {
		return fmt.Errorf("%w: %w", errIncomplete, err)
	}
	return nil
}
