package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// note records why the lane makes no progress. Safe for use from several
// goroutines, as sarama's call it.
func (l *lane) note(err error) {
	if errors.Is(err, errStopped) || errors.Is(err, errAborted) {
		return
	}
	l.s.noteRefusal(err)
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
	now := followUp(l.trouble.Load(), err)
	if now.due() {
		now.logged = true
		if l.s.tellsFirst(err) {
			l.log.Warn("records wait for Kafka", "error", err)
		}
	}
	l.trouble.Store(now)
}

// followUp is a trouble that takes the place of old, which may be nil.
func followUp(old *trouble, err error) *trouble {
	now := &trouble{err: err, since: time.Now()}
	if old != nil {
		now.since, now.logged = old.since, old.logged
	}
	return now
}

// due says whether the trouble is to be logged now.
func (t *trouble) due() bool { return !t.logged && time.Since(t.since) > quietTrouble }

// tellsFirst says whether err was not logged a moment ago: one line is enough
// where all partitions wait for the same reason.
func (s *session) tellsFirst(err error) bool {
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	if text := err.Error(); text != s.told || time.Since(s.toldAt) > tellAgain {
		s.told, s.toldAt = text, time.Now()
		return true
	}
	return false
}

// tellAgain is for how long a reason that was logged is not logged again.
const tellAgain = time.Minute

// noteRefusal has a token fetched anew that the brokers did not accept.
func (s *session) noteRefusal(err error) {
	if errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
		s.cfg.access.refused()
	}
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
