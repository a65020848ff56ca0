package tail

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"logferry/collector/checkpoint"
)

// A compressed file is a File like any other: its offsets, fingerprint and
// lines are those of the bytes that were compressed. Nobody appends to it, and
// nothing of it is read but forward.

// OpenPacked opens the gzip or zstd file at path and starts at its beginning.
// ErrNotPacked means that it is neither.
func OpenPacked(path string, deps *Deps) (*File, error) {
	f, err := newFile(path, deps)
	if err != nil {
		return nil, err
	}
	if f.packed, err = newArchive(deps.fs(), f.fd, deps.Ending); err != nil {
		deps.fs().Close(f.fd)
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f.head = checkpoint.SumOf(f.packed.first)
	f.size = f.packed.size(f.size)
	return f, nil
}

// Unpack reads what a gzip or zstd stream holds, and any other as it stands. rest gives
// the decoder back.
func Unpack(r io.Reader) (out io.Reader, rest func(), err error) {
	in := bufio.NewReaderSize(r, rawBytes)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return decoder(packing(magic), in)
}

// decoder decodes a format; without one it is the stream itself.
func decoder(kind string, in io.Reader) (out io.Reader, rest func(), err error) {
	switch kind {
	case Gzip:
		dec, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, err
		}
		return dec, func() { _ = dec.Close() }, nil
	case Zstd:
		dec, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return dec, dec.Close, nil
	}
	return in, func() {}, nil
}

// Packed reports whether the file is a compressed one.
func (f *File) Packed() bool { return f.packed != nil }

// Packing is the format of a compressed file; empty for a plain one.
func (f *File) Packing() string {
	if f.packed == nil {
		return ""
	}
	return f.packed.kind
}

// Reaches reports whether the file has this many bytes. See Unsure.
func (f *File) Reaches(off int64) bool {
	size, err := f.sizeUpTo(off)
	f.note(err)
	return err == nil && size >= off
}

// SetSince notes a moment, in Unix nanoseconds, at or before which the file
// that was compressed was created: the file itself is younger.
func (f *File) SetSince(at int64) {
	f.mu.Lock()
	f.since = at
	f.mu.Unlock()
}

// Rest gives back what a compressed file holds while it is being read. Only
// the reader may ask; it goes on where it was.
func (f *File) Rest() {
	if f.packed != nil {
		f.packed.rest(f.off)
	}
}

// settle rests at the end of what can be decoded.
func (f *File) settle() {
	if f.packed != nil && f.packed.end >= 0 {
		f.packed.rest(f.off)
	}
}

// reportDamage names a compressed file whose end could not be read.
func (f *File) reportDamage() {
	if f.packed == nil || f.packed.damage == nil {
		return
	}
	f.deps.Log.Warn("a compressed file is damaged, what stands before the damage was read; restore the file beside its path to have the rest read",
		"path", f.path, "file", f.id.String(), "bytes", f.packed.end, "error", f.packed.damage)
}

func (f *File) pread(b []byte, off int64) (int, error) {
	if f.packed != nil {
		return f.packed.readAt(b, off)
	}
	return f.deps.fs().Pread(f.fd, b, off)
}

// preadFull reads until b is full or the file ends.
func (f *File) preadFull(b []byte, off int64) (int, error) {
	if f.packed != nil {
		return f.packed.readAt(b, off)
	}
	return readFull(f.deps.fs(), f.fd, b, off)
}

// sizeUpTo is the file's size in bytes, but of a compressed file no more than
// most: it is decoded up to there. With an error it is as last known, or most.
func (f *File) sizeUpTo(most int64) (int64, error) {
	size, _, err := f.Stat()
	if f.packed == nil {
		return size, err
	}
	if err != nil {
		return most, err
	}
	if most > 0 {
		before := make([]byte, min(most, guardBytes)) // asked for next
		if _, err := f.packed.readAt(before, most-int64(len(before))); err != nil {
			return most, err
		}
	}
	if end := f.packed.end; end >= 0 {
		return min(end, most), nil
	}
	return most, nil
}

// endSum is the hash of the bytes before an offset that may become the
// committed one. A compressed file cannot be asked for them later.
type endSum struct {
	at  int64
	sum checkpoint.Sum
}

// noteEnd remembers the hash of the bytes before the read offset.
func (f *File) noteEnd() {
	if f.packed == nil {
		return
	}
	f.mu.Lock()
	f.ends = append(f.ends, endSum{f.off, checkpoint.SumOf(f.guard)})
	f.mu.Unlock()
}

// noteEndLocked does so where reading begins.
func (f *File) noteEndLocked() {
	if f.packed != nil {
		f.ends = append(f.ends[:0], endSum{f.off, checkpoint.SumOf(f.guard)})
	}
}

// refreshEndsLocked takes the hash of the bytes before the committed offset
// from those that were remembered.
func (f *File) refreshEndsLocked() {
	off := f.tracker.Committed()
	drop := 0
	for drop < len(f.ends) && f.ends[drop].at < off {
		drop++
	}
	f.ends = f.ends[drop:]
	if len(f.ends) > 0 && f.ends[0].at == off {
		f.tail, f.tailAt = f.ends[0].sum, off
	}
}
