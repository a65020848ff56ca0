package kafka

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"reflect"
	"time"
	"unsafe"

	"github.com/IBM/sarama"

	"logferry/internal/record"
)

// encodedField is where a sarama.RecordBatch keeps its records once they are
// encoded and compressed, as an offset in bytes.
//
// sarama does that work when it first writes a batch, under its broker's lock,
// into fresh memory, from a heap object for each record, and again for each
// attempt that needs another RecordBatch. It has no way to be given the result
// instead: so the result goes where it would put it. docs/decisions/0006 has
// the numbers; TestRecordBatchesAreWhatSaramaWouldHaveWritten fails if a new
// version of sarama keeps it elsewhere.
var encodedField, hasEncodedField = findEncodedField()

func findEncodedField() (offset uintptr, ok bool) {
	f, ok := reflect.TypeFor[sarama.RecordBatch]().FieldByName("compressedRecords")
	return f.Offset, ok && f.Type == reflect.TypeFor[[]byte]()
}

var errEncodedField = errors.New("this version of sarama keeps encoded records in another place; use producer: async")

// newRecordBatch makes a batch of n records that are encoded and compressed
// already. first and newest are the times of its first and its newest record.
func newRecordBatch(encoded []byte, n int32, codec sarama.CompressionCodec, first, newest time.Time) *sarama.RecordBatch {
	b := &sarama.RecordBatch{
		Version: 2, PartitionLeaderEpoch: -1, Codec: codec,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		FirstTimestamp: first, MaxTimestamp: newest,
		LastOffsetDelta: n - 1, Records: uncounted[:n],
	}
	*(*[]byte)(unsafe.Add(unsafe.Pointer(b), encodedField)) = encoded
	return b
}

// uncounted stands for the records of a batch that is encoded already: sarama
// looks at nothing but their number.
var uncounted [maxFlight]*sarama.Record

// appendRecords appends the records of f to dst, as a record batch holds them
// before compression: https://kafka.apache.org/documentation/#record. It
// returns the times of the first and of the newest record.
func appendRecords(dst []byte, f *flight) (out []byte, first, newest time.Time) {
	k := int64(0)
	for _, sp := range f.spans {
		read := sp.parcel.batch.Time
		for i := sp.from; i < sp.to; i++ {
			rec := &sp.parcel.batch.Records[i]
			at := read
			if x := rec.Extra; x != nil && !x.Time.IsZero() {
				at = x.Time
			}
			if k == 0 {
				first, newest = at, at
			} else if at.After(newest) {
				newest = at
			}
			dst = appendRecord(dst, rec, sp.parcel.keyOf(rec), at.UnixMilli()-first.UnixMilli(), k)
			k++
		}
	}
	return dst, first, newest
}

// appendRecord appends one record; at is its time after the batch's first one
// in milliseconds, delta its place in the batch.
func appendRecord(dst []byte, rec *record.Record, key []byte, at, delta int64) []byte {
	var headers []record.Header
	if rec.Extra != nil {
		headers = rec.Extra.Headers
	}
	n := 1 + varintLen(at) + varintLen(delta) + bytesLen(key) + varintLen(int64(len(rec.Value))) + len(rec.Value) + varintLen(int64(len(headers)))
	for _, h := range headers {
		n += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(n))
	dst = append(dst, 0) // attributes: none are defined
	dst = binary.AppendVarint(dst, at)
	dst = binary.AppendVarint(dst, delta)
	dst = appendBytes(dst, key)
	dst = binary.AppendVarint(dst, int64(len(rec.Value)))
	dst = append(dst, rec.Value...)
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// appendBytes appends b with its length, which is -1 for nil.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// varintLen is how many bytes binary.AppendVarint appends for v.
func varintLen(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}
