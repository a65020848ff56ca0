package soak

import (
	"flag"
	"testing"
	"time"

	"logferry/test/agenttest"
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
	agenttest.Main(m)
}
