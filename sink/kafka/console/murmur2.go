package console

import (
	"hash"

	"logferry/sink/kafka"
)

// murmur2 makes kafka.Murmur2 a hash.Hash32, as sarama's partitioners want it.
// It needs the length first, so the bytes are gathered.
type murmur2 struct{ data []byte }

func newMurmur2() hash.Hash32 { return &murmur2{} }

func (m *murmur2) Write(p []byte) (int, error) {
	m.data = append(m.data, p...)
	return len(p), nil
}

func (m *murmur2) Sum(b []byte) []byte {
	h := m.Sum32()
	return append(b, byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
}

func (m *murmur2) Reset()         { m.data = m.data[:0] }
func (m *murmur2) Size() int      { return 4 }
func (m *murmur2) BlockSize() int { return 4 }

func (m *murmur2) Sum32() uint32 { return kafka.Murmur2(m.data) }
