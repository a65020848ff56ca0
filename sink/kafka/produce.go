package kafka

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// Produce requests and their answers, as
// https://kafka.apache.org/protocol#The_Messages_Produce has them, versions 3 to 7.

const (
	produceKey = 0
	// startOffsetSince is the first version whose answers tell where a log starts.
	startOffsetSince = 5
)

// produceRequest is one request: flights, those of a topic together.
type produceRequest struct {
	w           *batchWriter
	version     int16
	correlation int32
	flights     []*flight
	size        int // of the whole request
}

func newProduceRequest(w *batchWriter, version int16, correlation int32, fs []*flight) produceRequest {
	if len(fs) > 1 {
		fs = slices.Clone(fs)
		slices.SortStableFunc(fs, func(a, b *flight) int { return strings.Compare(a.lane.out.topic, b.lane.out.topic) })
	}
	p := produceRequest{w: w, version: version, correlation: correlation, flights: fs}
	p.size = 4 + 2 + 2 + 4 + 2 + len(w.cluster.cfg.ClientID) + 2 + 2 + 4 + 4
	for i, f := range fs {
		if p.beginsTopic(i) {
			p.size += 2 + len(f.lane.out.topic) + 4
		}
		p.size += 4 + 4 + batchHead + len(f.pack)
	}
	return p
}

func (p *produceRequest) beginsTopic(i int) bool {
	return i == 0 || p.flights[i].lane.out.topic != p.flights[i-1].lane.out.topic
}

// ofTopic counts the flights from number i on that go to the same topic.
func (p *produceRequest) ofTopic(i int) (n int) {
	for n = 1; i+n < len(p.flights) && !p.beginsTopic(i+n); n++ {
	}
	return n
}

// appendHead appends all that stands in front of the first topic.
func (p *produceRequest) appendHead(b []byte) []byte {
	topics := 0
	for i := range p.flights {
		if p.beginsTopic(i) {
			topics++
		}
	}
	b = binary.BigEndian.AppendUint32(b, uint32(p.size-4))
	b = binary.BigEndian.AppendUint16(b, produceKey)
	b = binary.BigEndian.AppendUint16(b, uint16(p.version))
	b = binary.BigEndian.AppendUint32(b, uint32(p.correlation))
	b = appendText(b, p.w.cluster.cfg.ClientID)
	b = append(b, 0xff, 0xff) // no transaction
	b = binary.BigEndian.AppendUint16(b, uint16(p.w.acks))
	b = binary.BigEndian.AppendUint32(b, uint32(p.w.timeout))
	return binary.BigEndian.AppendUint32(b, uint32(topics))
}

// appendPartition appends all that stands in front of the records of flight i.
func (p *produceRequest) appendPartition(b []byte, i int) []byte {
	f := p.flights[i]
	if p.beginsTopic(i) {
		b = appendText(b, f.lane.out.topic)
		b = binary.BigEndian.AppendUint32(b, uint32(p.ofTopic(i)))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(f.lane.to))
	b = binary.BigEndian.AppendUint32(b, uint32(batchHead+len(f.pack)))
	return f.batch.appendHead(b, f.pack)
}

// appendText appends a string with its length.
func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// answer is what a broker says to a request.
type answer struct {
	outcomes []error // of the request's flights
	throttle time.Duration
	body     []byte // as it was read
}

// decode reads the answer to a request for flights. Those that it does not name
// failed with sarama.ErrIncompleteResponse.
func (a *answer) decode(body []byte, version int16, fs []*flight) error {
	a.outcomes = a.outcomes[:0]
	for range fs {
		a.outcomes = append(a.outcomes, sarama.ErrIncompleteResponse)
	}
	r := reader{b: body}
	for range r.length() {
		topic := r.text()
		for range r.length() {
			partition, code := int32(r.uint32()), sarama.KError(r.uint16())
			r.take(8 + 8) // the offset, and the time of its append
			if version >= startOffsetSince {
				r.take(8)
			}
			for i, f := range fs {
				if f.lane.to == partition && f.lane.out.topic == string(topic) {
					a.outcomes[i] = outcome(code)
				}
			}
		}
	}
	a.throttle = time.Duration(max(0, int32(r.uint32()))) * time.Millisecond
	if r.short || len(r.b) > 0 {
		return sarama.PacketDecodingError{Info: "an answer to a produce request is not as long as it should be"}
	}
	return nil
}

// outcome is what a broker's word means for one flight.
func outcome(code sarama.KError) error {
	if code == sarama.ErrNoError || code == sarama.ErrDuplicateSequenceNumber { // it has the flight already
		return nil
	}
	return code
}

// reader takes the parts of a message one after another; short says that there
// were too few bytes, and everything since is zero.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.short = nil, true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) text() []byte { return r.take(int(r.uint16())) }

// length is that of an array, none for one that is longer than what is left.
func (r *reader) length() int {
	n := int(r.uint32())
	if n > len(r.b) {
		r.short = true
		return 0
	}
	return n
}
