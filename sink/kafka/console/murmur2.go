package console

import "hash"

// murmur2 is the 32 bit hash by which Kafka's Java client picks a partition
// (org.apache.kafka.common.utils.Utils.murmur2): MurmurHash2 with a seed of
// its own. It needs the length first, so the bytes are gathered.
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

func (m *murmur2) Sum32() uint32 {
	const (
		seed = 0x9747b28c
		mul  = 0x5bd1e995
		roll = 24
	)
	data := m.data
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= mul
		k ^= k >> roll
		k *= mul
		h = h*mul ^ k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * mul
	}
	h ^= h >> 13
	h *= mul
	return h ^ h>>15
}
