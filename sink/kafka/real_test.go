package kafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/kafkatest"
)

// shipReal starts a sink to a real cluster.
func shipReal(t *testing.T, k *kafkatest.Cluster, name string, cfg Config) *shipment {
	w := &world{t: t, brokers: k.Brokers()}
	return w.ship(cfg, Route{Topic: name, Partitioner: "file"})
}

// feed sends n lines of each path in the background, in turns, and closes the
// channel that it returns when the sink has taken them all or has ended.
func (s *shipment) feed(n int, paths ...string) <-chan struct{} {
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for i := 0; i < n; i += 50 {
			for _, p := range paths {
				select {
				case s.in <- s.batchOf(source(p), lines(p, i, i+50)...):
				case <-s.ended:
					return
				}
			}
		}
	}()
	return fed
}

// requireReal checks that a topic of a real cluster holds the lines 0..n-1 of
// each path, once and in order.
func requireReal(t *testing.T, k *kafkatest.Cluster, name string, n int, paths ...string) {
	t.Helper()
	next := make(map[string]int)
	for _, r := range k.ReadAll(t, name) {
		path, number, _ := strings.Cut(string(r.Value), " ")
		require.Equal(t, fmt.Sprint(next[path]), number, "of %s", path)
		next[path]++
	}
	for _, p := range paths {
		require.Equal(t, n, next[p], p)
	}
}

func TestRealKafkaGetsEveryCodecAndAcks(t *testing.T) {
	k := kafkatest.Shared(t)
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			for _, acks := range []string{"1", "all"} {
				cfg.Compression, cfg.Acks = codec, acks
				name := k.NewTopic(t, 3)
				s := shipReal(t, k, name, cfg)
				s.sendLines("/a", 0, 5000, 500)
				s.finish()
				requireReal(t, k, name, 5000, "/a")
			}
		}
	})
}

func TestRealKafkaRefusesOneRecordAndTakesTheRest(t *testing.T) {
	k := kafkatest.Shared(t)
	eachProducer(t, func(t *testing.T, cfg Config) {
		name := kafkatest.TopicName(t)
		k.CreateTopic(t, name, 1, 1, map[string]string{"max.message.bytes": "2000"})
		cfg.Compression = "none"
		s := shipReal(t, k, name, cfg)
		s.sendLines("/a", 0, 500, 100)
		s.send(s.batchOf(source("/a"), manyRecords(1, 0)[0], largeRecord(4000)))
		s.sendLines("/b", 0, 500, 100)
		s.finish()
		require.Len(t, s.letters(), 1)
		require.Equal(t, int64(1001), k.Count(t, name))
	})
}

func TestRealKafkaPausedOrKilledLosesDoublesAndReordersNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a broker's restart")
	}
	eachProducer(t, func(t *testing.T, cfg Config) {
		k := kafkatest.Start(t)
		for what, outage := range map[string]func(){
			"paused": func() { k.Pause(t, 0) },
			"killed": func() { k.Kill(t, 0) },
		} {
			t.Run(what, func(t *testing.T) {
				name := k.NewTopic(t, 2)
				cfg.RequestTimeout, cfg.BatchBytes = 500*time.Millisecond, 20_000
				s := shipReal(t, k, name, cfg)
				paths := []string{"/a", "/b", "/c"}
				fed := s.feed(40_000, paths...)
				require.Eventually(t, func() bool { return s.doneCount() > 50 }, patient, time.Millisecond)
				outage() // in the middle of the load
				s.errMatches(" ")
				if what == "paused" {
					k.Continue(t, 0)
				} else {
					k.Restart(t, 0)
				}
				<-fed
				s.finish()
				requireReal(t, k, name, 40_000, paths...)
			})
		}
	})
}
