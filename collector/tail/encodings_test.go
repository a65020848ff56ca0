package tail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// newCharsetDesk is for files in an encoding.
func newCharsetDesk(t testing.TB, name string, maxBytes int, cfg shape.Config) *desk {
	t.Helper()
	charset, known := frame.LookUp(name)
	require.True(t, known, name)
	cfg.Charset, cfg.MaxBytes = charset, maxBytes
	s, err := shape.New(cfg)
	require.NoError(t, err)
	d := newDesk(t, frame.Lines{MaxBytes: maxBytes, Unit: charset.Unit()})
	d.Shape, d.Shaped = s, func(c shape.Counts) { d.shaped = append(d.shaped, c) }
	return d
}

// corpus yields each file of testdata in an encoding, with the lines that it holds.
func corpus(t *testing.T, each func(t *testing.T, encoding string, data []byte, want []string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/encodings/*.log")
	require.NoError(t, err)
	require.Len(t, files, 39)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".log")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			text, err := os.ReadFile(strings.TrimSuffix(file, ".log") + ".want")
			require.NoError(t, err)
			encoding, _, _ := strings.Cut(name, ".")
			each(t, encoding, data, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
		})
	}
}

func TestEveryEncodingHasACorpus(t *testing.T) {
	have := map[string]bool{"utf-8": true}
	files, err := filepath.Glob("testdata/encodings/*.log")
	require.NoError(t, err)
	for _, file := range files {
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".log"), ".")
		have[name] = true
	}
	for _, name := range frame.CharsetNames() {
		require.True(t, have[name], name)
	}
}

func TestAnEncodedFileThatIsWrittenByteByByteYieldsTheSameRecords(t *testing.T) {
	corpus(t, func(t *testing.T, encoding string, data []byte, want []string) {
		d := newCharsetDesk(t, encoding, 1<<20, shape.Config{})
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, "")
		f := d.open(t, p)
		var got []string
		for i := range data {
			write(t, p, string(data[i:i+1]))
			got = append(got, readAll(t, f)...)
			require.LessOrEqual(t, f.Status().Committed, int64(i+1))
			require.False(t, grown(t, f), "it would never rest")
		}
		require.Equal(t, want, got)
		require.Equal(t, int64(len(data)), f.Status().Committed)
		require.Zero(t, d.budget.held)
		require.Empty(t, d.undecodable())
	})
}

func TestAnEncodedFileIsReadOnAfterARestartAtAnyByte(t *testing.T) {
	corpus(t, func(t *testing.T, encoding string, data []byte, want []string) {
		t.Parallel()
		d := newCharsetDesk(t, encoding, 1<<20, shape.Config{})
		none := func(testing.TB, *File) []string { return nil }
		d.restartAtAnyByte(t, string(data), want, readAll, none)
		d.tornAtAnyByte(t, string(data), want, readAll, none)
	})
}

func TestAnEncodedFileIsReadWholeOverManyBlocks(t *testing.T) {
	corpus(t, func(t *testing.T, encoding string, data []byte, want []string) {
		d := newCharsetDesk(t, encoding, 1<<10, shape.Config{})
		p := filepath.Join(t.TempDir(), "a")
		mark := 0
		if strings.HasPrefix(encoding, "utf-16") && (data[0] >= 0xfe) {
			mark = 2
		}
		const times = 400 // several blocks
		write(t, p, string(data[:mark])+strings.Repeat(string(data[mark:]), times))
		got := readAll(t, d.open(t, p))
		require.Equal(t, times*len(want), len(got))
		for i := range got {
			require.Equal(t, want[i%len(want)], got[i])
		}
	})
}

func TestALongLineOfPairsIsCutAtAWholeLetter(t *testing.T) {
	for _, size := range []int{1023, 1024, 1025, 1100, 300_000} {
		d := newCharsetDesk(t, "utf-16le", 1024, shape.Config{})
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, strings.Repeat("\x3d\xd8\x80\xde", size)+"\r\x00\n\x00"+"x\x00\n\x00") // U+1F680
		f := d.open(t, p)
		got := readAll(t, f)
		require.Len(t, got, 2)
		require.Equal(t, strings.Repeat("🚀", 256), got[0])
		require.Equal(t, "x", got[1])
		require.Equal(t, 1, d.cut)
		require.Empty(t, d.undecodable())
	}
	d := newCharsetDesk(t, "utf-16be", 1024, shape.Config{})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, strings.Repeat("\x00x", 512)+"\x00\r\x00\n")
	require.Equal(t, []string{strings.Repeat("x", 512)}, readAll(t, d.open(t, p)))
	require.Zero(t, d.cut, "a line of just the bound")
}

func TestDecodingCannotMakeARecordLongerThanTheBound(t *testing.T) {
	d := newCharsetDesk(t, "shift-jis", 1024, shape.Config{})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, strings.Repeat("\xb1", 1000)+"\n") // half-width kana: three bytes of UTF-8 each
	require.Equal(t, []string{strings.Repeat("ｱ", 341)}, readAll(t, d.open(t, p)))
	require.Equal(t, 1, d.shaped[0].Cut)
}

func TestWhatCannotBeDecodedIsReplacedOrSentAsItStandsAndCounted(t *testing.T) {
	for _, c := range []struct {
		encoding, line, replaced string
	}{
		{"gbk", "\xc4\xe3\xff\xba\xc3", "你\ufffd好"},
		{"gbk", "\xc4\xe3 \xc4", "你 \ufffd"},
		{"gb18030", "\x84\x31\xa4\x37 \xff", "\ufffd \ufffd"},
		{"utf-16le", "\x3d\xd8x\x00", "\ufffdx"},
		{"windows-1255", "a\xd9", "a\ufffd"},
	} {
		newline := "\n"
		if c.encoding == "utf-16le" {
			newline = "\n\x00"
		}
		for _, raw := range []bool{false, true} {
			d := newCharsetDesk(t, c.encoding, 1024, shape.Config{Raw: raw})
			p := filepath.Join(t.TempDir(), "a")
			write(t, p, c.line+newline)
			b, err := d.open(t, p).Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, []int{1}, d.undecodable())
			if raw {
				require.Equal(t, c.line, string(b.Records[0].Value))
				require.Equal(t, []record.Header{{Key: record.HeaderEncoding, Value: []byte(c.encoding)}}, b.Records[0].Extra.Headers)
			} else {
				require.Equal(t, c.replaced, string(b.Records[0].Value))
				require.Nil(t, b.Records[0].Extra)
			}
			b.Done()
		}
	}
	d := newCharsetDesk(t, "gb18030", 1024, shape.Config{})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "\x84\x31\xa4\x37\n")
	require.Equal(t, []string{"\ufffd"}, readAll(t, d.open(t, p)))
	require.Empty(t, d.undecodable(), "U+FFFD is a letter of GB18030")
}

func TestTheRestOfAnEncodedFileIsSentAndALateHalfOfALetterHarmsNoOtherLine(t *testing.T) {
	d := newCharsetDesk(t, "utf-16le", 1024, shape.Config{})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "a\x00\n\x00b\x00c")
	f := d.open(t, p)
	require.Equal(t, []string{"a"}, readAll(t, f))
	b, err := f.Final(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"b\ufffd"}, take(b))
	write(t, p, "\x00d\x00\n\x00e\x00\n\x00")
	got := readAll(t, f)
	require.Len(t, got, 2)
	require.Equal(t, "e", got[1])
}

func TestAFileOfPairsBeginsBehindItsLastNewline(t *testing.T) {
	for _, lines := range []int{0, 1, 3, 700} {
		d := newCharsetDesk(t, "utf-16", 1<<20, shape.Config{})
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, "\xfe\xff"+strings.Repeat("\x0a\x0a\x00x\x01\x0a\x00\n", lines)+"\x00a\x00")
		f := d.open(t, p)
		require.NoError(t, f.SeekToLastLine())
		write(t, p, "b\x00\n")
		require.Equal(t, []string{"ab"}, readAll(t, f))
	}
}

// encode is text in an encoding.
func encode(t testing.TB, name, text string) string {
	t.Helper()
	enc := map[string]encoding.Encoding{
		"gbk": simplifiedchinese.GBK, "utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	}[name]
	out, err := enc.NewEncoder().String(text)
	require.NoError(t, err)
	return out
}
