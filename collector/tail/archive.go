package tail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The formats of compressed files that can be read.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

var (
	// ErrNotPacked means that a file is in none of the formats that can be read.
	ErrNotPacked = errors.New("not a gzip or zstd file")

	errEnding = errors.New("the agent is ending")
)

const (
	// maxWindow bounds what a zstd decoder holds of the bytes behind it. Levels
	// up to 19 need no more.
	maxWindow = 8 << 20
	// rawBytes is how much of a compressed file is read at once.
	rawBytes = 32 << 10
)

// archive is a compressed file, read as the bytes that were compressed. Its
// decoder only goes forward; what was read last is kept, so that a reader
// whose next read begins inside of it, as File's do, costs one pass. A read from further
// back begins again at the front.
//
// Bytes that cannot be decoded end the archive: what stands before them is all
// there is, and damage says why.
type archive struct {
	fs     FS
	fd     int
	kind   string
	first  []byte // the first bytes, up to headBytes
	ending <-chan struct{}

	raw    *rawFile // nil while there is no decoder
	dec    io.Reader
	close  func()
	pos    int64 // where the decoder stands
	eof    bool  // and can go no further
	kept   span  // the read before
	ahead  span  // what was read behind it without reading it again: the search for the end of a long line
	end    int64 // -1: not known yet
	endRaw int64 // size of the compressed file when the end was found
	damage error
}

// span is a range of decoded bytes.
type span struct {
	at   int64
	data []byte
}

func (s *span) end() int64 { return s.at + int64(len(s.data)) }

func (s *span) copy(b []byte, off int64) int {
	if off < s.at || off >= s.end() {
		return 0
	}
	return copy(b, s.data[off-s.at:])
}

// newArchive looks at the first bytes. It leaves no decoder behind.
func newArchive(fs FS, fd int, ending <-chan struct{}) (*archive, error) {
	a := &archive{fs: fs, fd: fd, end: -1, ending: ending}
	var magic [4]byte
	n, err := readFull(fs, fd, magic[:], 0)
	if err != nil {
		return nil, err
	}
	if a.kind = packing(magic[:n]); a.kind == "" {
		return nil, ErrNotPacked
	}
	first := make([]byte, headBytes)
	if n, err = a.readAt(first, 0); err != nil {
		return nil, err
	}
	a.first = first[:n]
	a.rest(0)
	return a, nil
}

// packing names the format that begins with these bytes: RFC 1952, 2.3.1 and
// RFC 8878, 3.1.
func packing(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b, 8}):
		return Gzip
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) == 4 && magic[0]>>4 == 5 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		return Zstd
	}
	return ""
}

// readAt reads until b is full or the archive ends.
func (a *archive) readAt(b []byte, off int64) (n int, err error) {
	decoded := false
	for n < len(b) {
		at := off + int64(n)
		m := a.kept.copy(b[n:], at)
		if m == 0 {
			m = a.ahead.copy(b[n:], at)
		}
		if m == 0 && at < int64(len(a.first)) {
			m = copy(b[n:], a.first[at:])
		}
		if m == 0 {
			if a.end >= 0 && at >= a.end {
				break
			}
			if err = a.seek(at); err != nil {
				return n, err
			}
			if m, err = a.decode(b[n:]); err != nil {
				return n, err
			}
			decoded = true
			if m == 0 {
				break
			}
		}
		n += m
	}
	if decoded {
		a.keep(b[:n], off)
	}
	return n, nil
}

// keep remembers a read. One that begins exactly behind what is remembered
// looks ahead: what stands before it will be asked for again.
func (a *archive) keep(b []byte, off int64) {
	last := &a.kept
	if len(a.ahead.data) > 0 {
		last = &a.ahead
	}
	if off > 0 && off == last.end() {
		tail := last.data[max(0, len(last.data)-guardBytes):]
		data := append(make([]byte, 0, len(tail)+len(b)), tail...)
		a.ahead = span{off - int64(len(tail)), append(data, b...)}
		return
	}
	a.kept = span{off, append(a.kept.data[:0], b...)}
	a.ahead = span{}
}

// seek moves the decoder to an offset.
func (a *archive) seek(off int64) error {
	if a.dec == nil || a.pos > off {
		if err := a.rewind(); err != nil {
			return err
		}
	}
	var buf []byte
	for a.pos < off && !a.eof {
		select {
		case <-a.ending:
			return errEnding
		default:
		}
		if buf == nil {
			buf = make([]byte, min(off-a.pos, BlockBytes))
		}
		if _, err := a.decode(buf[:min(off-a.pos, int64(len(buf)))]); err != nil {
			return err
		}
	}
	return nil
}

// rewind begins again at the front.
func (a *archive) rewind() error {
	a.drop()
	a.raw, a.pos, a.eof = &rawFile{fs: a.fs, fd: a.fd}, 0, false
	in := bufio.NewReaderSize(a.raw, rawBytes)
	var err error
	if a.dec, a.close, err = decoder(a.kind, in); err != nil {
		a.dec, a.close = bytes.NewReader(nil), func() {}
		return a.stopped(err)
	}
	return nil
}

// decode fills b from where the decoder stands, as far as the archive goes.
func (a *archive) decode(b []byte) (n int, err error) {
	for n < len(b) && !a.eof {
		m, err := a.dec.Read(b[n:])
		n += m
		a.pos += int64(m)
		if err != nil {
			return n, a.stopped(err)
		}
	}
	return n, nil
}

// stopped answers the decoder's end: the archive's own, or what is damaged in
// it. Only what the file itself cannot be read for is an error.
func (a *archive) stopped(err error) error {
	if a.raw.err != nil {
		a.drop()
		return a.raw.err
	}
	size, _, statErr := a.fs.Size(a.fd)
	if statErr != nil {
		return fmt.Errorf("stat: %w", statErr)
	}
	a.eof, a.end, a.endRaw, a.damage = true, a.pos, size, nil
	if err != io.EOF { //nolint:errorlint // io.Reader promises the value itself
		a.damage = fmt.Errorf("decode %s at offset %d: %w", a.kind, a.pos, err)
	}
	return nil
}

// size is how many bytes are in the archive: an estimate, and never less
// than what one more read may yield, until the end was seen. raw is the size of the
// compressed file: one that is being written to ends later than it did.
func (a *archive) size(raw int64) int64 {
	if raw > a.endRaw && errors.Is(a.damage, io.ErrUnexpectedEOF) {
		a.drop()
		a.end, a.damage = -1, nil
	}
	if a.end >= 0 {
		return a.end
	}
	known := max(a.pos, a.kept.end(), a.ahead.end(), int64(len(a.first)))
	if a.raw != nil && a.raw.off > 0 {
		known = max(known, int64(float64(a.pos)/float64(a.raw.off)*float64(raw)))
	}
	return known + BlockBytes
}

// rest gives the decoder back, and what is kept, if it is read to its end.
func (a *archive) rest(off int64) {
	a.drop()
	if a.end < 0 || off >= a.end {
		a.kept, a.ahead = span{}, span{}
	}
}

func (a *archive) drop() {
	if a.dec != nil {
		a.close()
	}
	a.dec, a.close = nil, nil
}

// rawFile reads a descriptor from its front, and keeps the error that is the
// file's and not the format's.
type rawFile struct {
	fs  FS
	fd  int
	off int64
	err error
}

func (r *rawFile) Read(b []byte) (int, error) {
	n, err := r.fs.Pread(r.fd, b, r.off)
	r.off += int64(n)
	switch {
	case err != nil:
		r.err = err
		return n, err
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}
