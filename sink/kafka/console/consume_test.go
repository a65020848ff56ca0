package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/sink/kafka/admin"
)

func TestConsumeBeginsWhereItIsAskedTo(t *testing.T) {
	topic := newTopic(t, 1)
	text, lines := numbered(20)
	send(t, ProduceOptions{Topic: topic}, text)
	for _, c := range []struct {
		from string
		want []string
	}{
		{"oldest", lines}, {"0", lines}, {"7", lines[7:]}, {"19", lines[19:]}, {"20", nil}, {"newest", nil},
	} {
		t.Run(c.from, func(t *testing.T) {
			from, err := ParseFrom(c.from)
			require.NoError(t, err)
			var got []Message
			require.NoError(t, Consume(context.Background(), config(), ConsumeOptions{Topic: topic, From: from, UntilEnd: true}, collect(&got), quiet))
			require.Equal(t, append([]string{}, c.want...), values(got))
		})
	}
}

func TestConsumeFromNewestShowsWhatComesLater(t *testing.T) {
	topic := newTopic(t, 1)
	send(t, ProduceOptions{Topic: topic}, "before\n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- Consume(ctx, config(), ConsumeOptions{Topic: topic, From: FromNewest},
			func(m Message) error { got <- string(m.Value); return nil }, quiet)
	}()
	// The consumer is not ready at a known moment: send until one arrives.
	require.Eventually(t, func() bool {
		send(t, ProduceOptions{Topic: topic}, "after\n")
		return len(got) > 0
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, "after", <-got)
	cancel()
	require.NoError(t, <-ended)
}

func TestConsumeReadsTheChosenPartitions(t *testing.T) {
	topic := newTopic(t, 3)
	send(t, ProduceOptions{Topic: topic, Partitioner: "round_robin"}, "a\nb\nc\nd\ne\nf\n")
	var got []Message
	opts := ConsumeOptions{Topic: topic, From: FromOldest, Partitions: []int32{0, 2}, UntilEnd: true}
	require.NoError(t, Consume(context.Background(), config(), opts, collect(&got), quiet))
	words := values(got)
	slices.Sort(words)
	require.Equal(t, []string{"a", "c", "d", "f"}, words)
}

func TestConsumeStopsAfterTheMaximum(t *testing.T) {
	topic := newTopic(t, 4)
	text, _ := numbered(1000)
	send(t, ProduceOptions{Topic: topic, Partitioner: "round_robin"}, text)
	var got []Message
	require.NoError(t, Consume(context.Background(), config(), ConsumeOptions{Topic: topic, From: FromOldest, Max: 7}, collect(&got), quiet))
	require.Len(t, got, 7)
}

func TestConsumeEndsWithTheErrorOfItsHandler(t *testing.T) {
	topic := newTopic(t, 1)
	send(t, ProduceOptions{Topic: topic}, "a\nb\n")
	full := errors.New("no space")
	for _, group := range []string{"", topic + "-group"} {
		opts := ConsumeOptions{Topic: topic, From: FromOldest, Group: group}
		err := Consume(context.Background(), config(), opts, func(Message) error { return full }, quiet)
		require.ErrorIs(t, err, full)
	}
}

func TestAGroupGoesOnBehindWhatWasHandled(t *testing.T) {
	topic := newTopic(t, 2)
	text, lines := numbered(100)
	send(t, ProduceOptions{Topic: topic, Partitioner: "round_robin"}, text)
	var all []Message
	for _, n := range []int64{30, 1, 69} {
		var got []Message
		opts := ConsumeOptions{Topic: topic, From: FromOldest, Group: topic + "-group", Max: n}
		require.NoError(t, Consume(context.Background(), config(), opts, collect(&got), quiet))
		require.Len(t, got, int(n))
		all = append(all, got...)
	}
	words := values(all)
	slices.Sort(words)
	require.Equal(t, lines, words)
}

func TestAGroupWithoutCommitBeginsAgain(t *testing.T) {
	topic := newTopic(t, 1)
	send(t, ProduceOptions{Topic: topic}, "a\nb\n")
	for range 2 {
		var got []Message
		opts := ConsumeOptions{Topic: topic, From: FromOldest, Group: topic + "-group", Max: 2, NoCommit: true}
		require.NoError(t, Consume(context.Background(), config(), opts, collect(&got), quiet))
		require.Equal(t, []string{"a", "b"}, values(got))
	}
}

func TestAGroupStopsCleanlyWithItsContextAndHasCommitted(t *testing.T) {
	topic := newTopic(t, 1)
	send(t, ProduceOptions{Topic: topic}, "a\nb\n")
	opts := ConsumeOptions{Topic: topic, From: FromOldest, Group: topic + "-group"}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := 0
	err := Consume(ctx, config(), opts, func(Message) error {
		if seen++; seen == 2 {
			cancel()
		}
		return nil
	}, quiet)
	require.NoError(t, err)

	send(t, ProduceOptions{Topic: topic}, "c\n")
	opts.Max = 1
	var got []Message
	require.NoError(t, Consume(context.Background(), config(), opts, collect(&got), quiet))
	require.Equal(t, []string{"c"}, values(got))
}

