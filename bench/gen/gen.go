// Package gen makes the log lines of the benchmark and of the end-to-end
// tests: an nginx access log in combined format, 189 bytes a line on average
// with its newline, so that 3,000,000 lines are 567 MB.
//
// Every line names its stream and its place in it and carries a checksum of
// itself, in the query of its request:
//
//	203.0.113.7 - - [10/Oct/2025:13:55:36 +0000] "GET /app.js?rid=0001-0000000042-9a3c51e0 HTTP/1.1" 200 5316 "-" "curl/8.5.0"
//
// so a reader at the far end can tell, from the line alone, whether it is
// whole and which one it is. A line depends on its seed, stream and number
// only: the same three give the same bytes on every machine.
package gen

import (
	"hash/crc32"
	"io"
	"time"
)

// MaxSeq is the first number that does not fit into a line.
const MaxSeq = 1e10

const (
	linesPerSecond = 5000 // of the time that the lines tell
	chunk          = 64 << 10
	maxLine        = 512 // no line is longer
)

var (
	began      = time.Date(2025, 10, 10, 13, 55, 36, 0, time.UTC)
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Lines makes the lines of one stream: what one program would write to one log
// file, through all its rotations. It must not be used from several goroutines
// at once.
type Lines struct {
	stream uint16
	seed   uint64

	second int64 // that stamp shows
	stamp  []byte
	buf    []byte
}

// New returns the lines of a stream. Streams with different seeds differ in
// everything but their numbers.
func New(stream uint16, seed uint64) *Lines {
	return &Lines{stream: stream, seed: mix(seed ^ uint64(stream)<<48), second: -1}
}

// Append appends line seq, counted from 0, with its newline. It allocates only
// when dst is too small, and panics when seq is not below MaxSeq.
func (l *Lines) Append(dst []byte, seq uint64) []byte {
	if seq >= MaxSeq {
		panic("gen: sequence number does not fit into a line")
	}
	r := mix(l.seed + seq*0x9e3779b97f4a7c15)
	start := len(dst)
	dst = append(dst, addresses[r%uint64(len(addresses))]...)
	r = r>>12 | r<<52
	dst = append(dst, l.timestamp(seq)...)
	dst = append(dst, requests[r&(slots-1)]...)
	r >>= 6
	dst, sum := appendID(dst, l.stream, seq)
	status := statuses[r&(slots-1)]
	dst = append(dst, status.text...)
	r >>= 6
	dst = appendDecimal(dst, r&status.sizeMask)
	r >>= 16
	dst = append(dst, referers[r&(slots-1)]...)
	r >>= 6
	dst = append(dst, agents[r&(slots-1)]...)
	putHex(dst[sum:sum+8], checksum(dst[start:], sum-start))
	return append(dst, '\n')
}

// timestamp is ` - - [time] "`; it is rendered once for each second.
func (l *Lines) timestamp(seq uint64) []byte {
	second := int64(seq / linesPerSecond)
	if second != l.second {
		l.second = second
		l.stamp = began.Add(time.Duration(second)*time.Second).AppendFormat(l.stamp[:0], ` - - [02/Jan/2006:15:04:05 -0700] "`)
	}
	return l.stamp
}

// Write writes n lines from number first on and returns how many bytes they
// were. It makes one write for about 64 KiB, always of whole lines.
func (l *Lines) Write(w io.Writer, first, n uint64) (int64, error) {
	var total int64
	if l.buf == nil {
		l.buf = make([]byte, 0, chunk+maxLine)
	}
	flush := func() error {
		written, err := w.Write(l.buf)
		total += int64(written)
		l.buf = l.buf[:0]
		return err
	}
	for seq := first; seq < first+n; seq++ {
		l.buf = l.Append(l.buf, seq)
		if len(l.buf) >= chunk {
			if err := flush(); err != nil {
				return total, err
			}
		}
	}
	return total, flush()
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of
// the result depends on every bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
