package collector

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/collector/shape"
)

func shaped(t *testing.T, cfg shape.Config) option {
	t.Helper()
	cfg.MaxBytes = 1 << 20
	s, err := shape.New(cfg)
	require.NoError(t, err)
	return with(func(c *Config) { c.Shape = s })
}

func TestFilteredLinesAreCountedAndMoveTheOffset(t *testing.T) {
	w := newWorld(t, false)
	filter := shaped(t, shape.Config{Exclude: []string{"^DEBUG"}, DropEmpty: true})
	var want []string
	var text strings.Builder
	for i := range 20_000 { // several blocks, some of them with nothing to send
		line := fmt.Sprintf("INFO %d %s", i, strings.Repeat("x", 50))
		if i > 3000 && i < 17_000 {
			line = "DEBUG" + line
		} else {
			want = append(want, line)
		}
		text.WriteString(line + "\n\n")
	}
	w.write("a.log", text.String())
	a := w.start(filter, acking(ackShuffled))
	a.want("a.log", want...)
	a.release()
	a.settled()
	require.Equal(t, int64(text.Len()), a.c.Files()[0].Committed)
	require.Equal(t, 13_999.0, testutil.ToFloat64(a.metrics.filtered.WithLabelValues("web", "exclude")))
	require.Equal(t, 20_000.0, testutil.ToFloat64(a.metrics.filtered.WithLabelValues("web", "empty")))
	require.Equal(t, float64(len(want)), testutil.ToFloat64(a.metrics.records.WithLabelValues("web")))
	held, _, _ := a.budget.now()
	require.Zero(t, held)
	a.stop()

	w.write("a.log", "DEBUG last\nINFO last\n")
	a = w.start(filter)
	a.want("a.log", "INFO last")
}

func TestAnEncodedFileIsShippedAcrossRotationsAndRestarts(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		charset, known := frame.LookUp("utf-16")
		require.True(t, known)
		decoding := with(func(c *Config) {
			var err error
			c.Unit = charset.Unit()
			c.Shape, err = shape.New(shape.Config{Charset: charset, MaxBytes: 1 << 20, Exclude: []string{"秘密"}})
			require.NoError(t, err)
		})
		wide := func(order binary.AppendByteOrder, text string) string {
			var out []byte
			for _, u := range utf16.Encode([]rune(text)) {
				out = order.AppendUint16(out, u)
			}
			return string(out)
		}
		w.write("a.log", wide(binary.LittleEndian, "\ufeff一\r\n秘密\r\n二\r\n半")) // half of a line, and then of a letter
		a := w.start(decoding)
		a.want("a.log", "一", "二")
		a.settled()
		a.stop()
		half := wide(binary.LittleEndian, "分\n")
		w.write("a.log", half[:1])
		a = w.start(decoding)
		a.settled()
		w.write("a.log", half[1:])
		a.want("a.log", "半分")
		w.write("a.log", wide(binary.LittleEndian, "末")) // never gets its newline
		w.rotateCreate("a.log", "a.log.1")
		a.want("a.log", "半分", "末")
		w.write("a.log", wide(binary.BigEndian, "\ufeff三\n秘密\n🚀\n"))
		a.want("a.log", "半分", "末", "三", "🚀")
		a.settled()
		a.stop()
		w.write("a.log", wide(binary.BigEndian, "四\n"))
		a = w.start(decoding)
		a.want("a.log", "四")
	})
}

func TestMaskedTextIsPaidForAndGivenBack(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", strings.Repeat("key=secret key=secret\n", 10_000))
	a := w.start(shaped(t, shape.Config{Mask: []shape.Mask{{Pattern: "secret", Replace: strings.Repeat("*", 40)}}}), acking(ackNever))
	a.until("all is read", func() bool { return a.count() == 10_000 })
	held, _, _ := a.budget.now()
	require.Greater(t, held, 10_000*88, "the values' bytes are a part of the budget")
	for _, line := range a.lines(w.path("a.log")) {
		require.NotContains(t, line, "secret")
	}
	a.release()
	a.settled()
	held, _, _ = a.budget.now()
	require.Zero(t, held)
	require.Equal(t, 10_000.0, testutil.ToFloat64(a.metrics.masked.WithLabelValues("web")))
}
