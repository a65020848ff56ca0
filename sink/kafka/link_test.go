package kafka

import (
	"bytes"
	"encoding/binary"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
)

// to makes a flight of one record for a partition, pressed.
func to(t *testing.T, name string, partition int32, value string) *flight {
	t.Helper()
	p, err := newPress(sarama.CompressionNone, sarama.CompressionLevelDefault)
	require.NoError(t, err)
	b := &record.Batch{Source: source("/a"), Time: time.Now(), Records: []record.Record{{Value: []byte(value)}}}
	f := newFlight(&batchLane{lane: &lane{out: &outlet{topic: name}}, to: partition}, []span{{&parcel{batch: b}, 0, 1}})
	require.NoError(t, p.run(f))
	return f
}

func TestARequestHoldsEachTopicOnce(t *testing.T) {
	w := &batchWriter{cluster: &cluster{cfg: Config{ClientID: "me"}}, acks: sarama.WaitForAll, timeout: 1500}
	fs := []*flight{to(t, "b", 0, "b0"), to(t, "a", 5, "a5"), to(t, "b", 7, "b7"), to(t, "c", 0, "c0"), to(t, "a", 1, "a1")}
	p := newProduceRequest(w, 7, 99, fs)
	b := p.appendHead(nil)
	for i, f := range p.flights {
		b = append(p.appendPartition(b, i), f.pack...)
	}
	require.Len(t, b, p.size)
	require.EqualValues(t, p.size-4, binary.BigEndian.Uint32(b))
	require.EqualValues(t, 99, binary.BigEndian.Uint32(b[8:]))

	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(7)
	require.NoError(t, req.ReadFrom(b[12+2+len("me"):]))
	require.EqualValues(t, -1, req.Acks)
	require.EqualValues(t, 1500, req.TimeoutMillis)
	require.Nil(t, req.TransactionID)
	got := map[string][]int32{}
	for _, topic := range req.Topics {
		require.NotContains(t, got, topic.Topic)
		for _, part := range topic.Partitions {
			got[topic.Topic] = append(got[topic.Topic], part.Partition)
			var batch kmsg.RecordBatch
			require.NoError(t, batch.ReadFrom(part.Records))
			require.EqualValues(t, 1, batch.NumRecords)
		}
	}
	require.Equal(t, map[string][]int32{"a": {5, 1}, "b": {0, 7}, "c": {0}}, got)
	require.Equal(t, "b", fs[0].lane.out.topic, "the caller's order is left alone")
}

func TestARequestIsTheSameHoweverItIsWritten(t *testing.T) {
	w := &batchWriter{cluster: &cluster{cfg: Config{ClientID: "me", RequestTimeout: time.Minute}}, acks: sarama.WaitForAll}
	r := &recorder{}
	l := &link{w: w, version: 7, out: r, conn: &conn{Conn: r, d: newDialer(w.cluster.cfg)}}
	for _, sizes := range [][]int{
		{10}, {smallPack}, {smallPack + 1}, {1 << 20}, {10, 1 << 20, 10}, {15_000, 15_000, 15_000, 15_000, 15_000, 15_000}, {1 << 20, 1 << 20},
	} {
		var fs []*flight
		for i, n := range sizes {
			fs = append(fs, to(t, topic, int32(i), strings.Repeat("x", n)))
		}
		p := newProduceRequest(w, 7, 0, fs)
		want := p.appendHead(nil)
		for i, f := range fs {
			want = append(p.appendPartition(want, i), f.pack...)
		}
		r.Reset()
		require.NoError(t, l.put(fs))
		require.True(t, bytes.Equal(want, r.Bytes()), "%d bytes instead of %d", r.Len(), len(want))
		require.LessOrEqual(t, cap(l.buf), 2*(gathered+smallPack))
	}
}

func TestAnAnswerThatIsCutOffIsAnError(t *testing.T) {
	fs := []*flight{to(t, "a", 1, "x"), to(t, "a", 2, "x"), to(t, "b", 1, "x"), to(t, "c", 0, "x")}
	for _, version := range []int16{3, 4, 5, 6, 7} {
		res := kmsg.NewPtrProduceResponse()
		res.SetVersion(version)
		res.ThrottleMillis = 1200
		part := func(n int32, code int16) kmsg.ProduceResponseTopicPartition {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode, p.BaseOffset = n, code, 77
			return p
		}
		res.Topics = []kmsg.ProduceResponseTopic{
			{Topic: "b", Partitions: []kmsg.ProduceResponseTopicPartition{part(1, int16(sarama.ErrNotLeaderForPartition)), part(9, 3)}},
			{Topic: "a", Partitions: []kmsg.ProduceResponseTopicPartition{part(2, int16(sarama.ErrDuplicateSequenceNumber)), part(1, 0)}},
		}
		body := res.AppendTo(nil)
		var a answer
		require.NoError(t, a.decode(body, version, fs))
		require.Equal(t, []error{nil, nil, sarama.ErrNotLeaderForPartition, sarama.ErrIncompleteResponse}, a.outcomes)
		require.Equal(t, 1200*time.Millisecond, a.throttle)
		for n := range body {
			require.Error(t, a.decode(body[:n], version, fs), "%d bytes", n)
		}
		require.Error(t, a.decode(append(body, 0), version, fs))
	}
	var a answer
	require.Error(t, a.decode([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 7, fs), "an array of a negative length")
	require.Error(t, a.decode([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 7, fs), "an array that would take for ever")
}

// sarama tells nobody when it would renew a login, so a field of its own is read.
func TestSaramaStillKnowsWhenALoginEnds(t *testing.T) {
	f, ok := reflect.TypeFor[sarama.Broker]().FieldByName(renewalField)
	require.True(t, ok)
	require.Equal(t, reflect.TypeFor[int64](), f.Type)
	require.False(t, loginIsDue(sarama.NewBroker("x:1"), time.Time{}))
}

func TestALineThatLooksLikeALoginIsWrittenAsItIs(t *testing.T) {
	looksLike := append([]byte{0, 0, 0, 99, 0, saslHandshakeKey, 0, 1, 0, 0}, disguise...)
	for _, below := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return &plainConn{c} }, func(c net.Conn) net.Conn { return c },
	} {
		r := &recorder{}
		l := &link{out: pastLogins(&conn{Conn: below(r)})}
		require.NoError(t, l.write(looksLike))
		require.Equal(t, looksLike, r.Bytes())
	}
}

