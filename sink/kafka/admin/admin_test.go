package admin

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/sink/kafka"
)

func TestATopicIsCreatedListedDescribedAndDeleted(t *testing.T) {
	ctx := context.Background()
	topics := open(t, startKafka(t))
	require.NoError(t, topics.Create(ctx, "web", 3, 1, map[string]string{"retention.ms": "86400000"}))

	list, err := topics.List(ctx)
	require.NoError(t, err)
	require.Equal(t, []Topic{{Name: "web", Partitions: 3, ReplicationFactor: 1}}, list)

	d, err := topics.Describe(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, "web", d.Name)
	require.Len(t, d.Layout, 3)
	for i, p := range d.Layout {
		require.Equal(t, Partition{ID: int32(i), Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR}, p)
		require.GreaterOrEqual(t, p.Leader, int32(0))
		require.Len(t, p.Replicas, 1)
	}
	require.Equal(t, map[string]string{"retention.ms": "86400000"}, d.Configs)

	require.NoError(t, topics.Delete(ctx, "web"))
	list, err = topics.List(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestCreateWithoutNumbersTakesTheBrokersDefaults(t *testing.T) {
	ctx := context.Background()
	topics := open(t, startKafka(t, kfake.DefaultNumPartitions(4)))
	require.NoError(t, topics.Create(ctx, "web", 0, 0, nil))
	d, err := topics.Describe(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, 4, d.Partitions)
}

func TestErrorsTellWhatIsWrongWithATopic(t *testing.T) {
	ctx := context.Background()
	topics := open(t, startKafka(t, kfake.SeedTopics(1, "web")))
	for _, c := range []struct {
		name string
		do   func() error
		kind error
		text string
	}{
		{"create what exists", func() error { return topics.Create(ctx, "web", 1, 1, nil) }, ErrTopicExists, `topic "web" already exists`},
		{"delete what does not", func() error { return topics.Delete(ctx, "nope") }, ErrUnknownTopic, `topic "nope" does not exist`},
		{"describe what does not", func() error { _, err := topics.Describe(ctx, "nope"); return err }, ErrUnknownTopic, `topic "nope" does not exist`},
		{"too many replicas", func() error { return topics.Create(ctx, "big", 1, 9, nil) }, nil, `create topic "big": `},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do()
			require.Error(t, err)
			require.ErrorContains(t, err, c.text)
			require.NotContains(t, err.Error(), "\n")
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
			}
		})
	}
}

func TestDescribeDoesNotCreateTheTopic(t *testing.T) {
	ctx := context.Background()
	topics := open(t, startKafka(t, kfake.AllowAutoTopicCreation()))
	_, err := topics.Describe(ctx, "ghost")
	require.ErrorIs(t, err, ErrUnknownTopic)
	list, err := topics.List(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestBrokersAreListed(t *testing.T) {
	addrs := startKafka(t, kfake.NumBrokers(3))
	brokers, err := open(t, addrs).Brokers(context.Background())
	require.NoError(t, err)
	require.Len(t, brokers, 3)
	controllers := 0
	for _, b := range brokers {
		require.Contains(t, addrs, b.Addr)
		if b.Controller {
			controllers++
		}
	}
	require.Equal(t, 1, controllers)
}

func TestUnreachableBrokersAreNamedWithTheCauseAndTheTime(t *testing.T) {
	first, second := closedPort(t), closedPort(t)
	_, err := New(context.Background(), config([]string{first, second}, 5*time.Second))
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, first+": connection refused")
	require.ErrorContains(t, err, second+": connection refused")
	require.Regexp(t, `tried for [0-9.]+m?s`, err.Error())
	require.NotContains(t, err.Error(), "\n")
}

func TestOneReachableBrokerIsEnough(t *testing.T) {
	topics := open(t, append([]string{closedPort(t)}, startKafka(t)...))
	_, err := topics.List(context.Background())
	require.NoError(t, err)
}

func TestASilentBrokerIsGivenUpAfterTheTimeout(t *testing.T) {
	addr := silentServer(t)
	_, err := New(context.Background(), config([]string{addr}, 200*time.Millisecond))
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, addr+": connected, but no answer in time")
}

func TestConnectEndsWithItsContext(t *testing.T) {
	addr := silentServer(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := New(ctx, config([]string{addr}, 10*time.Minute))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAnOperationEndsWithItsContext(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	defer cluster.Close()
	topics, err := New(context.Background(), config(cluster.ListenAddrs(), time.Minute))
	require.NoError(t, err)
	defer func() { _ = topics.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = topics.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestWordsPutsAnErrorOnOneLineWithoutItsPrefixes(t *testing.T) {
	message := "too many copies"
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.Join(errors.New("kafka: a"), errors.New("kafka: a"), errors.New("b")), "a; b"},
		{&sarama.TopicError{Err: sarama.ErrInvalidReplicationFactor, ErrMsg: &message}, message},
		{sarama.ErrTopicAuthorizationFailed, "The client is not authorized to access this topic"},
	} {
		require.Equal(t, c.want, Words(c.err))
	}
}

func TestALoginThatCannotBeMadeSaysWhatToChange(t *testing.T) {
	brokers := startKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "right"), kfake.Superuser("SCRAM-SHA-256", "admin", "right"))
	login := func(mechanism, password string) kafka.Config {
		c := config(brokers, 5*time.Second)
		c.SASL = &kafka.SASL{Mechanism: mechanism, Username: "admin", Password: kafka.Secret(password)}
		return c
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256"} {
		topics, err := New(t.Context(), login(mechanism, "right"))
		require.NoError(t, err)
		_, err = topics.List(t.Context())
		require.NoError(t, err)
		require.NoError(t, topics.Close())
	}
	missing := login("PLAIN", "")
	missing.SASL.PasswordFile = "/nowhere/password"
	_, err := New(t.Context(), missing)
	require.ErrorIs(t, err, ErrAccess)
	require.ErrorContains(t, err, "sasl.password_file: open /nowhere/password: no such file or directory; check its name and mode")

	encrypted := login("PLAIN", "right")
	encrypted.RequestTimeout = 300 * time.Millisecond
	encrypted.TLS = &kafka.TLSConfig{}
	_, err = New(t.Context(), encrypted)
	require.ErrorIs(t, err, ErrAccess)
	require.ErrorContains(t, err, "no answer in time; see that it runs and is not overloaded, and that it speaks TLS there")
}
