package tail

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAStateIsMadeForTheStartOfALineOnly(t *testing.T) {
	plain, utf16 := "one\ntwo\nthree", "\xff\xfea\x00\n\x00b\x0a\n\x00c\x00"
	for _, tt := range []struct {
		content  string
		offset   int64
		anywhere bool
		want     int64
		err      string
	}{
		{plain, 0, false, 0, ""},
		{plain, 4, false, 4, ""},
		{plain, End, false, 8, ""},
		{plain, 5, true, 5, ""},
		{plain, 13, true, 13, ""},
		{plain, 5, false, 0, "the offset is in the middle of a line: lines of FILE start at 4 and 8"},
		{plain, 13, false, 0, "the offset is in the middle of a line: the last line of FILE starts at 8"},
		{plain, 14, true, 0, "FILE has 13 bytes: 14 is not in it"},
		{plain, -2, true, 0, "FILE has 13 bytes: -2 is not in it"},
		{"", 0, false, 0, ""},
		{"", End, false, 0, ""},
		{utf16, End, false, 10, ""},
		{utf16, 6, false, 6, ""},
		{utf16, 8, false, 0, "the offset is in the middle of a line: lines of FILE start at 6 and 10"},
	} {
		path := filepath.Join(t.TempDir(), "a.log")
		require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
		id, st, err := StateAt("web", path, tt.offset, tt.anywhere, slog.New(slog.DiscardHandler))
		if tt.err != "" {
			require.EqualError(t, err, strings.ReplaceAll(tt.err, "FILE", path), "%q at %d", tt.content, tt.offset)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.want, st.Offset)
		require.Equal(t, path, st.Path)
		require.False(t, st.Done)
		info, err := Look(path)
		require.NoError(t, err)
		require.Equal(t, info.ID, id)
		require.Equal(t, min(int(info.Size), headBytes), st.Head.Len)
		require.Equal(t, min(int(tt.want), tailBytes), st.Tail.Len)
	}
}
