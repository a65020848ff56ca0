package agent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"

	"logferry/sink/kafka"
)

func TestNamedPipesReachKafkaAndAnEditLosesNothing(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "pipes"))
			require.NoError(t, err)
			defer fake.Close()
			w := newWorld(t, func(c *Config, o *Options) {
				o.DryRun, c.Kafka.Brokers, c.Kafka.Producer = nil, fake.ListenAddrs(), producer
			})
			defer w.close()
			path := filepath.Join(w.dir, "logs", "app.pipe")
			require.NoError(t, unix.Mkfifo(path, 0o600))
			w.putTask("pipes", "paths: [\"DIR/logs/*.pipe\"]\ntopic: pipes\npipe: true\npoll_interval: 10ms\n")
			f, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the agent
			require.NoError(t, err)
			var want []string
			for i := range 3000 {
				line := fmt.Sprintf("line %04d", i)
				want = append(want, line)
				_, err := io.WriteString(f, line+"\n")
				require.NoError(t, err)
				if i == 1500 {
					started := w.task("pipes").Started
					w.putTask("pipes", "paths: [\"DIR/logs/*.pipe\"]\ntopic: pipes\npipe: true\npoll_interval: 10ms\nlong_lines: drop\n")
					w.waitFor("the edit", func() bool { st := w.task("pipes"); return st.Started.After(started) && st.Files == 1 })
				}
			}
			require.NoError(t, f.Close())
			var got []string
			for _, r := range arrived(t, fake.ListenAddrs(), "pipes", len(want)) {
				got = append(got, strings.TrimPrefix(r, "read [] "))
			}
			require.Equal(t, want, got)
			w.waitFor("nothing is left", func() bool { return w.task("pipes").LagBytes == 0 })
		})
	}
}
