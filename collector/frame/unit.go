package frame

import (
	"bytes"
	"encoding/binary"
)

// Unit is what a file's text consists of: bytes, or pairs of them that begin
// at even offsets of the file.
type Unit uint8

const (
	Bytes        Unit = iota
	LittleEndian      // UTF-16LE
	BigEndian         // UTF-16BE
	ByMark            // UTF-16 in the order of the file's byte order mark; without one LittleEndian
)

const byteOrderMark = 0xfeff

// at is the unit at the beginning of b, which holds two bytes or more.
func (u Unit) at(b []byte) uint16 {
	if u == BigEndian {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// Of returns the order that ByMark stands for in a file that begins with
// head; other units are what they are. known is false when head is too short to tell.
func (u Unit) Of(head []byte) (unit Unit, known bool) {
	switch {
	case u != ByMark:
		return u, true
	case len(head) < 2:
		return LittleEndian, false
	case BigEndian.at(head) == byteOrderMark:
		return BigEndian, true
	}
	return LittleEndian, true
}

// mark is the length of the byte order mark that a file begins with.
func (u Unit) mark(head []byte) int {
	if u != Bytes && len(head) >= 2 && u.at(head) == byteOrderMark {
		return 2
	}
	return 0
}

// Newline returns where the first newline of buf begins and ends; -1 when
// there is none. buf stands at offset of its file.
func (u Unit) Newline(buf []byte, offset int64) (begin, end int) {
	if u == Bytes {
		i := bytes.IndexByte(buf, '\n')
		return i, i + 1
	}
	for n := 0; ; n++ {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			return -1, 0
		}
		n += i
		if begin := u.newlineAt(buf, n, offset); begin >= 0 {
			return begin, begin + 2
		}
	}
}

// LastNewline returns where the last newline of buf ends; -1 when there is
// none.
func (u Unit) LastNewline(buf []byte, offset int64) (end int) {
	for n := len(buf); ; {
		n = bytes.LastIndexByte(buf[:n], '\n')
		switch {
		case n < 0:
			return -1
		case u == Bytes:
			return n + 1
		}
		if begin := u.newlineAt(buf, n, offset); begin >= 0 {
			return begin + 2
		}
	}
}

// newlineAt returns where the pair begins that the byte at i is a part of, if
// it is a newline.
func (u Unit) newlineAt(buf []byte, i int, offset int64) int {
	begin := i
	if u == BigEndian {
		begin--
	}
	if begin < 0 || begin+2 > len(buf) || (offset+int64(begin))%2 != 0 || u.at(buf[begin:]) != '\n' {
		return -1
	}
	return begin
}

// trimCR returns line without the carriage return at its end.
func (u Unit) trimCR(line []byte) []byte {
	switch n := len(line); {
	case u == Bytes && n > 0 && line[n-1] == '\r':
		return line[:n-1]
	case u != Bytes && n >= 2 && u.at(line[n-2:]) == '\r':
		return line[:n-2]
	}
	return line
}
