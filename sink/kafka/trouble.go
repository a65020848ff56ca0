package kafka

import (
	"errors"
	"fmt"
	"time"
)

// note records why the lane makes no progress. Safe for use from several
// goroutines, as sarama's call it.
func (l *lane) note(err error) {
	if errors.Is(err, errStopped) || errors.Is(err, errAborted) {
		return
	}
	l.setTrouble(l.s.cluster.explain(err, l.out.topic))
}

// retried counts an attempt that sarama makes by itself.
func (l *lane) retried(cause error) {
	l.s.retries.Inc()
	if cause != nil {
		l.s.countError(cause)
		l.note(cause)
	}
}

func (l *lane) setTrouble(err error) {
	now := &trouble{err: err, since: time.Now()}
	if old := l.trouble.Load(); old != nil {
		now.since, now.logged = old.since, old.logged
	}
	if !now.logged && time.Since(now.since) > quietTrouble {
		now.logged = true
		l.log.Warn("records wait for Kafka", "error", err)
	}
	l.trouble.Store(now)
}

func (l *lane) recovered() {
	if t := l.trouble.Swap(nil); t != nil && t.logged {
		l.log.Info("records flow to Kafka again", "after", time.Since(t.since).Round(time.Millisecond))
	}
}

func (l *lane) healthy() bool { return l.trouble.Load() == nil }

func deadLetterTrouble(err error) error {
	return fmt.Errorf("a record that Kafka refuses cannot be set aside: %w; make the dead letter's destination writable", oneLine(err))
}

// err says why a session does not deliver, nil while it does.
func (s *session) err() error {
	for _, t := range []*trouble{s.trouble.Load(), s.letterTrouble.Load()} {
		if t != nil {
			return t.err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var worst *trouble
	var where int32
	n := 0
	for _, o := range s.outlets {
		for p, l := range o.lanes {
			if t := l.trouble.Load(); t != nil {
				if n++; worst == nil || t.since.Before(worst.since) {
					worst, where = t, p
				}
			}
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("partition %d: %w", where, worst.err)
	}
	return fmt.Errorf("%d partitions, first %d: %w", n, where, worst.err)
}
