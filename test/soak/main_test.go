package soak

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
)

var (
	duration = flag.Duration("soak.duration", 0, "how long the faults go on; 0: a short run with a fixed seed")
	seed     = flag.Uint64("soak.seed", 0, "seed of the plan; 0: a random one")
)

const (
	shortDuration = 15 * time.Second
	shortSeed     = 1
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "logferry-soak-")
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
