package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// sarama's metrics library keeps one ticking goroutine for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

func TestWrongUsageIsNamedAndExitsWithTwo(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--lines", "99"}, "--lines: must be at least 100 and less than 1073741824"},
		{[]string{"--lines", "many"}, `invalid argument "many" for "--lines"`},
		{[]string{"--rate", "0"}, "--rate: must be between 1 and 1000000"},
		{[]string{"--twice"}, "unknown flag: --twice"},
		{[]string{"now"}, `"now" is one argument too many`},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, exitUsage, execute(t.Context(), c.args, &out, &errOut), c.args)
		require.Contains(t, errOut.String(), c.want)
		require.Contains(t, errOut.String(), "see logferry-sandbox --help")
		require.Equal(t, 1, bytes.Count(errOut.Bytes(), []byte("\n")))
		require.Empty(t, out.String())
	}
}

func TestHelpExitsWithZero(t *testing.T) {
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, execute(t.Context(), []string{"--help"}, &out, &errOut))
	require.Contains(t, out.String(), "--once")
	require.Empty(t, errOut.String())
}
