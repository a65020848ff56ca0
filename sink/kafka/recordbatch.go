package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"time"

	"github.com/IBM/sarama"

	"logferry/internal/record"
)

// batchHead is how many bytes stand in front of the records of a batch.
const batchHead = 61

// recordBatch is what is said of records that are encoded and compressed:
// https://kafka.apache.org/documentation/#recordbatch.
type recordBatch struct {
	records       int32
	codec         sarama.CompressionCodec
	first, newest time.Time // of the first and of the newest record
	producer      identity  // next is the sequence number of the first record
}

// appendHead appends what stands in front of the records packed.
func (r *recordBatch) appendHead(b, packed []byte) []byte {
	const behindLength, behindSum = 12, 21 // where the length counts from, and the checksum
	begin := len(b)
	b = binary.BigEndian.AppendUint64(b, 0) // the broker sets the offset
	b = binary.BigEndian.AppendUint32(b, uint32(batchHead-behindLength+len(packed)))
	b = binary.BigEndian.AppendUint32(b, math.MaxUint32) // no leader epoch
	b = append(b, 2)                                     // the format
	b = binary.BigEndian.AppendUint32(b, 0)              // the checksum
	b = binary.BigEndian.AppendUint16(b, uint16(r.codec))
	b = binary.BigEndian.AppendUint32(b, uint32(r.records-1))
	b = binary.BigEndian.AppendUint64(b, uint64(r.first.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.newest.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.producer.id))
	b = binary.BigEndian.AppendUint16(b, uint16(r.producer.epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(r.producer.next))
	b = binary.BigEndian.AppendUint32(b, uint32(r.records))
	sum := crc32.Update(crc32.Checksum(b[begin+behindSum:], castagnoli), castagnoli, packed)
	binary.BigEndian.PutUint32(b[begin+behindSum-4:], sum)
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
