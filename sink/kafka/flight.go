package kafka

import "time"

// flightState is where a flight stands. Only its lane's goroutine moves a
// flight on, except that a press ends pressing and a landing ends flying.
type flightState uint8

const (
	pressing flightState = iota // is being encoded and compressed
	ready                       // waits for its turn to be sent
	flying                      // was handed to a sender; the outcome is unknown
	acked                       // Kafka has it
	failed                      // err says why Kafka does not have it, or may not
)

// flight is one record batch on its way to a partition: which records it
// holds, and its bytes once they are pressed. It keeps its records and their
// sequence numbers through every attempt, so that a broker can tell that it
// has a flight already.
type flight struct {
	lane    *batchLane
	spans   []span
	records int32
	bytes   int          // of the records' values
	pack    []byte       // the records, encoded and compressed
	batch   *recordBatch // what is said of those; nil until they are pressed

	numbered bool        // batch has an id and sequence numbers
	state    flightState // guarded by lane.mu, as is err
	err      error
	failedAt time.Time
}

// newFlight makes a flight of spans, which it keeps.
func newFlight(l *batchLane, spans []span) *flight {
	f := &flight{lane: l, spans: spans}
	for _, sp := range spans {
		f.records += sp.to - sp.from
		for i := sp.from; i < sp.to; i++ {
			f.bytes += len(sp.parcel.batch.Records[i].Value)
		}
	}
	return f
}

// halves splits a flight of two records or more.
func (f *flight) halves() (first, second *flight) {
	var a, b []span
	room := f.records / 2
	for _, sp := range f.spans {
		n := min(room, sp.to-sp.from)
		room -= n
		if n > 0 {
			a = append(a, span{sp.parcel, sp.from, sp.from + n})
		}
		if sp.from+n < sp.to {
			b = append(b, span{sp.parcel, sp.from + n, sp.to})
		}
	}
	return newFlight(f.lane, a), newFlight(f.lane, b)
}

// only returns the flight's one record.
func (f *flight) only() item {
	sp := f.spans[0]
	return item{parcel: sp.parcel, rec: &sp.parcel.batch.Records[sp.from]}
}

// settle resolves the flight's records.
func (f *flight) settle() {
	for _, sp := range f.spans {
		sp.parcel.settle(int(sp.to - sp.from))
	}
	returnPack(f.pack) // every request with it was written
	f.spans, f.batch, f.pack = nil, nil, nil
}

// identity is what an idempotent lane's flights are known by: a producer id
// with its epoch, and the sequence number of the next record.
type identity struct {
	id    int64
	epoch int16
	next  int32
}

// anonymous is the identity of flights without sequence numbers.
var anonymous = identity{id: -1, epoch: -1, next: -1}

// number gives f the identity's next sequence numbers.
func (n *identity) number(f *flight) {
	f.numbered = true
	f.batch.producer = *n
	if n.id >= 0 {
		n.next = addSequence(n.next, f.records)
	}
}

// addSequence adds n to a sequence number. They start again at 0 behind the
// greatest int32, as in org.apache.kafka.common.record.DefaultRecordBatch.
func addSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & (1<<31 - 1))
}
