package kafka

import (
	"runtime"
	"sync"

	"github.com/IBM/sarama"
)

// press encodes and compresses flights, outside of every lock and on as many
// processors as there are. Safe for use from several goroutines.
type press struct {
	codec sarama.CompressionCodec
	compressor
	slots chan struct{} // one value for each flight under the press
}

func newPress(codec sarama.CompressionCodec, level int) (*press, error) {
	if !hasEncodedField {
		return nil, errEncodedField
	}
	c, err := newCompressor(codec, level)
	if err != nil {
		return nil, err
	}
	return &press{codec: codec, compressor: c, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}, nil
}

// sheet is what pressing one flight takes besides its result.
type sheet struct{ raw, packed []byte }

var sheets = sync.Pool{New: func() any { return new(sheet) }}

// run fills f.batch.
func (p *press) run(f *flight) error {
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	s := sheets.Get().(*sheet)
	defer sheets.Put(s)

	raw, first, newest := appendRecords(s.raw[:0], f)
	packed, err := p.compress(s.packed[:0], raw)
	if err != nil {
		return err
	}
	s.raw, s.packed = raw, packed
	encoded := append(make([]byte, 0, len(packed)), packed...)
	f.batch = newRecordBatch(encoded, f.records, p.codec, first, newest)
	return nil
}
