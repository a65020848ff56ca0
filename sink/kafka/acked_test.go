package kafka

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestWhatIsAcknowledgedIsSummedOverTheTopicsOfATask(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	require.Empty(t, m.Acked())
	m.ackedRecords.WithLabelValues("web", "a").Add(3)
	m.ackedRecords.WithLabelValues("web", "b").Add(4)
	m.ackedBytes.WithLabelValues("web", "a").Add(300)
	m.ackedRecords.WithLabelValues("app", "a").Add(1)
	require.Equal(t, map[string]Acked{"web": {Records: 7, Bytes: 300}, "app": {Records: 1}}, m.Acked())
	m.errors.WithLabelValues("web", "no_broker").Add(2)
	m.errors.WithLabelValues("web", "timeout").Add(3)
	m.deadLetters.WithLabelValues("new", "too_large").Add(1)
	require.Equal(t, map[string]Produced{
		"web": {Acked: Acked{Records: 7, Bytes: 300}, Errors: 5}, "app": {Acked: Acked{Records: 1}}, "new": {DeadLetters: 1},
	}, m.Produced())
	m.Forget("web")
	require.NotContains(t, m.Acked(), "web")
}
