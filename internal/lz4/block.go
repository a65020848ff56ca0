package lz4

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// What a block has to look like, from
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md: sequences of
// literals and a match of at least minMatch bytes. The last lastLiterals bytes
// are literals, and no match begins in the last 12.
const (
	minMatch     = 4
	lastLiterals = 5
	escape       = 15 // a length that a token has no room for

	// noMatch is how many bytes at the end are not searched: more than the
	// format asks for, so that a search may look at 16 bytes at once.
	noMatch = 20

	tableBits = 13
	skipShift = 6 // each 64 bytes without a match make the steps a byte longer
)

// table holds where in the block some six bytes were last seen, by their hash.
// A place it never saw is 0, which is a place like any other: every candidate is
// compared.
type table [1 << tableBits]uint16

// window is a block's bytes without bounds checks, which take a quarter of the
// time here. Nobody asks for bytes at a place that its loop has not compared
// with the block's end.
type window struct{ base unsafe.Pointer }

func (w window) at64(i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(w.base, i))[:])
}

func (w window) at8(i int) byte { return *(*byte)(unsafe.Add(w.base, i)) }

func (w window) at32(i int) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(w.base, i))[:])
}

// hash is of the lowest six bytes of v.
func hash(v uint64) uint64 { return v << 16 * 0x9e3779b97f4a7c15 >> (64 - tableBits) }

// blockBound is the most bytes that a block takes, and what the copies of 16
// bytes at a time may write behind it.
func blockBound(n int) int { return n + n/255 + 16 + 16 }

// appendBlock appends src, which is at most maxBlock bytes long. It is one long
// function since a call for each sequence would be a tenth of its time.
func appendBlock(dst, src []byte, t *table) []byte {
	end := len(src) - noMatch
	if end <= 0 {
		return appendLast(dst, src)
	}
	clear(t[:])
	w := window{unsafe.Pointer(unsafe.SliceData(src))}
	d := len(dst)
	dst = slices.Grow(dst, blockBound(len(src)))
	out := dst[:cap(dst)]
	emitted, at := 0, 1
	for {
		// Find four bytes that were there before: at is where, from is the place before.
		var from int
		for {
			if at >= end {
				return appendLast(out[:d], src[emitted:])
			}
			v := w.at64(at)
			h0, h1 := hash(v), hash(v>>8)
			c0, c1 := int(t[h0]), int(t[h1])
			t[h0], t[h1] = uint16(at), uint16(at+1)
			if w.at32(c0) == uint32(v) {
				from = c0
				break
			}
			if w.at32(c1) == uint32(v>>8) {
				at, from = at+1, c1
				break
			}
			h2 := hash(v >> 16)
			c2 := int(t[h2])
			t[h2] = uint16(at + 2)
			if w.at32(c2) == uint32(v>>16) {
				at, from = at+2, c2
				break
			}
			at += 3 + (at-emitted)>>skipShift
		}
		for at > emitted && from > 0 && w.at8(at-1) == w.at8(from-1) {
			at, from = at-1, from-1
		}
		token := d
		if n := at - emitted; n < escape {
			out[d] = byte(n << 4)
			*(*[16]byte)(out[d+1:]) = *(*[16]byte)(src[emitted:])
			d += 1 + n
		} else {
			d = putLiterals(out, d, src[emitted:at])
		}
		for {
			n := w.matching(from+minMatch, at+minMatch, len(src)-lastLiterals)
			d = putMatch(out, token, d, at-from, n)
			at += minMatch + n
			emitted = at
			if at >= end {
				return appendLast(out[:d], src[emitted:])
			}
			// Often the next match begins right here.
			v := w.at64(at - 2)
			t[hash(v)] = uint16(at - 2)
			h := hash(v >> 16)
			from = int(t[h])
			t[h] = uint16(at)
			if w.at32(from) != uint32(v>>16) {
				at++
				break
			}
			token = d
			out[d] = 0 // no literals
			d++
		}
	}
}

// matching is how many bytes at b, up to end, are the same as those at a. It may
// leave out the last few, so that it never compares less than eight.
func (w window) matching(a, b, end int) int {
	start := b
	for ; b+8 <= end; a, b = a+8, b+8 {
		if x := w.at64(a) ^ w.at64(b); x != 0 {
			return b - start + bits.TrailingZeros64(x)>>3
		}
	}
	return b - start
}

// putLiterals writes a token at d, and literals behind it, which are escape or more.
func putLiterals(out []byte, d int, literals []byte) int {
	out[d] = escape << 4
	d = putLength(out, d+1, len(literals)-escape)
	return d + copy(out[d:], literals)
}

// putMatch completes the sequence whose token is at token with a match of
// minMatch+n bytes, which begins offset bytes back.
func putMatch(out []byte, token, d, offset, n int) int {
	binary.LittleEndian.PutUint16(out[d:], uint16(offset))
	if n < escape {
		out[token] |= byte(n)
		return d + 2
	}
	out[token] |= escape
	return putLength(out, d+2, n-escape)
}

func putLength(out []byte, d, n int) int {
	for ; n >= 255; n -= 255 {
		out[d] = 255
		d++
	}
	out[d] = byte(n)
	return d + 1
}

// appendLast appends the block's last sequence, which is literals alone.
func appendLast(dst, literals []byte) []byte {
	n := len(literals)
	if n < escape {
		return append(append(dst, byte(n<<4)), literals...)
	}
	dst = append(dst, escape<<4)
	for n -= escape; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(append(dst, byte(n)), literals...)
}
