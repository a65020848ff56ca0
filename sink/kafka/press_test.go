package kafka

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func emptyPacks(t *testing.T) {
	packs.Lock()
	defer packs.Unlock()
	packs.free, packs.bytes = nil, 0
}

func TestAPackIsUsedAgainWhereItFits(t *testing.T) {
	emptyPacks(t)
	text := bytes.Repeat([]byte("x"), 100<<10)
	first := keepPack(text)
	require.Equal(t, text, first)
	require.LessOrEqual(t, cap(first), len(text)+packUnit)
	returnPack(first)
	require.Zero(t, testing.AllocsPerRun(10, func() { returnPack(keepPack(text)) }))

	small := keepPack(text[:40<<10])
	require.NotSame(t, &first[0], &small[0], "a small flight does not hold a large pack")
	large := keepPack(append(text, text...))
	require.Len(t, large, 2*len(text))
}

func TestPacksThatWaitAreBounded(t *testing.T) {
	emptyPacks(t)
	for range 100 {
		returnPack(make([]byte, 300<<10))
		require.LessOrEqual(t, packs.bytes, maxPacked)
	}
	require.Greater(t, packs.bytes, maxPacked/2)
	returnPack(make([]byte, 3*maxPacked))
	require.Zero(t, packs.bytes, "one huge flight's pack is not kept")
	require.Empty(t, packs.free)
	returnPack(make([]byte, 10))
	require.Empty(t, packs.free, "small ones are not worth it")
}
