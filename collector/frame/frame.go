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
	Unit     Unit // what the text consists of; never ByMark when lines are cut
}

// Counts says what one call did to lines that are too long, and to those of
// containers.
type Counts struct {
	Cut     int
	Dropped int

	Foreign    int // lines that are not in the format of containers
	Split      int // lines of containers that were sent in several records, of which this one reached over the bound
	Unfinished int // lines of containers whose rest did not come in time
}

// Append cuts up to max whole lines from buf, which was read at offset of its
// file, and appends them to dst as slices of buf. It returns the bytes
// consumed: everything up to and with the last newline that was used.
func (l Lines) Append(dst []record.Record, buf []byte, offset int64, max int) ([]record.Record, int, Counts) {
	if l.Unit != Bytes {
		return l.appendWide(dst, buf, offset, max)
	}
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
	if offset == 0 {
		mark := l.Unit.mark(line)
		if mark > 0 && mark == length {
			return dst, c // nothing but the mark
		}
		line, offset, length = line[mark:], int64(mark), length-mark
	}
	return l.add(dst, line, offset, length, &c), c
}

// appendWide is Append for lines of pairs of bytes.
func (l Lines) appendWide(dst []record.Record, buf []byte, offset int64, max int) (recs []record.Record, used int, c Counts) {
	n := 0
	if offset == 0 {
		n = l.Unit.mark(buf)
	}
	for len(dst) < max {
		begin, end := l.Unit.Newline(buf[n:], offset+int64(n))
		if begin < 0 {
			break
		}
		dst = l.add(dst, buf[n:n+begin], offset+int64(n), begin, &c)
		n += end
		used = n
	}
	return dst, used, c
}

func (l Lines) add(dst []record.Record, line []byte, offset int64, length int, c *Counts) []record.Record {
	if length == len(line) && !l.KeepCR {
		line = l.Unit.trimCR(line)
		length = len(line)
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
		Value:  line[:min(len(line), l.MaxBytes)],
		Offset: offset,
		Extra: &record.Extra{Headers: []record.Header{{
			Key: record.HeaderTruncated, Value: strconv.AppendInt(nil, int64(length), 10),
		}}},
	})
}
