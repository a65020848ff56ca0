package record

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// tally is an owner that counts.
type tally struct {
	done  int
	token uint64
}

func (t *tally) BatchDone(_ *Batch, token uint64) { t.done, t.token = t.done+1, token }

func TestABatchIsDoneOnceForEachOwner(t *testing.T) {
	owner := &tally{}
	b := &Batch{Source: &Source{Path: "/logs/a"}, End: 10}
	b.SetOwner(owner, 7)
	b.Done()
	require.Equal(t, tally{done: 1, token: 7}, *owner)
	require.PanicsWithValue(t, "record: batch /logs/a [0,10) resolved twice", b.Done)

	b.SetOwner(owner, 8)
	b.Done()
	require.Equal(t, tally{done: 2, token: 8}, *owner)
}

func TestResolvingABatchAllocatesNothing(t *testing.T) {
	owner, b := &tally{}, &Batch{Source: &Source{}}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		b.SetOwner(owner, 1)
		b.Done()
	}))
}

// A batch is used again and again: its records keep their array.
func BenchmarkFillAndResolve(b *testing.B) {
	const lines = 1387 // of 189 bytes, in a block of 256 KiB
	owner, batch := &tally{}, &Batch{Source: &Source{}}
	value := make([]byte, 188)
	b.ReportAllocs()
	for b.Loop() {
		batch.Records = batch.Records[:0]
		for i := range lines {
			batch.Records = append(batch.Records, Record{Value: value, Offset: int64(i) * 189})
		}
		batch.SetOwner(owner, 1)
		batch.Done()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/line")
}
