// Package verify checks what was delivered against what was written: is every
// line there, whole, and in order, and how often did one come twice?
//
// It takes the values of the lines that package gen makes, in the order in
// which a reader of each partition sees them, and needs one bit of memory a
// line.
package verify

import (
	"fmt"

	"logferry/bench/gen"
)

// maxSeq bounds the memory that one line's number can ask for: 128 MiB of bits
// for a stream. No test writes so many lines.
const maxSeq = 1 << 30

// maxSamples is how many examples of each fault a report shows.
const maxSamples = 5

// Checker collects what was delivered. It must not be used from several
// goroutines at once.
type Checker struct {
	streams map[uint16]*stream
	garbled int64
	samples []Sample
}

// stream is what is known of one stream of lines.
type stream struct {
	expected   bool
	from, to   uint64   // the lines that were written: [from, to)
	seen       []uint64 // one bit a line
	delivered  int64
	doubled    int64
	disordered int64
	newest     map[int32]uint64 // highest number so far, by partition
	samples    []Sample
}

// Sample is an example of something that went wrong.
type Sample struct {
	Fault     string // "garbled", "doubled", "out of order"
	Partition int32
	Position  int64 // offset in the partition, or whatever the caller counts
	Value     string
}

// New returns a Checker that expects nothing.
func New() *Checker { return &Checker{streams: map[uint16]*stream{}} }

// Expect says that the lines [from, to) of a stream were written. It may come
// before or after the lines were added; a later call replaces an earlier one.
// A line of a stream that nothing was said of, or outside of what was said, is
// unexpected.
func (c *Checker) Expect(id uint16, from, to uint64) {
	s := c.stream(id)
	s.expected, s.from, s.to = true, from, to
}

func (c *Checker) stream(id uint16) *stream {
	s := c.streams[id]
	if s == nil {
		s = &stream{newest: map[int32]uint64{}}
		c.streams[id] = s
	}
	return s
}

// Add takes one delivered value, which it does not keep. Values of one
// partition must be added in the partition's order. position is shown in
// samples only.
//
// A line is out of order when it is delivered for the first time behind a
// later line of its stream in the same partition; lines that are sent again
// after a restart are doubled, not out of order.
func (c *Checker) Add(partition int32, position int64, value []byte) {
	id, err := gen.Parse(value)
	if err != nil || id.Seq >= maxSeq {
		c.garbled++
		c.samples = sample(c.samples, "garbled", partition, position, value)
		return
	}
	s := c.stream(id.Stream)
	s.delivered++
	newest, known := s.newest[partition]
	switch {
	case !s.mark(id.Seq):
		s.doubled++
		s.samples = sample(s.samples, "doubled", partition, position, value)
	case known && id.Seq < newest:
		s.disordered++
		s.samples = sample(s.samples, "out of order", partition, position, value)
	}
	if !known || id.Seq > newest {
		s.newest[partition] = id.Seq
	}
}

// mark notes that a line is there; false when it was already.
func (s *stream) mark(seq uint64) bool {
	word, bit := seq/64, uint64(1)<<(seq%64)
	if need := int(word) + 1 - len(s.seen); need > 0 {
		s.seen = append(s.seen, make([]uint64, need)...)
	}
	if s.seen[word]&bit != 0 {
		return false
	}
	s.seen[word] |= bit
	return true
}

func (s *stream) has(seq uint64) bool {
	word := seq / 64
	return word < uint64(len(s.seen)) && s.seen[word]&(1<<(seq%64)) != 0
}

// sample keeps the first few of a kind.
func sample(samples []Sample, fault string, partition int32, position int64, value []byte) []Sample {
	kind := 0
	for _, s := range samples {
		if s.Fault == fault {
			kind++
		}
	}
	if kind >= maxSamples {
		return samples
	}
	const show = 300
	text := fmt.Sprintf("%.*q", show, value)
	return append(samples, Sample{Fault: fault, Partition: partition, Position: position, Value: text})
}
