package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/sink/kafka/admin"
)

func TestProduceReportsEachLineInOrderWithItsOffset(t *testing.T) {
	topic := newTopic(t, 1)
	text, lines := numbered(10_000)
	got := send(t, ProduceOptions{Topic: topic}, text)
	require.Len(t, got, len(lines))
	for i, s := range got {
		require.Equal(t, Sent{Line: int64(i + 1), Partition: 0, Offset: int64(i)}, s)
	}
	require.Equal(t, lines, values(readAll(t, topic)))
}

func TestProduceTakesLinesApart(t *testing.T) {
	for _, c := range []struct {
		name, text string
		opts       ProduceOptions
		want       []string // key=value
	}{
		{"newline", "a\nb\n", ProduceOptions{}, []string{"-=a", "-=b"}},
		{"carriage return", "a\r\nb\r\n", ProduceOptions{}, []string{"-=a", "-=b"}},
		{"no newline at the end", "a\nb", ProduceOptions{}, []string{"-=a", "-=b"}},
		{"empty line", "\na\n", ProduceOptions{}, []string{"-=", "-=a"}},
		{"no line", "", ProduceOptions{}, []string{}},
		{"one key for all", "a\nb\n", ProduceOptions{Key: "k"}, []string{"k=a", "k=b"}},
		{"keys in lines", "k1:a\nk2:b:c\n", ProduceOptions{KeySeparator: ":"}, []string{"k1=a", "k2=b:c"}},
		{"long line", strings.Repeat("x", 200_000) + "\n", ProduceOptions{}, []string{"-=" + strings.Repeat("x", 200_000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Topic = newTopic(t, 1)
			send(t, c.opts, c.text)
			got := []string{}
			for _, m := range readAll(t, c.opts.Topic) {
				key := "-"
				if m.Key != nil {
					key = string(m.Key)
				}
				got = append(got, key+"="+string(m.Value))
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestProduceFollowsThePartitioner(t *testing.T) {
	two := int32(2)
	for _, c := range []struct {
		name string
		opts ProduceOptions
		want []int32 // nil: only that it works
	}{
		{"round robin", ProduceOptions{Partitioner: "round_robin"}, []int32{0, 1, 2, 0}},
		{"manual", ProduceOptions{Partitioner: "manual", Partition: &two}, []int32{2, 2, 2, 2}},
		{"manual by the partition alone", ProduceOptions{Partition: &two}, []int32{2, 2, 2, 2}},
		{"random", ProduceOptions{Partitioner: "random"}, nil},
		{"hash", ProduceOptions{Partitioner: "hash", Key: "k"}, nil},
		{"reference hash", ProduceOptions{Partitioner: "reference_hash", Key: "k"}, nil},
		// Of librdkafka's consistent partitioner: crc32("k") % 3.
		{"crc32", ProduceOptions{Partitioner: "crc32", Key: "k"}, nil},
		{"murmur2", ProduceOptions{Partitioner: "murmur2", Key: "k"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Topic = newTopic(t, 3)
			var got []int32
			for _, s := range send(t, c.opts, "a\nb\nc\nd\n") {
				got = append(got, s.Partition)
			}
			if c.want != nil {
				require.Equal(t, c.want, got)
			}
			if c.opts.Key != "" {
				require.Equal(t, []int32{got[0], got[0], got[0], got[0]}, got)
			}
		})
	}
}

func TestMurmur2IsThatOfTheJavaClient(t *testing.T) {
	// From org.apache.kafka.common.utils.UtilsTest.
	for text, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		h := newMurmur2()
		_, _ = h.Write([]byte(text))
		require.Equal(t, want, int32(h.Sum32()), text)
	}
}

func TestProducePutsHeadersOnEachRecord(t *testing.T) {
	topic := newTopic(t, 1)
	send(t, ProduceOptions{Topic: topic, Headers: []Header{{"env", "prod"}}}, "a\n")
	require.Equal(t, []Header{{"env", "prod"}}, readAll(t, topic)[0].Headers)
}

func TestProduceWorksWithEveryAckAndCodec(t *testing.T) {
	for _, acks := range []string{"0", "1", "all"} {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			t.Run(acks+" "+codec, func(t *testing.T) {
				cfg := config()
				cfg.Acks, cfg.Compression = acks, codec
				topic := newTopic(t, 1)
				var got []Sent
				err := Produce(context.Background(), cfg, ProduceOptions{Topic: topic}, strings.NewReader("a\nb\n"),
					func(s Sent) error { got = append(got, s); return nil })
				require.NoError(t, err)
				require.Len(t, got, 2)
				if acks == "0" {
					require.EqualValues(t, -1, got[1].Offset)
				} else {
					require.EqualValues(t, 1, got[1].Offset)
				}
				require.Eventually(t, func() bool { return len(readAll(t, topic)) == 2 }, time.Minute, 10*time.Millisecond)
			})
		}
	}
}

func TestProduceRefusesWhatCannotBe(t *testing.T) {
	nine, negative := int32(9), int32(-1)
	topic := newTopic(t, 2)
	for _, c := range []struct {
		name string
		opts ProduceOptions
		want string
	}{
		{"no topic", ProduceOptions{}, "a topic is needed"},
		{"unknown topic", ProduceOptions{Topic: "nope"}, `topic "nope" does not exist`},
		{"unknown partition", ProduceOptions{Topic: topic, Partition: &nine}, "has no partition 9: it has 2"},
		{"negative partition", ProduceOptions{Topic: topic, Partition: &negative}, "a partition is 0 or more"},
		{"unknown partitioner", ProduceOptions{Topic: topic, Partitioner: "file"}, `"file" is not a partitioner`},
		{"manual without a partition", ProduceOptions{Topic: topic, Partitioner: "manual"}, "manual needs one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Produce(context.Background(), config(), c.opts, strings.NewReader("a\n"), func(Sent) error { return nil })
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestALineThatIsTooLargeIsReportedAndTheNextOneSent(t *testing.T) {
	cfg := config()
	cfg.MaxMessageBytes = 2000
	topic := newTopic(t, 1)
	var got []Sent
	err := Produce(context.Background(), cfg, ProduceOptions{Topic: topic},
		strings.NewReader("a\n"+strings.Repeat("x", 5000)+"\nb\n"), func(s Sent) error { got = append(got, s); return nil })
	require.ErrorContains(t, err, "1 of 3 lines were not delivered; the first: line 2")
	require.Len(t, got, 3)
	require.NoError(t, got[0].Err)
	require.ErrorContains(t, got[1].Err, "5000 bytes")
	require.NoError(t, got[2].Err)
	require.Equal(t, []string{"a", "b"}, values(readAll(t, topic)))
}

func TestALineWithoutItsKeySeparatorEndsProduce(t *testing.T) {
	topic := newTopic(t, 1)
	err := Produce(context.Background(), config(), ProduceOptions{Topic: topic, KeySeparator: ":"},
		strings.NewReader("k:a\nplain\n"), func(Sent) error { return nil })
	require.ErrorContains(t, err, `line 2: no key separator ":" in it`)
	require.Equal(t, []string{"a"}, values(readAll(t, topic)))
}

func TestProduceEndsWhenItsReportFails(t *testing.T) {
	full := errors.New("no space")
	err := Produce(context.Background(), config(), ProduceOptions{Topic: newTopic(t, 1)},
		strings.NewReader("a\nb\n"), func(Sent) error { return full })
	require.ErrorIs(t, err, full)
}

func TestProduceReportsWhatReadingFailsWith(t *testing.T) {
	broken := errors.New("the disk is gone")
	err := Produce(context.Background(), config(), ProduceOptions{Topic: newTopic(t, 1)},
		io.MultiReader(strings.NewReader("a\n"), errReader{broken}), func(Sent) error { return nil })
	require.ErrorIs(t, err, broken)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestProduceStopsWithItsContextAndAnswersWhatWasSent(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, w := io.Pipe()
	answered := make(chan Sent, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Produce(ctx, config(), ProduceOptions{Topic: newTopic(t, 1)}, r,
			func(s Sent) error { answered <- s; return nil })
	}()
	fmt.Fprintln(w, "a")
	require.EqualValues(t, 0, (<-answered).Offset) // answered while the input is still open
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, w.Close())
}

func TestProduceNamesBrokersThatCannotBeReached(t *testing.T) {
	cfg := config()
	cfg.Brokers = []string{"127.0.0.1:1"}
	err := Produce(context.Background(), cfg, ProduceOptions{Topic: "t"}, strings.NewReader("a\n"), func(Sent) error { return nil })
	require.ErrorIs(t, err, admin.ErrUnreachable)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

func TestWhatIsTriedAgainAtTheEndOfTheInputIsDelivered(t *testing.T) {
	for _, acks := range []string{"1", "all"} {
		t.Run(acks, func(t *testing.T) {
			topic := newTopic(t, 1)
			refused := false
			shared.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				refused = true
				r := req.(*kmsg.ProduceRequest)
				resp := r.ResponseKind().(*kmsg.ProduceResponse)
				for _, rt := range r.Topics {
					st := kmsg.NewProduceResponseTopic()
					st.Topic, st.TopicID = rt.Topic, rt.TopicID
					for _, rp := range rt.Partitions {
						sp := kmsg.NewProduceResponseTopicPartition()
						sp.Partition, sp.ErrorCode = rp.Partition, int16(sarama.ErrNotLeaderForPartition)
						st.Partitions = append(st.Partitions, sp)
					}
					resp.Topics = append(resp.Topics, st)
				}
				return resp, nil, true // once: the next request is served
			})
			cfg := config()
			cfg.Acks = acks
			var got []Sent
			err := Produce(context.Background(), cfg, ProduceOptions{Topic: topic}, strings.NewReader("a\nb\n"),
				func(s Sent) error { got = append(got, s); return nil })
			require.NoError(t, err)
			require.Len(t, got, 2)
			require.True(t, refused)
			require.Equal(t, []string{"a", "b"}, values(readAll(t, topic)))
		})
	}
}
