package frame

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func TestTheOrderOfAFileOfPairsIsThatOfItsMark(t *testing.T) {
	for _, c := range []struct {
		head  string
		want  Unit
		known bool
	}{
		{"", LittleEndian, false}, {"\xfe", LittleEndian, false}, {"\xfe\xff", BigEndian, true},
		{"\xff\xfe", LittleEndian, true}, {"a\x00", LittleEndian, true}, {"\x00a", LittleEndian, true},
	} {
		got, known := ByMark.Of([]byte(c.head))
		require.Equal(t, c.want, got)
		require.Equal(t, c.known, known)
	}
}

func TestANewlineOfPairsStandsAtAnEvenOffset(t *testing.T) {
	for _, c := range []struct {
		unit       Unit
		buf        string
		offset     int64
		begin, end int
		last       int
	}{
		{LittleEndian, "a\x00\n\x00b\x00\n\x00", 0, 2, 4, 8},
		{LittleEndian, "\x0a\x0a\x0a\x01\x00\x0a\n\x00", 4, 6, 8, 8},
		{LittleEndian, "a\x00\n", 0, -1, 0, -1},
		{LittleEndian, "x\n\x00", 3, 1, 3, 3},
		{LittleEndian, "\n\x00", 3, -1, 0, -1},
		{BigEndian, "\x0a\x00\x01\x0a\x00\n", 0, 4, 6, 6},
		{BigEndian, "\n\x00\x0a", 1, 1, 3, 3},
		{Bytes, "ab\ncd\n", 1, 2, 3, 6},
		{Bytes, "ab", 1, -1, 0, -1},
	} {
		begin, end := c.unit.Newline([]byte(c.buf), c.offset)
		require.Equal(t, c.begin, begin, "%q", c.buf)
		if begin >= 0 {
			require.Equal(t, c.end, end, "%q", c.buf)
		}
		require.Equal(t, c.last, c.unit.LastNewline([]byte(c.buf), c.offset), "%q", c.buf)
	}
}

// Whatever the bytes are, what is decoded is UTF-8, what is the same needs no decoding, and
// a cut record decodes to a beginning of the whole one.
func FuzzDecode(f *testing.F) {
	names := CharsetNames()
	for i := range names {
		f.Add(uint8(i), []byte("a\xc4\xe3\xba\xc3\x84\x31\xa4\x37\x8f\xa1\xa1\x3d\xd8\x80\xde"), uint8(3))
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte, at uint8) {
		c, known := LookUp(names[int(which)%len(names)])
		require.True(t, known)
		if c == nil {
			return
		}
		unit, _ := c.Unit().Of(src)
		out, whole := c.Append(nil, src, unit, false)
		require.True(t, utf8.Valid(out))
		require.LessOrEqual(t, len(out), 3*len(src)+3)
		again, _ := c.Append(make([]byte, 5, 8), src, unit, false)
		require.Equal(t, string(out), string(again[5:]), "it does not depend on the room")
		if c.Same(src) {
			require.Equal(t, string(src), string(out))
			require.True(t, whole)
		}
		part, _ := c.Append(nil, src[:min(int(at), len(src))], unit, true)
		require.True(t, utf8.Valid(part))
		if whole {
			require.True(t, bytes.HasPrefix(out, part), "%q is not the beginning of %q", part, out)
		}
	})
}

// Cut whole or in two reads at any place, the lines are the same.
func FuzzLines(f *testing.F) {
	f.Add(uint8(0), []byte("a\nb\r\n\nc"), uint8(2), uint8(9))
	f.Add(uint8(1), []byte("\xff\xfea\x00\n\x00\n\x00\x0a\x0a"), uint8(3), uint8(9))
	f.Add(uint8(2), []byte("\xfe\xff\x00a\x00\r\x00\n\x00b\x00\n"), uint8(5), uint8(2))
	f.Fuzz(func(t *testing.T, unit uint8, data []byte, split, bound uint8) {
		l := Lines{MaxBytes: int(bound) + 1, Unit: Unit(unit % 3)}
		want, used, _ := l.Append(nil, data, 0, 1<<20)
		got, first, _ := l.Append(nil, data[:min(int(split), len(data))], 0, 1<<20)
		got, second, _ := l.Append(got, data[first:], int64(first), 1<<20)
		require.Equal(t, used, first+second)
		require.Equal(t, plain(want), plain(got))
	})
}

func plain(recs []record.Record) (list []string) {
	for _, r := range recs {
		list = append(list, string(r.Value)+"@"+string(rune(r.Offset)))
	}
	return list
}

// Read whole or in two reads at any place, the groups are the same, and they
// hold every byte once.
func FuzzGroups(f *testing.F) {
	f.Add(uint8(0), []byte("a\n b\nc\r\n d\nend\nf\n"), uint8(2), uint8(9), uint8(3))
	f.Add(uint8(1), []byte("\xff\xfea\x00\n\x00 \x00\n\x00\x0a\x0a\n\x00"), uint8(3), uint8(9), uint8(2))
	f.Add(uint8(2), []byte("\xfe\xff\x00a\x00\r\x00\n\x00 \x00\n"), uint8(5), uint8(2), uint8(9))
	start, cont, end := MustCompile(`^[A-Z]`), MustCompile(`^ `), MustCompile(`end$`)
	f.Fuzz(func(t *testing.T, kind uint8, data []byte, split, bound, lines uint8) {
		l := Lines{MaxBytes: int(bound) + 2, Unit: Unit(kind % 3), KeepCR: true}
		g := &Groups{MaxLines: int(lines%8) + 1, MaxBytes: int(bound) + 1}
		if kind&4 != 0 {
			g.Start = start
		}
		if kind&8 != 0 {
			g.Continue = cont
		}
		if kind&16 != 0 {
			g.End = end
		}
		all := func(recs []record.Record, from int) ([]record.Record, int) {
			recs, used, _, _ := l.AppendGroups(g, recs, data[from:], int64(from), 1<<20, true)
			return recs, from + used
		}
		want, used := all(nil, 0)
		got, first, _, _ := l.AppendGroups(g, nil, data[:min(int(split), len(data))], 0, 1<<20, false)
		got, again := all(got, first)
		require.Equal(t, used, again)
		require.Equal(t, plain(want), plain(got))
		for i := range want { // a record ends where the next begins
			end := int64(used)
			if i+1 < len(want) {
				end = want[i+1].Offset
			}
			length := len(want[i].Value)
			if want[i].Extra == nil {
				require.Equal(t, end, want[i].Offset+int64(length)+int64(max(1, 2*min(int(l.Unit), 1))))
			}
		}
	})
}
