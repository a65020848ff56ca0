package kafka

import (
	"context"

	"logferry/internal/record"
)

// run is a stretch of a batch whose records go to one topic.
type run struct {
	out      *outlet
	from, to int32
}

// dispatchByTopic is dispatch for records that name topics of their own. It
// fails, having done nothing, when it cannot be learnt whether one of them exists.
func (s *session) dispatchByTopic(ctx context.Context, b *record.Batch) error {
	if _, err := s.main.partitions(ctx); err != nil {
		s.awaited.Store(nil)
		return err
	}
	fallbacks := map[Fallback]int{}
	s.runs = s.runs[:0]
	for i := range b.Records {
		o, why, err := s.outletOf(ctx, &b.Records[i])
		if err != nil {
			return err
		}
		if why != NoFallback {
			fallbacks[why]++
		}
		if k := len(s.runs); k > 0 && s.runs[k-1].out == o {
			s.runs[k-1].to++
			continue
		}
		s.runs = append(s.runs, run{o, int32(i), int32(i) + 1})
	}
	p := s.parcel(b)
	for _, r := range s.runs {
		if !r.out.touched {
			r.out.touched, r.out.whole = true, r.out.picker.batch(b, r.out.width, r.out.healthy)
		}
		r.out.deal(p, r.from, r.to)
	}
	for _, r := range s.runs {
		if r.out.touched {
			r.out.touched = false
			r.out.flush(ctx)
		}
	}
	for why, n := range fallbacks {
		s.m.fallbacks.WithLabelValues(s.route.Task, string(why)).Add(float64(n))
	}
	return nil
}

// outletOf is where a record goes, and why if that is not where it asks for.
func (s *session) outletOf(ctx context.Context, r *record.Record) (*outlet, Fallback, error) {
	var name []byte
	if r.Extra != nil {
		name = r.Extra.Topic
	}
	o := s.outlets[string(name)]
	if o == s.main {
		return o, NoFallback, nil
	}
	if o == nil {
		why := s.route.Confine.Check(name)
		if why == NoFallback && len(s.outlets) > s.route.Confine.Max {
			why = TopicLimit
		}
		if why != NoFallback {
			return s.main, why, nil
		}
		o = newOutlet(s, string(name))
		s.mu.Lock()
		s.outlets[o.topic] = o
		s.mu.Unlock()
	}
	if k := len(s.runs); k > 0 && s.runs[k-1].out == o {
		return o, NoFallback, nil // it was looked for just now
	}
	missing, err := o.missing(ctx)
	switch {
	case err != nil:
		s.awaited.Store(o)
		return nil, NoFallback, err
	case missing:
		return s.main, NoTopic, nil
	}
	return o, NoFallback, nil
}
