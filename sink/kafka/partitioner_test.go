package kafka

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func always(int32) bool { return true }

func TestKeyHashesAgreeWithSarama(t *testing.T) {
	for rule, constructor := range map[string]sarama.PartitionerConstructor{
		"hash":           sarama.NewHashPartitioner,
		"reference_hash": sarama.NewReferenceHashPartitioner,
		"crc32":          sarama.NewConsistentCRCHashPartitioner,
		"murmur2":        sarama.NewMurmur2Partitioner,
	} {
		p, theirs := newPicker(rule, 0), constructor(topic)
		for i := range 2000 {
			key := []byte(fmt.Sprintf("key-%d\xff", i*i))
			if i == 0 {
				key = []byte{}
			}
			for _, n := range []int32{1, 3, 12, 100} {
				want, err := theirs.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, n)
				require.NoError(t, err)
				require.Equal(t, want, p.record(key, n, -1, always), "%s of %q in %d", rule, key, n)
			}
		}
	}
}

// The vectors are those of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2AgreesWithTheJavaClient(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		require.Equal(t, want, int32(Murmur2([]byte(key))), key)
	}
}

func TestBatchRules(t *testing.T) {
	b := &record.Batch{Source: source("/var/log/web.log")}
	h := fnv.New32a()
	_, _ = h.Write([]byte("/var/log/web.log"))
	require.Equal(t, int32(h.Sum32()%7), newPicker("file", 0).batch(b, 7, always))
	require.Equal(t, int32(5), newPicker("manual", 5).batch(b, 7, always))

	large := &record.Batch{Source: source("/a"), End: stickyRun}
	sticky := newPicker("sticky", 0)
	first := sticky.batch(large, 3, always)
	for i := int32(1); i < 7; i++ {
		require.Equal(t, (first+i)%3, sticky.batch(large, 3, always))
	}
}

func TestStickyStaysForARunOfSmallBatches(t *testing.T) {
	small := &record.Batch{Source: source("/a"), Start: 100, End: 100 + stickyRun/4}
	p := newPicker("sticky", 0)
	first := p.batch(small, 3, always)
	for i := int32(1); i < 28; i++ {
		require.Equal(t, (first+i/4)%3, p.batch(small, 3, always))
	}
}

func TestStickyLeavesAPartitionInTroubleAndOneThatIsGone(t *testing.T) {
	small := &record.Batch{Source: source("/a"), End: 1}
	p := newPicker("sticky", 0)
	at := p.batch(small, 3, func(c int32) bool { return c == 2 })
	require.Equal(t, int32(2), at)
	require.Equal(t, int32(2), p.batch(small, 3, always))
	require.NotEqual(t, int32(2), p.batch(small, 3, func(c int32) bool { return c != 2 }))
	p = newPicker("sticky", 0)
	require.Equal(t, int32(2), p.batch(small, 3, func(c int32) bool { return c == 2 }))
	require.Less(t, p.batch(small, 2, always), int32(2), "the topic was made anew with fewer partitions")
}

func TestAnyPartitionRulesPassOverTrouble(t *testing.T) {
	b := &record.Batch{Source: source("/a")}
	onlyTwo := func(p int32) bool { return p == 2 }
	for range 10 {
		require.Equal(t, int32(2), newPicker("sticky", 0).batch(b, 4, onlyTwo))
		require.Equal(t, int32(2), newPicker("round_robin", 0).record(nil, 4, 0, onlyTwo))
		require.Equal(t, int32(2), newPicker("random", 0).record(nil, 4, 0, onlyTwo))
	}
	none := func(int32) bool { return false }
	require.Less(t, newPicker("sticky", 0).batch(b, 4, none), int32(4))
}

func TestEachRuleDistributesRecords(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, tc := range []struct {
			rule, key string
			min, max  int // partitions used, of 4
		}{
			{"file", "", 1, 1}, {"manual", "", 1, 1}, {"sticky", "", 4, 4}, {"round_robin", "", 4, 4}, {"random", "", 3, 4},
			{"hash", "path", 1, 1}, {"reference_hash", "host", 1, 1}, {"crc32", "host", 1, 1}, {"murmur2", "host", 1, 1},
			{"hash", "", 4, 4}, {"murmur2", "", 4, 4}, // without a key as sticky
		} {
			t.Run(tc.rule+" key "+tc.key, func(t *testing.T) {
				w := newWorld(t, 4)
				s := w.ship(cfg, Route{Partitioner: tc.rule, Key: tc.key, Partition: 3})
				s.sendLines("/a", 0, 100, 5)
				s.finish()
				recs := w.consume(topic)
				require.Equal(t, 100, len(recs))
				used := make(map[int32]int)
				for _, r := range recs {
					used[r.Partition]++
				}
				require.GreaterOrEqual(t, len(used), tc.min)
				require.LessOrEqual(t, len(used), tc.max)
				if tc.rule == "manual" {
					require.Contains(t, used, int32(3))
				}
				if tc.rule == "round_robin" {
					require.Equal(t, 25, used[0])
				}
			})
		}
	})
}

func TestRecordsWithKeysOfTheirOwnAreHashedByThem(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 5)
		s := w.ship(cfg, Route{Partitioner: "murmur2", Key: "host"})
		var recs []record.Record
		for i := range 200 {
			recs = append(recs, record.Record{Value: []byte("v"), Extra: &record.Extra{Key: fmt.Appendf(nil, "k%d", i)}})
		}
		s.send(s.batchOf(source("/a"), recs...))
		s.finish()
		got := w.consume(topic)
		require.Equal(t, 200, len(got))
		for _, r := range got {
			require.Equal(t, int32(Murmur2(r.Key)&0x7fffffff)%5, r.Partition)
		}
	})
}
