package verify

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// Report says what is wrong with what was delivered. Counts are of lines.
type Report struct {
	Streams []Stream // sorted by ID
	Garbled int64    // values that are no whole line of any stream
	Samples []Sample // of garbled values; at most 5

	// Sums over all streams.
	Expected, Delivered, Lost, Doubled, OutOfOrder, Unexpected int64
}

// Stream is the part of a report that is about one stream: one collected file
// with all its rotations.
type Stream struct {
	ID         uint16
	Expected   int64
	Delivered  int64 // whole lines, doubled ones each time
	Lost       int64
	LostRanges []Range // the first 5, in order
	Doubled    int64   // deliveries after the first of their line
	OutOfOrder int64
	Unexpected int64    // different lines that were not expected
	Samples    []Sample // at most 5 of each kind
}

// Range is a run of line numbers, [From, To).
type Range struct{ From, To uint64 }

// Report tells the state of things. More may be added afterwards.
func (c *Checker) Report() Report {
	r := Report{Garbled: c.garbled, Samples: slices.Clone(c.samples)}
	for _, id := range slices.Sorted(maps.Keys(c.streams)) {
		s := c.streams[id].report(id)
		r.Streams = append(r.Streams, s)
		r.Expected += s.Expected
		r.Delivered += s.Delivered
		r.Lost += s.Lost
		r.Doubled += s.Doubled
		r.OutOfOrder += s.OutOfOrder
		r.Unexpected += s.Unexpected
	}
	return r
}

func (s *stream) report(id uint16) Stream {
	out := Stream{
		ID: id, Expected: int64(s.to - s.from), Delivered: s.delivered,
		Doubled: s.doubled, OutOfOrder: s.disordered, Samples: slices.Clone(s.samples),
	}
	var distinct int64
	for _, word := range s.seen {
		distinct += int64(bits.OnesCount64(word))
	}
	for seq := s.from; seq < s.to; seq++ {
		if s.has(seq) {
			distinct--
			continue
		}
		out.Lost++
		last := len(out.LostRanges) - 1
		switch {
		case last >= 0 && out.LostRanges[last].To == seq:
			out.LostRanges[last].To++
		case len(out.LostRanges) < maxSamples:
			out.LostRanges = append(out.LostRanges, Range{seq, seq + 1})
		}
	}
	out.Unexpected = distinct
	return out
}

// Complete says that every expected line is there, whatever else is.
func (r Report) Complete() bool { return r.Lost == 0 }

// Err is nil when each expected line was delivered whole and in order, nothing
// else was, and no more than maxDoubled came again. Otherwise it tells all that
// is wrong, with examples.
func (r Report) Err(maxDoubled int64) error {
	if r.Lost == 0 && r.Garbled == 0 && r.OutOfOrder == 0 && r.Unexpected == 0 && r.Doubled <= maxDoubled {
		return nil
	}
	return errors.New(r.details())
}

// String is one line of counts.
func (r Report) String() string {
	return fmt.Sprintf("%d lines written, %d delivered: %d lost, %d garbled, %d doubled, %d out of order, %d unexpected",
		r.Expected, r.Delivered, r.Lost, r.Garbled, r.Doubled, r.OutOfOrder, r.Unexpected)
}

// details is String, and a paragraph for each stream that is not perfect.
func (r Report) details() string {
	var b strings.Builder
	b.WriteString(r.String())
	for _, s := range r.Samples {
		fmt.Fprintf(&b, "\n  %s", s)
	}
	for _, s := range r.Streams {
		if s.Lost+s.Doubled+s.OutOfOrder+s.Unexpected == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n  stream %04x: %d written, %d delivered: %d lost, %d doubled, %d out of order, %d unexpected",
			s.ID, s.Expected, s.Delivered, s.Lost, s.Doubled, s.OutOfOrder, s.Unexpected)
		for _, l := range s.LostRanges {
			fmt.Fprintf(&b, "\n    lost %d lines: %d to %d", l.To-l.From, l.From, l.To-1)
		}
		for _, x := range s.Samples {
			fmt.Fprintf(&b, "\n    %s", x)
		}
	}
	return b.String()
}

// String is for reports.
func (s Sample) String() string {
	return fmt.Sprintf("%s: partition %d, offset %d: %s", s.Fault, s.Partition, s.Position, s.Value)
}
