package kafka

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// press encodes and compresses flights, outside of every lock and on as many
// processors as there are. Safe for use from several goroutines.
type press struct {
	codec sarama.CompressionCodec
	compressor
	slots chan struct{} // one value for each flight under the press
}

// processors is how many there are when the program starts: the runtime may be
// told to leave some alone for a while.
var processors = runtime.GOMAXPROCS(0)

func newPress(codec sarama.CompressionCodec, level int) (*press, error) {
	c, err := newCompressor(codec, level)
	if err != nil {
		return nil, err
	}
	return &press{codec: codec, compressor: c, slots: make(chan struct{}, processors)}, nil
}

// maxSheet is how much memory a sheet keeps for the next flight, in bytes.
const maxSheet = 4 << 20

// epoch is the earliest time that a batch can begin with.
var epoch = time.Unix(0, 0)

// sheet is what pressing one flight takes besides its result.
type sheet struct{ raw, packed []byte }

// sheets are those that wait for a flight of any task: one for each processor,
// the last one used on top. A sync.Pool would lose them to each collection and
// so be the cause of the next one.
var sheets struct {
	sync.Mutex
	free []*sheet
}

func takeSheet() *sheet {
	sheets.Lock()
	defer sheets.Unlock()
	n := len(sheets.free)
	if n == 0 {
		return new(sheet)
	}
	s := sheets.free[n-1]
	sheets.free = sheets.free[:n-1]
	return s
}

func returnSheet(s *sheet) {
	sheets.Lock()
	defer sheets.Unlock()
	if len(sheets.free) < processors {
		sheets.free = append(sheets.free, s)
	}
}

const (
	packUnit  = 16 << 10 // large packs are made in multiples of it, so that they fit others
	maxPacked = 4 << 20  // how many bytes of packs wait for a flight
)

// packs are the results of flights that are settled; those of the next ones go
// where they were.
var packs struct {
	sync.Mutex
	free  [][]byte
	bytes int
}

// keepPack returns a copy of packed in a pack that is not much larger.
func keepPack(packed []byte) []byte {
	if len(packed) < packUnit {
		return bytes.Clone(packed)
	}
	return append(takePack(len(packed)), packed...)
}

func takePack(n int) []byte {
	packs.Lock()
	defer packs.Unlock()
	for i := len(packs.free) - 1; i >= 0; i-- {
		if b := packs.free[i]; cap(b) >= n && cap(b) <= 2*n {
			packs.free = slices.Delete(packs.free, i, i+1)
			packs.bytes -= cap(b)
			return b
		}
	}
	return make([]byte, 0, (n+packUnit-1)/packUnit*packUnit)
}

// returnPack takes the pack of a flight that nobody will send again.
func returnPack(b []byte) {
	if cap(b) < packUnit {
		return
	}
	packs.Lock()
	defer packs.Unlock()
	packs.free = append(packs.free, b[:0])
	packs.bytes += cap(b)
	for packs.bytes > maxPacked { // the oldest fit least
		packs.bytes -= cap(packs.free[0])
		packs.free = slices.Delete(packs.free, 0, 1)
	}
}

// run fills f.pack and f.batch.
func (p *press) run(f *flight) error {
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	s := takeSheet()
	defer returnSheet(s)

	raw, first, newest := appendRecords(s.raw[:0], f)
	if first.Before(epoch) { // newest is not before first
		return sarama.ErrInvalidTimestamp
	}
	packed, err := p.compress(s.packed[:0], raw)
	if err != nil {
		return err
	}
	if cap(raw) <= maxSheet { // what one huge record took is not kept
		s.raw, s.packed = raw, packed
	}
	f.pack = keepPack(packed)
	f.batch = &recordBatch{records: f.records, codec: p.codec, first: first, newest: newest, producer: anonymous}
	return nil
}
