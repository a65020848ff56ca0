// Package e2e runs the agent's binary as users run it, against real Apache
// Kafka and real etcd, and looks at what arrived.
package e2e

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "logferry-e2e-")
	if err == nil {
		err = agenttest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kafkatest.Main(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}
