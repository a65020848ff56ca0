package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDressedFilesHoldOneRecordForEachLine(t *testing.T) {
	b := &bench{opt: options{scaleLines: 1000}}
	ends := func(line []byte) bool { return bytes.HasPrefix(line, []byte(criStamp+"F ")) }
	for name, c := range map[string]struct {
		wrap  func(dst []byte, n int64, line []byte) []byte
		ends  func(line []byte) bool // whether a record has its last line here
		lines int
	}{
		"cri":    {criLine, ends, 1000},
		"parts":  {criParts, ends, 1500},
		"docker": {dockerLine, json.Valid, 1000},
		"json":   {jsonLine, json.Valid, 1000},
		"traces": {traced, func(line []byte) bool { return line[0] == '2' }, 1800},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := b.dressed(c.wrap)(t.TempDir())
			require.NoError(t, err)
			require.Equal(t, []int64{1000}, d.lines)
			text, err := os.ReadFile(filepath.Join(d.dirs[0], "dressed.log"))
			require.NoError(t, err)
			require.EqualValues(t, len(text), d.bytes)
			lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			require.Len(t, lines, c.lines)
			records := 0
			for _, line := range lines {
				if c.ends(line) {
					records++
				}
			}
			require.Equal(t, 1000, records)
		})
	}
}