func TestMembersOfAGroupShareThePartitions(t *testing.T) {
	topic := newTopic(t, 4)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	by := map[int]int{} // records by member
	var wg sync.WaitGroup
	for member := range 2 {
		wg.Go(func() {
			opts := ConsumeOptions{Topic: topic, From: FromOldest, Group: topic + "-group"}
			_ = Consume(ctx, config(), opts, func(Message) error {
				mu.Lock()
				defer mu.Unlock()
				by[member]++
				return nil
			}, quiet)
		})
	}
	require.Eventually(t, func() bool {
		send(t, ProduceOptions{Topic: topic, Partitioner: "round_robin"}, "a\nb\nc\nd\n")
		mu.Lock()
		defer mu.Unlock()
		return by[0] > 0 && by[1] > 0
	}, time.Minute, 20*time.Millisecond)
	cancel()
	wg.Wait()
}

func TestConsumeRefusesWhatCannotBe(t *testing.T) {
	topic := newTopic(t, 2)
	send(t, ProduceOptions{Topic: topic, Partitioner: "round_robin"}, "a\nb\n")
	for _, c := range []struct {
		name string
		opts ConsumeOptions
		want string
	}{
		{"no topic", ConsumeOptions{}, "a topic is needed"},
		{"unknown topic", ConsumeOptions{Topic: "nope"}, `topic "nope" does not exist`},
		{"unknown partition", ConsumeOptions{Topic: topic, Partitions: []int32{5}}, "has no partition 5: it has 2"},
		{"offset beyond the end", ConsumeOptions{Topic: topic, From: 99}, "has no offset 99: it holds 0 up to, but not including, 1"},
		{"group and partitions", ConsumeOptions{Topic: topic, Group: "g", Partitions: []int32{0}, From: FromOldest}, "either a group or partitions"},
		{"group and offset", ConsumeOptions{Topic: topic, Group: "g", From: 5}, "oldest or newest"},
		{"group and end", ConsumeOptions{Topic: topic, Group: "g", From: FromOldest, UntilEnd: true}, "no end to stop at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Consume(context.Background(), config(), c.opts, func(Message) error { return nil }, quiet)
			require.ErrorContains(t, err, c.want)
		})
	}
	cfg := config()
	cfg.Brokers = []string{"127.0.0.1:1"}
	err := Consume(context.Background(), cfg, ConsumeOptions{Topic: topic}, func(Message) error { return nil }, quiet)
	require.ErrorIs(t, err, admin.ErrUnreachable)
}

func TestParseFromRefusesOtherWords(t *testing.T) {
	for _, s := range []string{"", "first", "-1", "1.5", "0x10"} {
		_, err := ParseFrom(s)
		require.Error(t, err, s)
	}
}

func TestPrinterWritesEachFormat(t *testing.T) {
	plain := Message{
		Topic: "web", Partition: 2, Offset: 7, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Key: []byte("k"), Value: []byte(`<a> "b"`), Headers: []Header{{"env", "prod"}},
	}
	binary := plain
	binary.Key, binary.Value, binary.Headers = nil, []byte{0xff, 0x00}, nil
	grave := binary
	grave.Value = nil
	for _, c := range []struct {
		format string
		in     Message
		want   string
	}{
		{"value", plain, "<a> \"b\"\n"},
		{"meta", plain, "web[2]@7 2026-01-02T03:04:05Z key=\"k\" <a> \"b\"\n"},
		{"meta", grave, "web[2]@7 2026-01-02T03:04:05Z key=- \n"},
		{"json", plain, `{"topic":"web","partition":2,"offset":7,"time":"2026-01-02T03:04:05Z","key":"k","value":"<a> \"b\"","headers":{"env":"prod"}}` + "\n"},
		{"json", binary, `{"topic":"web","partition":2,"offset":7,"time":"2026-01-02T03:04:05Z","key":null,"value":null,"value_base64":"/wA="}` + "\n"},
		{"json", grave, `{"topic":"web","partition":2,"offset":7,"time":"2026-01-02T03:04:05Z","key":null,"value":null}` + "\n"},
	} {
		t.Run(fmt.Sprint(c.format, " ", strings.TrimSpace(c.want)), func(t *testing.T) {
			var b bytes.Buffer
			print, err := Printer(c.format, &b)
			require.NoError(t, err)
			require.NoError(t, print(c.in))
			require.Equal(t, c.want, b.String())
		})
	}
	_, err := Printer("xml", nil)
	require.ErrorContains(t, err, "value, meta, json")
}
