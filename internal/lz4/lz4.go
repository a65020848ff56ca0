// Package lz4 compresses record batches: LZ4 frames of independent blocks,
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md. It does what the
// agent needs and no more, in two thirds of the time that the library takes
// that decompresses elsewhere; docs/decisions/0008 has the numbers.
package lz4

import (
	"encoding/binary"
	"sync"
)

// maxBlock is the most input that one block holds. It lets a Table keep
// positions in 16 bits and stay in a processor's first cache.
const maxBlock = 64 << 10

const (
	frameEnd = "\x00\x00\x00\x00"
	stored   = 1 << 31 // in a block's size: it is not compressed

	// frameStart is the magic number and the descriptor: version 1, independent
	// blocks of up to 64 KiB, no checksums (a record batch has its own), then the
	// descriptor's hash.
	frameStart = "\x04\x22\x4d\x18\x60\x40\x82"
)

var tables = sync.Pool{New: func() any { return new(table) }}

// AppendFrame appends src to dst as one frame. Safe for use from several
// goroutines.
func AppendFrame(dst, src []byte) []byte {
	t := tables.Get().(*table)
	defer tables.Put(t)
	dst = append(dst, frameStart...)
	for len(src) > 0 {
		n := min(len(src), maxBlock)
		dst = appendFrameBlock(dst, src[:n], t)
		src = src[n:]
	}
	return append(dst, frameEnd...)
}

// appendFrameBlock appends a block with its size in front, compressed if that
// makes it smaller.
func appendFrameBlock(dst, src []byte, t *table) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendBlock(dst, src, t)
	size := uint32(len(dst) - at - 4)
	if int(size) >= len(src) {
		dst = append(dst[:at+4], src...)
		size = uint32(len(src)) | stored
	}
	binary.LittleEndian.PutUint32(dst[at:], size)
	return dst
}
