package faults

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
)

var (
	all      = flag.Bool("faults.all", false, "run every scenario, not only the selection of make test")
	producer = flag.String("faults.producer", "", "the writer that the agent uses (kafka.producer)")
)

// zstdVariable makes this binary a compressor, for logrotate.
const zstdVariable = "LOGFERRY_FAULTS_ZSTD"

func TestMain(m *testing.M) {
	if os.Getenv(zstdVariable) != "" {
		os.Exit(compress(os.Stdout, os.Stdin))
	}
	flag.Parse()
	agenttest.Main(etcdtest.Settle(m))
}

// compress writes what it reads as zstd, and returns the exit code.
func compress(out io.Writer, in io.Reader) int {
	z, err := zstd.NewWriter(out)
	if err == nil {
		_, err = io.Copy(z, in)
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
