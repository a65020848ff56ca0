package shape

// Space holds the values that were made for the records of one batch. It is
// used by one goroutine at a time.
type Space struct {
	buf  []byte // the rest of its capacity is free
	held int
}

const (
	leastBytes = 512      // taken at first; then as much as is held already
	mostBytes  = 64 << 10 // but not more than this at a time, if one value does not need it
)

// Held is how many bytes the space takes.
func (s *Space) Held() int { return s.held }

// Reset makes the space free to be used again, and keeps this many bytes of it
// at most. Nobody may look at the values any more.
func (s *Space) Reset(keep int) {
	s.held = 0
	if s.buf = s.buf[:0]; cap(s.buf) > keep {
		s.buf = nil
	}
}

// open returns an empty slice to append about n bytes to, and then to close.
func (s *Space) open(n int) []byte {
	if cap(s.buf)-len(s.buf) < n {
		s.buf = make([]byte, 0, max(n, leastBytes, min(s.held, mostBytes)))
		s.held += cap(s.buf)
	} else if s.held == 0 {
		s.held = cap(s.buf)
	}
	return s.buf[len(s.buf):]
}

// close keeps what was appended to the slice of the last open.
func (s *Space) close(out []byte) []byte {
	if free := cap(s.buf) - len(s.buf); cap(out) > free { // it has moved
		s.held += cap(out)
		return out
	}
	s.buf = s.buf[:len(s.buf)+len(out)]
	return out[:len(out):len(out)]
}
