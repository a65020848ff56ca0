package agenttest

import (
	"fmt"
	"os"

	"go.uber.org/goleak"

	"logferry/test/kafkatest"
)

// Main is the TestMain of a package that starts the agent: it builds the
// binary, does what kafkatest.Main does, and takes the binary away again.
func Main(m goleak.TestingM) {
	dir, err := os.MkdirTemp("", "logferry-agent-")
	if err == nil {
		err = build(dir)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // users without rights run it too
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kafkatest.Main(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}
