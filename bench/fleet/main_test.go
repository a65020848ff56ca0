package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain lets this binary be etcd's process too.
func TestMain(m *testing.M) {
	if os.Getenv(etcdMark) != "" {
		os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func TestAShortRunReachesTheAgentsThatEachEditSelectsAndNoOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	opts, err := parse([]string{"-quick"}, io.Discard)
	require.NoError(t, err)
	r, err := measure(t.Context(), opts, io.Discard)
	require.NoError(t, err)
	var out bytes.Buffer
	r.print(&out)
	t.Log("\n" + out.String())

	require.Len(t, r.edits, 6)
	for i, s := range r.spreads {
		require.Zero(t, s.missing, "edit %d", i)
		require.Equal(t, []int{100, 25}[i%2], r.edits[i].want)
	}
	require.Zero(t, r.strayed, "an agent that an edit does not select is given no new set")

	require.EqualValues(t, 200, r.rest.to.watchers(), "tasks and rollouts")
	require.Equal(t, 100, r.rest.to.leases)
	require.LessOrEqual(t, r.rest.writes(), int64(100), "at rest, an agent writes once in 30 s at most")

	require.Len(t, r.restarts, 2)
	for _, s := range r.restarts {
		require.Zero(t, s.back.missing, s.name)
		require.EqualValues(t, 100, s.keys, s.name)
	}
}

func TestOneMemberIsEnough(t *testing.T) {
	opts, err := parse([]string{"-quick", "-members", "1", "-agents", "8", "-edits", "1", "-steady", "0", "-restarts=false"}, io.Discard)
	require.NoError(t, err)
	r, err := measure(t.Context(), opts, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 8, r.edits[0].want)
	require.Zero(t, r.spreads[0].missing)
}

func TestWrongUsageIsTold(t *testing.T) {
	for _, args := range [][]string{{"-members", "2"}, {"-agents", "0"}, {"-agents", "3"}, {"-nothing"}} {
		var wrong bytes.Buffer
		require.Equal(t, 2, execute(t.Context(), args, strings.NewReader(""), io.Discard, &wrong), args)
		require.NotEmpty(t, wrong.String())
	}
}

func TestMetricsAreAddedUpByMethod(t *testing.T) {
	counts, err := parseMetrics(strings.NewReader(`# HELP grpc_server_msg_received_total x
grpc_server_msg_received_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 7
grpc_server_msg_received_total{grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"} 2
etcd_debugging_mvcc_watcher_total 4
other 1
`))
	require.NoError(t, err)
	r := reading{counts: counts}
	require.InDelta(t, 9, r.requests(), 0)
	require.InDelta(t, 4, r.watchers(), 0)
}
