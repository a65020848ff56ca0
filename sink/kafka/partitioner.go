package kafka

import (
	"hash/crc32"
	"hash/fnv"
	"math/rand/v2"

	"logferry/internal/record"
)

// Partitioners names the rules that Route.Partitioner may ask for.
var Partitioners = []string{
	"file",           // all lines of a path to one partition (default)
	"sticky",         // the partitions in turn, each for a run of whole batches
	"round_robin",    // the partitions in turn, record by record
	"random",         // any, record by record
	"hash",           // sarama's FNV-1a of the key; this one and the next three as sticky without a key
	"reference_hash", // sarama's reference FNV-1a of the key
	"crc32",          // IEEE CRC-32 of the key, as librdkafka's "consistent"
	"murmur2",        // the Java client's hash of the key
	"manual",         // always Route.Partition
}

// keyHashes holds the rules that look at the key.
var keyHashes = map[string]func(key []byte, n int32) int32{
	"hash":           hashPartition,
	"reference_hash": referenceHashPartition,
	"crc32":          func(key []byte, n int32) int32 { return int32(crc32.ChecksumIEEE(key) % uint32(n)) },
	"murmur2":        func(key []byte, n int32) int32 { return int32(Murmur2(key)&0x7fffffff) % n },
}

// stickyRun is how many bytes go to one partition until it is the next one's
// turn, as in the Java client since KIP-794: lines that come one by one then make
// fewer and larger record batches.
const stickyRun = 16 << 10

// picker chooses partitions for the records of one task. It belongs to one
// goroutine.
type picker struct {
	rule   string
	manual int32
	hash   func(key []byte, n int32) int32 // nil for rules that ignore the key
	turn   int32                           // next partition of sticky and round_robin
	at     int32                           // partition that sticky is at
	run    int64                           // bytes that it was given there; 0: the next one's turn has come
}

func newPicker(rule string, manual int32) *picker {
	return &picker{rule: rule, manual: manual, hash: keyHashes[rule], turn: rand.Int32N(1 << 16)}
}

// batch returns the partition, of n, for all records of b that do not get one
// of their own; healthy says whether a partition is worth choosing where any
// would do.
func (p *picker) batch(b *record.Batch, n int32, healthy func(int32) bool) int32 {
	switch p.rule {
	case "file":
		h := fnv.New32a()
		_, _ = h.Write([]byte(b.Source.Path))
		return int32(h.Sum32() % uint32(n))
	case "manual":
		return p.manual
	case "round_robin", "random":
		return 0 // its records take their own turns
	}
	return p.stick(b.End-b.Start, n, healthy)
}

// stick chooses for a batch of so many bytes: the partition of the one before,
// until that has had its run or is in trouble.
func (p *picker) stick(bytes int64, n int32, healthy func(int32) bool) int32 {
	if p.run == 0 || p.at >= n || !healthy(p.at) {
		p.at, p.run = p.next(n, healthy), 0
	}
	if p.run += bytes; p.run >= stickyRun {
		p.run = 0
	}
	return p.at
}

// each says whether records of a batch get partitions of their own.
func (p *picker) each() bool {
	return p.hash != nil || p.rule == "round_robin" || p.rule == "random"
}

// record returns the partition, of n, for one record; sticky is what batch
// returned for its batch.
func (p *picker) record(key []byte, n, sticky int32, healthy func(int32) bool) int32 {
	switch {
	case p.rule == "round_robin":
		return p.next(n, healthy)
	case p.rule == "random":
		return nearest(rand.Int32N(n), n, healthy)
	case key == nil:
		return sticky
	}
	return p.hash(key, n)
}

// next takes the partitions in turn and passes over those in trouble.
func (p *picker) next(n int32, healthy func(int32) bool) int32 {
	c := nearest(p.turn%n, n, healthy)
	p.turn = (c + 1) % n
	return c
}

// nearest returns the first healthy partition from c on, or c if there is none.
func nearest(c, n int32, healthy func(int32) bool) int32 {
	for i := range n {
		if k := (c + i) % n; healthy(k) {
			return k
		}
	}
	return c
}

func hashPartition(key []byte, n int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write(key)
	p := int32(h.Sum32()) % n
	if p < 0 {
		return -p
	}
	return p
}

func referenceHashPartition(key []byte, n int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write(key)
	return int32(h.Sum32()&0x7fffffff) % n
}

// Murmur2 is the 32-bit hash of Kafka's Java client
// (org.apache.kafka.common.utils.Utils.murmur2), seed 0x9747b28c.
func Murmur2(data []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
