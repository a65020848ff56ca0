package frame

import (
	"unsafe"

	"logferry/internal/record"
)

// Space holds what was made for the records of one batch: values that do not
// stand in its block, and Extras. It is used by one goroutine at a time.
type Space struct {
	buf     []byte // the rest of its capacity is free
	opened  bool   // buf is a part of held
	held    int
	chunks  []*[extraChunk]record.Extra
	extras  int             // how many of them are taken
	headers []record.Header // the rest of its capacity is free
}

const (
	leastBytes = 512      // taken at first; then as much as is held already
	mostBytes  = 64 << 10 // but not more than this at a time, if one value does not need it

	extraChunk  = 64  // Extras that are allocated together
	headerChunk = 256 // headers that are allocated together
	headerBytes = int(unsafe.Sizeof(record.Header{}))
	chunkBytes  = extraChunk * int(unsafe.Sizeof(record.Extra{}))
)

// Held is how many bytes the space takes.
func (s *Space) Held() int { return s.held }

// Reset makes the space free to be used again, and keeps this many bytes of
// values and of Extras at most. Nobody may look at them any more.
func (s *Space) Reset(keep int) {
	s.held, s.opened = 0, false
	if s.buf = s.buf[:0]; cap(s.buf) > keep {
		s.buf = nil
	}
	if cap(s.headers) > 0 {
		clear(s.headers)
		if s.headers = s.headers[:0]; cap(s.headers)*headerBytes > keep {
			s.headers = nil
		}
	}
	if s.extras == 0 {
		return
	}
	n := min(len(s.chunks), keep/chunkBytes)
	clear(s.chunks[n:])
	s.chunks = s.chunks[:n]
	for _, c := range s.chunks[:min(n, (s.extras+extraChunk-1)/extraChunk)] {
		clear(c[:])
	}
	s.extras = 0
}

// Extra returns an Extra for one of the batch's records.
func (s *Space) Extra() *record.Extra {
	chunk, i := s.extras/extraChunk, s.extras%extraChunk
	s.extras++
	if chunk == len(s.chunks) {
		s.chunks = append(s.chunks, new([extraChunk]record.Extra))
	}
	if i == 0 {
		s.held += chunkBytes
	}
	return &s.chunks[chunk][i]
}

// Headers returns an empty slice for n headers of one of the batch's records.
func (s *Space) Headers(n int) []record.Header {
	if cap(s.headers)-len(s.headers) < n {
		s.headers = make([]record.Header, 0, max(n, headerChunk, 2*cap(s.headers)))
		s.held += cap(s.headers) * headerBytes
	} else if len(s.headers) == 0 {
		s.held += cap(s.headers) * headerBytes
	}
	at := len(s.headers)
	s.headers = s.headers[:at+n]
	return s.headers[at : at : at+n]
}

// Open returns an empty slice to append about n bytes to, and then to Close.
func (s *Space) Open(n int) []byte {
	if cap(s.buf)-len(s.buf) < n {
		s.buf = make([]byte, 0, max(n, leastBytes, min(s.held, mostBytes)))
		s.held += cap(s.buf)
		s.opened = true
	} else if !s.opened {
		s.held += cap(s.buf)
		s.opened = true
	}
	return s.buf[len(s.buf):]
}

// Close keeps what was appended to the slice of the last Open.
func (s *Space) Close(out []byte) []byte {
	if free := cap(s.buf) - len(s.buf); cap(out) > free { // it has moved
		s.held += cap(out)
		return out
	}
	s.buf = s.buf[:len(s.buf)+len(out)]
	return out[:len(out):len(out)]
}
