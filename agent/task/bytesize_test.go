package task

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestByteSizeReadsNumbersAndUnits(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "1048576": 1 << 20, "1MiB": 1 << 20, "64KiB": 64 << 10, "64 kib": 64 << 10, "1MB": 1e6, "1kB": 1000,
		"3B": 3, "2GiB": 2 << 30, "1TB": 1e12, " 5 ": 5, "8388607TiB": 8388607 << 40,
	} {
		got, err := ParseByteSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestByteSizeRefusesWhatIsNotASize(t *testing.T) {
	for text, want := range map[string]string{
		"":           `must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not ""`,
		"-1":         `must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not "-1"`,
		"MiB":        `must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not "MiB"`,
		"1.5MiB":     `must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not "1.5MiB"`,
		"1M":         `unknown unit in size "1M"; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB`,
		"8388608TiB": `size "8388608TiB" is too large`,
	} {
		_, err := ParseByteSize(text)
		require.EqualError(t, err, want)
	}
}

func TestByteSizeWritesTheLargestUnitThatFits(t *testing.T) {
	for size, want := range map[ByteSize]string{
		0: "0", 1: "1", 1000: "1KB", 1024: "1KiB", 1500: "1500", 1 << 20: "1MiB", 1e6: "1MB", 1536 << 10: "1536KiB", -1: "-1",
	} {
		require.Equal(t, want, size.String())
	}
}

func TestByteSizeMarshalsInJSONAndYAML(t *testing.T) {
	type holder struct {
		Size ByteSize `json:"size" yaml:"size"`
	}
	for _, text := range []string{`{"size":1048576}`, `{"size":"1MiB"}`, `{"size":"1024KiB"}`} {
		var fromJSON, fromYAML holder
		require.NoError(t, json.Unmarshal([]byte(text), &fromJSON))
		require.NoError(t, yaml.Unmarshal([]byte(text), &fromYAML))
		require.Equal(t, ByteSize(1<<20), fromJSON.Size)
		require.Equal(t, fromJSON, fromYAML)
	}
	out, err := json.Marshal(holder{64 << 10})
	require.NoError(t, err)
	require.JSONEq(t, `{"size":"64KiB"}`, string(out))
	require.Error(t, json.Unmarshal([]byte(`{"size":true}`), &holder{}))
}

func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"1MiB", "64KiB", "1MB", "1048576", "9223372036854775807", "1 TiB", "-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseByteSize(s)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, n, ByteSize(0))
		again, err := ParseByteSize(n.String())
		require.NoError(t, err)
		require.Equal(t, n, again)
	})
}
