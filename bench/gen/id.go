package gen

import (
	"bytes"
	"errors"
	"hash/crc32"
)

// The id stands behind marker as SSSS-NNNNNNNNNN-CCCCCCCC: the stream in hex,
// the line's number in decimal, and the CRC-32C of the whole line, without its
// newline and without these 8 digits, in hex.
const (
	marker = "?rid="
	idLen  = 4 + 1 + 10 + 1 + 8
	sumAt  = 4 + 1 + 10 + 1 // of the checksum within the id
)

const hexDigits = "0123456789abcdef"

// ErrGarbled is what Parse returns for anything but a whole line of this
// package.
var ErrGarbled = errors.New("not a whole line of the generator")

// ID says which line it is.
type ID struct {
	Stream uint16
	Seq    uint64 // counted from 0
}

// Parse checks a line, given without its newline, and says which one it is.
// A line in which any bit differs, is missing or is too much gives ErrGarbled
// (with the certainty of a 32-bit checksum). It may be used from several
// goroutines and does not allocate.
func Parse(line []byte) (ID, error) {
	at := bytes.Index(line, []byte(marker))
	if at < 0 || len(line) < at+len(marker)+idLen {
		return ID{}, ErrGarbled
	}
	at += len(marker)
	id := line[at : at+idLen]
	stream, ok1 := parseDigits(id[:4], 16)
	seq, ok2 := parseDigits(id[5:15], 10)
	sum, ok3 := parseDigits(id[sumAt:], 16)
	if !ok1 || !ok2 || !ok3 || id[4] != '-' || id[15] != '-' || uint32(sum) != checksum(line, at+sumAt) {
		return ID{}, ErrGarbled
	}
	return ID{Stream: uint16(stream), Seq: seq}, nil
}

// checksum covers the line except for the 8 bytes at sumPos.
func checksum(line []byte, sumPos int) uint32 {
	return crc32.Update(crc32.Checksum(line[:sumPos], castagnoli), castagnoli, line[sumPos+8:])
}

// appendID leaves room for the checksum and says where.
func appendID(dst []byte, stream uint16, seq uint64) (out []byte, sumPos int) {
	dst = append(dst, marker...)
	dst = append(dst, hexDigits[stream>>12], hexDigits[stream>>8&15], hexDigits[stream>>4&15], hexDigits[stream&15], '-')
	var digits [10]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + seq%10)
		seq /= 10
	}
	dst = append(dst, digits[:]...)
	dst = append(dst, "-00000000"...)
	return dst, len(dst) - 8
}

func putHex(dst []byte, v uint32) {
	for i := range dst {
		dst[i] = hexDigits[v>>28]
		v <<= 4
	}
}

func appendDecimal(dst []byte, v uint64) []byte {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return append(dst, b[i:]...)
		}
	}
}

// parseDigits takes lower-case digits of base 10 or 16 only.
func parseDigits(b []byte, base uint64) (v uint64, ok bool) {
	for _, c := range b {
		var d uint64
		switch {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'a' && c <= 'f' && base == 16:
			d = uint64(c-'a') + 10
		default:
			return 0, false
		}
		v = v*base + d
	}
	return v, true
}
