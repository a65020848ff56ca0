package kafka

import (
	"sync/atomic"
	"time"

	"logferry/internal/record"
)

const (
	// recordOverhead is what sarama reckons for a record besides its key,
	// value and headers, headerOverhead for each header, in bytes.
	recordOverhead = 36
	headerOverhead = 10
)

// parcel is a batch on its way. It is done when its last record is.
type parcel struct {
	batch *record.Batch
	key   []byte // of records without one of their own; nil: none
	came  time.Time
	left  atomic.Int64
}

func (p *parcel) keyOf(r *record.Record) []byte {
	if r.Extra != nil && r.Extra.Key != nil {
		return r.Extra.Key
	}
	return p.key
}

// settle counts n records as acknowledged or set aside.
func (p *parcel) settle(n int) {
	if p.left.Add(int64(-n)) == 0 {
		p.batch.Done()
	}
}

// span is a run of records of one batch.
type span struct {
	parcel   *parcel
	from, to int32
}

// recordSize is the size of a record as sarama reckons it, in bytes.
func recordSize(r *record.Record, key []byte) int {
	n := recordOverhead + len(key) + len(r.Value)
	if r.Extra != nil {
		for _, h := range r.Extra.Headers {
			n += headerOverhead + len(h.Key) + len(h.Value)
		}
	}
	return n
}
