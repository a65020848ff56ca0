// Package record holds the value that flows through logferry: a Batch of
// Records cut from one file.
//
// A batch is the unit of everything between a file and Kafka: it is read with
// one system call, crosses one channel, and is resolved once. Its records are
// slices of one buffer, so a line costs no copy, no allocation and no channel
// hop of its own.
package record

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Source says where a batch was read. One Source is shared by all batches of
// one file and is never changed after it was made; it may be read from any
// goroutine.
type Source struct {
	Task string // name of the task that collects the file
	Host string // id of the agent that reads it
	Path string // the name under which the file was found
	File string // stable identity of the file, "device-inode" in hex
}

// Header is one Kafka record header.
type Header struct {
	Key   string
	Value []byte
}

// Record is one line on its way to Kafka.
type Record struct {
	// Value is the payload: the line without its newline. It is a slice of
	// the batch's buffer and must not be changed or kept after Batch.Done.
	Value []byte
	// Offset is where the record starts in its file, in bytes.
	Offset int64
	// Extra carries what a plain line does not have; nil on the plain path.
	Extra *Extra
}

// Extra is what only some records carry.
type Extra struct {
	Key     []byte
	Topic   []byte // that it asks for; nil: the task's
	Headers []Header
	Time    time.Time // zero: the batch's time
	Stream  Stream
}

// Stream is what a container wrote a record to.
type Stream uint8

const (
	NoStream Stream = iota // it is of no container, or nothing is known of it
	Stdout
	Stderr
)

// String is "stdout", "stderr", or empty.
func (s Stream) String() string { return [...]string{"", "stdout", "stderr"}[s] }

// Has reports whether a header is set; e may be nil.
func (e *Extra) Has(header string) bool {
	if e == nil {
		return false
	}
	for i := range e.Headers {
		if e.Headers[i].Key == header {
			return true
		}
	}
	return false
}

// With adds a header to e, or to a new Extra if e is nil.
func (e *Extra) With(header string, value []byte) *Extra {
	if e == nil {
		e = &Extra{}
	}
	e.Headers = append(e.Headers, Header{Key: header, Value: value})
	return e
}

// HeaderTruncated marks a record that was cut at max_line_bytes. Its value is
// the full length of the line in bytes, in decimal.
const HeaderTruncated = "logferry.truncated"

// HeaderEncoding marks a record that could not be decoded and was left as it
// is in its file. Its value is the name of the encoding that it should be in.
const HeaderEncoding = "logferry.encoding"

// HeaderStream says which stream of a container a record was written to:
// stdout or stderr.
const HeaderStream = "logferry.stream"

// HeaderPartial marks a record of a container whose line goes on in the next
// record of its stream. Its value is why they are not one: split (together they
// are too long) or unfinished (the rest did not come in time).
const HeaderPartial = "logferry.partial"

// Batch is a run of whole records from one file, in file order.
//
// Ownership: the collector fills a batch and hands it over with its send on
// the task's channel; from then on it belongs to the sink, which may read it
// from any goroutine until it calls Done. After Done the buffer behind the
// values is used again, and nobody may touch the batch or its records.
type Batch struct {
	Source  *Source
	Records []Record  // may be empty: bytes that were dropped on purpose still move the offset
	Time    time.Time // when the bytes were read
	Start   int64     // file offset of the first byte that the batch accounts for
	End     int64     // file offset just behind the last one
	Size    int       // bytes that the batch holds of the task's budget

	owner Owner
	token uint64
	done  atomic.Bool
}

// Owner is told when a batch is resolved. The collector's tailers implement
// it; BatchDone may be called from any goroutine and must not block.
type Owner interface {
	BatchDone(b *Batch, token uint64)
}

// SetOwner arms the batch: its one Done is reported to o together with token.
func (b *Batch) SetOwner(o Owner, token uint64) {
	b.owner, b.token = o, token
	b.done.Store(false)
}

// Done reports that every record of the batch was delivered, or set aside on
// purpose (filtered, dead-lettered) and counted. It must be called exactly
// once; a second call is a broken invariant (an offset would be committed for
// a buffer that is in use again) and panics.
//
// A batch that cannot be resolved because the task stops is simply dropped:
// its bytes are read again after the next start.
func (b *Batch) Done() {
	if !b.done.CompareAndSwap(false, true) {
		panic(fmt.Sprintf("record: batch %s [%d,%d) resolved twice", b.Source.Path, b.Start, b.End))
	}
	if b.owner != nil {
		b.owner.BatchDone(b, b.token)
	}
}
