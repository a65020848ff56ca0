package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func TestRecordsArriveOnceAndInOrderForEveryCodecAndAcks(t *testing.T) {
	eachProducer(t, func(t *testing.T, base Config) {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			for _, acks := range []string{"0", "1", "all"} {
				t.Run(codec+" acks "+acks, func(t *testing.T) {
					w := newWorld(t, 3)
					cfg := base
					cfg.Compression, cfg.Acks, cfg.BatchBytes = codec, acks, 20_000
					s := w.ship(cfg, Route{})
					n := s.sendLines("/a", 0, 2000, 100) + s.sendLines("/b", 0, 1000, 7)
					s.finish()
					require.Equal(t, n, s.doneCount())
					if acks == "0" {
						require.Eventually(t, func() bool { return len(w.consume(topic)) == 3000 }, patient, time.Millisecond)
					}
					recs := w.consume(topic)
					require.Equal(t, 3000, len(recs))
					w.requireLines(recs, "/a", 0, 2000)
					w.requireLines(recs, "/b", 0, 1000)
				})
			}
		}
	})
}

func TestKeysHeadersAndTimesArriveByteForByte(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{Key: "host"})
		odd := []byte{0, 255, 10, 13, 128}
		at := time.UnixMilli(1_600_000_000_123)
		b := s.batchOf(source("/a"),
			record.Record{Value: odd, Extra: &record.Extra{Key: odd, Time: at, Headers: []record.Header{{Key: "h", Value: odd}, {Key: "h", Value: nil}}}},
			record.Record{Value: []byte("plain")},
			record.Record{Value: []byte{}, Extra: &record.Extra{Headers: []record.Header{{Key: record.HeaderTruncated, Value: []byte("7")}}}},
		)
		read := b.Time
		s.send(b)
		s.finish()
		recs := w.consume(topic)
		require.Equal(t, 3, len(recs))
		require.Equal(t, odd, recs[0].Value)
		require.Equal(t, odd, recs[0].Key)
		require.Equal(t, at.UnixMilli(), recs[0].Time.UnixMilli())
		require.Len(t, recs[0].Headers, 2)
		require.Equal(t, odd, recs[0].Headers[0].Value)
		require.Equal(t, "h", recs[0].Headers[1].Key)
		require.Equal(t, "plain", string(recs[1].Value))
		require.Equal(t, "host-1", string(recs[1].Key))
		require.Equal(t, read.UnixMilli(), recs[1].Time.UnixMilli())
		require.Empty(t, recs[2].Value)
		require.Equal(t, record.HeaderTruncated, recs[2].Headers[0].Key)
	})
}

func TestAnEmptyBatchIsDone(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{})
		s.send(s.batchOf(source("/a")))
		s.finish()
		require.Equal(t, 1, s.doneCount())
	})
}

func TestAnIdleRecordIsDeliveredWithinTheLinger(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.Linger = 20 * time.Millisecond
		s := w.ship(cfg, Route{})
		for i := range 3 {
			s.sendLines("/a", i, i+1, 1)
			require.Eventually(t, func() bool { return s.doneCount() == i+1 }, patient, time.Millisecond)
		}
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 3)
	})
}

func TestManyBatchesInFlightOfManyFilesKeepTheirOrder(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 5)
		s := w.ship(cfg, Route{})
		for i := range 50 {
			for f := range 10 {
				s.sendLines(fmt.Sprintf("/f%d", f), i*20, i*20+20, 20)
			}
		}
		s.finish()
		recs := w.consume(topic)
		require.Equal(t, 10_000, len(recs))
		for f := range 10 {
			w.requireLines(recs, fmt.Sprintf("/f%d", f), 0, 1000)
		}
	})
}
