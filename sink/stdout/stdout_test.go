package stdout_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/internal/record"
	"logferry/sink/stdout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type owner struct{ done int }

func (o *owner) BatchDone(*record.Batch, uint64) { o.done++ }

func batch(o *owner, lines ...string) *record.Batch {
	b := &record.Batch{Source: &record.Source{Path: "/var/log/a.log"}}
	for _, l := range lines {
		b.Records = append(b.Records, record.Record{Value: []byte(l)})
	}
	b.SetOwner(o, 0)
	return b
}

func TestEveryRecordBecomesALineAndEveryBatchIsDone(t *testing.T) {
	var out bytes.Buffer
	var o owner
	in := make(chan *record.Batch, 3)
	in <- batch(&o, "one", "two")
	in <- batch(&o)
	in <- batch(&o, "", "four")
	close(in)

	s := stdout.New(&out)
	require.NoError(t, s.Run(t.Context(), in))
	require.Equal(t, "one\ntwo\n\nfour\n", out.String())
	require.Equal(t, 3, o.done)
	require.NoError(t, s.Err())
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAWriteErrorEndsRunAndIsKept(t *testing.T) {
	var o owner
	in := make(chan *record.Batch, 1)
	in <- batch(&o, "one")

	s := stdout.New(brokenPipe{})
	require.EqualError(t, s.Run(t.Context(), in), "write records: broken pipe")
	require.EqualError(t, s.Err(), "write records: broken pipe")
	require.Zero(t, o.done)
}

func TestTheEndOfTheContextEndsRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, stdout.New(&bytes.Buffer{}).Run(ctx, make(chan *record.Batch)), context.Canceled)
}
