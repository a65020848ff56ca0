package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

// recorder is a broker's connection that keeps what is written.
type recorder struct {
	net.Conn
	bytes.Buffer
}

func (r *recorder) Dial(string, string) (net.Conn, error) { return r, nil }
func (r *recorder) Read([]byte) (int, error)              { return 0, io.EOF }
func (r *recorder) Write(b []byte) (int, error)           { return r.Buffer.Write(b) }
func (r *recorder) Close() error                          { return nil }
func (r *recorder) SetReadDeadline(time.Time) error       { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error      { return nil }

// written is the request that carries b.
func written(t *testing.T, b *sarama.RecordBatch) []byte {
	t.Helper()
	r := &recorder{}
	sc := sarama.NewConfig()
	sc.ApiVersionsRequest = false
	sc.Net.Proxy.Enable, sc.Net.Proxy.Dialer = true, r
	broker := sarama.NewBroker("recorder:0")
	require.NoError(t, broker.Open(sc))
	defer func() { require.NoError(t, broker.Close()) }()
	req := &sarama.ProduceRequest{Version: 7, RequiredAcks: sarama.NoResponse}
	req.AddBatch(topic, 0, b)
	require.NoError(t, broker.AsyncProduce(req, nil))
	return r.Bytes()
}

// writtenBy is the request that carries f, as the batch writer makes it.
func writtenBy(f *flight) []byte {
	w := &batchWriter{cluster: &cluster{cfg: Config{ClientID: "sarama"}}, acks: sarama.NoResponse}
	f.lane = &batchLane{lane: &lane{out: &outlet{topic: topic}}}
	p := newProduceRequest(w, 7, 0, []*flight{f})
	return append(p.appendPartition(p.appendHead(nil), 0), f.pack...)
}

// asSarama makes the batch of f in sarama's own way.
func asSarama(f *flight, codec sarama.CompressionCodec) *sarama.RecordBatch {
	b := &sarama.RecordBatch{
		Version: 2, PartitionLeaderEpoch: -1, Codec: codec, CompressionLevel: sarama.CompressionLevelDefault,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, LastOffsetDelta: f.records - 1,
	}
	for _, sp := range f.spans {
		for i := sp.from; i < sp.to; i++ {
			rec := &sp.parcel.batch.Records[i]
			at := sp.parcel.batch.Time
			out := &sarama.Record{Key: sp.parcel.keyOf(rec), Value: rec.Value, OffsetDelta: int64(len(b.Records))}
			if x := rec.Extra; x != nil {
				if !x.Time.IsZero() {
					at = x.Time
				}
				for _, h := range x.Headers {
					out.Headers = append(out.Headers, &sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
				}
			}
			if b.Records == nil {
				b.FirstTimestamp, b.MaxTimestamp = at, at
			}
			if at.After(b.MaxTimestamp) {
				b.MaxTimestamp = at
			}
			out.TimestampDelta = at.Truncate(time.Millisecond).Sub(b.FirstTimestamp.Truncate(time.Millisecond))
			b.Records = append(b.Records, out)
		}
	}
	return b
}

// randomFlight makes a flight of plain and odd records from several batches.
func randomFlight(rng *rand.Rand) *flight {
	var spans []span
	for range 1 + rng.IntN(4) {
		b := &record.Batch{Time: time.UnixMilli(1_700_000_000_000 + rng.Int64N(1000)), Source: source("/a")}
		for range 1 + rng.IntN(40) {
			r := record.Record{Value: bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(300))}
			if rng.IntN(3) == 0 {
				r.Extra = &record.Extra{Headers: []record.Header{{Key: "h", Value: nil}, {Key: "", Value: make([]byte, rng.IntN(200))}}}
				if rng.IntN(2) == 0 {
					r.Extra.Key = make([]byte, rng.IntN(100))
				}
				if rng.IntN(2) == 0 {
					r.Extra.Time = b.Time.Add(time.Duration(rng.Int64N(1e6)-5e5) * time.Millisecond)
				}
			}
			b.Records = append(b.Records, r)
		}
		p := &parcel{batch: b}
		if rng.IntN(2) == 0 {
			p.key = []byte("host")
		}
		from := int32(rng.IntN(len(b.Records)))
		spans = append(spans, span{p, from, int32(len(b.Records))})
	}
	return newFlight(nil, spans)
}

func TestRecordBatchesAreWhatSaramaWouldHaveWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p, err := newPress(sarama.CompressionNone, sarama.CompressionLevelDefault)
	require.NoError(t, err)
	for range 200 {
		f := randomFlight(rng)
		require.NoError(t, p.run(f))
		require.Equal(t, written(t, asSarama(f, sarama.CompressionNone)), writtenBy(f))
	}
}

func TestARecordBatchIsWrittenAgainUnderAnotherIdentity(t *testing.T) {
	p, err := newPress(sarama.CompressionLZ4, sarama.CompressionLevelDefault)
	require.NoError(t, err)
	f := randomFlight(rand.New(rand.NewPCG(3, 4)))
	require.NoError(t, p.run(f))
	plain := writtenBy(f)
	id := identity{id: 7, epoch: 1, next: 30}
	id.number(f)
	require.True(t, f.numbered)
	require.Equal(t, 30+f.records, id.next)
	require.NotEqual(t, plain, writtenBy(f))
	anonymous := anonymous
	anonymous.number(f)
	require.Equal(t, plain, writtenBy(f))
}

func TestSequenceNumbersBeginAgainBehindTheGreatest(t *testing.T) {
	require.Equal(t, int32(15), addSequence(5, 10))
	require.Equal(t, int32(math.MaxInt32), addSequence(math.MaxInt32-1, 1))
	require.Equal(t, int32(0), addSequence(math.MaxInt32, 1))
	require.Equal(t, int32(4), addSequence(math.MaxInt32-5, 10))
}

func TestVarintLengths(t *testing.T) {
	for _, v := range []int64{0, -1, 1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, math.MaxInt32, math.MinInt64, math.MaxInt64} {
		require.Len(t, binary.AppendVarint(nil, v), varintLen(v), "%d", v)
	}
}

func TestHalvesKeepEveryRecordInItsPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		f := randomFlight(rng)
		if f.records < 2 {
			continue
		}
		a, b := f.halves()
		require.Equal(t, f.records/2, a.records)
		require.Equal(t, f.records, a.records+b.records)
		require.Equal(t, f.bytes, a.bytes+b.bytes)
		require.Equal(t, recordsOf(f), append(recordsOf(a), recordsOf(b)...))
	}
}

func recordsOf(f *flight) (rs []*record.Record) {
	for _, sp := range f.spans {
		for i := sp.from; i < sp.to; i++ {
			rs = append(rs, &sp.parcel.batch.Records[i])
		}
	}
	return rs
}