// sender is the one of the only broker.
func (s *shipment) sender() *sender {
	s.t.Helper()
	writer := s.sink.running.Load().batch
	writer.mu.Lock()
	defer writer.mu.Unlock()
	require.Len(s.t, writer.senders, 1)
	for _, to := range writer.senders {
		return to
	}
	return nil
}

func TestAConnectionThatWasClosedWhileNothingCameIsNoError(t *testing.T) {
	w := newWorld(t, 1)
	s := w.ship(Config{Producer: "batch", RetryBackoffMax: time.Minute, RetryBackoff: time.Minute}, Route{})
	s.sendLines("/a", 0, 10, 10)
	s.settled(1)
	to := s.sender()
	to.sending.Lock()
	old := to.link
	require.False(t, hungUp(old.conn.raw))
	w.gate.cut()
	require.Eventually(t, func() bool { return hungUp(old.conn.raw) }, patient, time.Millisecond)
	old.used = time.Now().Add(-restless)
	to.sending.Unlock()
	s.sendLines("/a", 10, 20, 10)
	s.finish() // a retry would wait for a minute
	require.NotSame(t, old, to.link)
	require.Zero(t, testutil.CollectAndCount(s.m.errors))
	w.requireLines(w.consume(topic), "/a", 0, 20)
}

func TestABrokerThatClosesWithoutAcknowledgementsIsNotTakenForIdle(t *testing.T) {
	w := newWorld(t, 1)
	s := w.ship(Config{Producer: "batch", Acks: "0", Idempotent: new(bool)}, Route{})
	s.sendLines("/a", 0, 10, 10)
	s.settled(1)
	to := s.sender()
	to.sending.Lock()
	w.gate.cut()
	require.Eventually(t, func() bool { return hungUp(to.link.conn.raw) }, patient, time.Millisecond)
	to.link.used = time.Now().Add(-restless)
	to.sending.Unlock()
	s.sendLines("/a", 10, 20, 10)
	s.finish()
	require.NotZero(t, testutil.CollectAndCount(s.m.errors), "the lane has looked for the leader anew")
	w.requireLines(w.consume(topic), "/a", 0, 20)
}

func TestAConnectionWithARequestOpenIsNotReplaced(t *testing.T) {
	w := newWorld(t, 2)
	s := w.ship(Config{Producer: "batch"}, Route{Partitioner: "sticky"})
	for n := range 2 { // both lanes know their leader and have an identity
		s.sendLines("/a", n, n+1, 1)
		s.settled(n + 1)
	}
	to := s.sender()
	link := to.link
	open := func(n int) func() bool {
		return func() bool {
			link.mu.Lock()
			defer link.mu.Unlock()
			return link.count == n
		}
	}
	w.gate.mutedAfter(0)
	s.sendLines("/a", 2, 3, 1)
	require.Eventually(t, open(1), patient, time.Millisecond)
	to.sending.Lock()
	link.used = time.Now().Add(-restless)
	to.sending.Unlock()
	s.sendLines("/a", 3, 4, 1)
	require.Eventually(t, open(2), patient, time.Millisecond)
	require.Same(t, link, to.link)
}

func TestAThrottledSinkSendsNothingAndStillEnds(t *testing.T) {
	w := newWorld(t, 1)
	var requests atomic.Int32
	w.fake.ControlKey(0, func(r kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		requests.Add(1)
		req := r.(*kmsg.ProduceRequest)                   //nolint:forcetypeassert // of that key
		res := req.ResponseKind().(*kmsg.ProduceResponse) //nolint:forcetypeassert // as above
		res.ThrottleMillis = int32(time.Hour / time.Millisecond)
		for _, topic := range req.Topics {
			out := kmsg.NewProduceResponseTopic()
			out.Topic = topic.Topic
			for _, part := range topic.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition = part.Partition
				out.Partitions = append(out.Partitions, p)
			}
			res.Topics = append(res.Topics, out)
		}
		return res, nil, true
	})
	s := w.ship(Config{Producer: "batch"}, Route{})
	s.sendLines("/a", 0, 10, 10)
	s.settled(1)
	s.sendLines("/a", 10, 20, 10)
	to := s.sender()
	require.Eventually(t, func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return len(to.queue) == 1
	}, patient, time.Millisecond)
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(patient):
		require.FailNow(t, "the sink does not end")
	}
	require.EqualValues(t, 1, requests.Load())
	require.Equal(t, 1, s.doneCount())
}
