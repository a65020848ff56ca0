// Package frame turns bytes into records. It keeps no state between calls: a
// record that is not complete is left in the file and cut from a later block,
// so an offset between two records is all that a restart needs.
package frame

import (
	"bytes"
	"strconv"

	"logferry/internal/record"
)

// Lines cuts newline-terminated lines. It is a value without state and may be
// used from several goroutines.
type Lines struct {
	MaxBytes int  // longest record value; a longer line is cut or dropped
	DropLong bool // drop longer lines instead of cutting them
	KeepCR   bool // keep the \r of a line that ends in \r\n
}

// Counts says what one call did to lines that are too long.
type Counts struct {
	Cut     int
	Dropped int
}

// Append cuts up to max whole lines from buf, which was read at offset of its
// file, and appends them to dst as slices of buf. It returns the bytes
// consumed: everything up to and with the last newline that was used.
func (l Lines) Append(dst []record.Record, buf []byte, offset int64, max int) ([]record.Record, int, Counts) {
	var c Counts
	n := 0
	for len(dst) < max {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			break
		}
		line := buf[n : n+i]
		if i <= l.MaxBytes && (i == 0 || line[i-1] != '\r') { // what nearly every line is
			dst = append(dst, record.Record{Value: line, Offset: offset + int64(n)})
		} else {
			dst = l.add(dst, line, offset+int64(n), i, &c)
		}
		n += i + 1
	}
	return dst, n, c
}

// One makes a record of a single line that Append cannot cut: a last line
// that will never get its newline, or one that did not fit a buffer. line is
// the line, or the first MaxBytes of it or more; length is its full length in
// bytes without the newline.
func (l Lines) One(dst []record.Record, line []byte, offset int64, length int) ([]record.Record, Counts) {
	var c Counts
	return l.add(dst, line, offset, length, &c), c
}

func (l Lines) add(dst []record.Record, line []byte, offset int64, length int, c *Counts) []record.Record {
	if length == len(line) && !l.KeepCR && length > 0 && line[length-1] == '\r' {
		line = line[:length-1]
		length--
	}
	if length <= l.MaxBytes {
		return append(dst, record.Record{Value: line, Offset: offset})
	}
	if l.DropLong {
		c.Dropped++
		return dst
	}
	c.Cut++
	return append(dst, record.Record{
		Value:  line[:l.MaxBytes],
		Offset: offset,
		Extra: &record.Extra{Headers: []record.Header{{
			Key: record.HeaderTruncated, Value: strconv.AppendInt(nil, int64(length), 10),
		}}},
	})
}
