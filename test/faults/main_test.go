package faults

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

var (
	all      = flag.Bool("faults.all", false, "run every scenario, not only the selection of make test")
	producer = flag.String("faults.producer", "", "the writer that the agent uses (kafka.producer)")
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "logferry-faults-")
	if err == nil {
		err = agenttest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kafkatest.Main(etcdtest.Settle(m), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}
