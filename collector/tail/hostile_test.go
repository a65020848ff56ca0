package tail

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// fieldsDesk takes fields of JSON out of lines, chooses by one, and puts others
// into header, key, topic and the value.
func fieldsDesk(t *testing.T, maxBytes int) *desk {
	t.Helper()
	d := newDesk(t, frame.Lines{MaxBytes: maxBytes})
	var err error
	d.Envelope, err = envelope.New(envelope.Config{
		FieldFormat: envelope.JSONFields, Key: "{{.fields.last}}", Topic: "t_{{.fields.last}}", Headers: map[string]string{"first": "{{.fields.k0}}"},
		Where: []envelope.Where{{Field: "drop", NotIn: []string{"yes"}}},
	})
	require.NoError(t, err)
	d.Dressed = func(envelope.Counts) {}
	return d
}

// heap is what stands in memory, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAMillionKeysOfAnObjectTakeNoMemoryBesideTheLine(t *testing.T) {
	var line strings.Builder
	line.WriteString("{")
	for i := range 1_000_000 {
		fmt.Fprintf(&line, `"k%d":{"n":%d},`, i, i)
	}
	line.WriteString(`"last":"x"}` + "\n")
	const bound = 32 << 20
	require.Less(t, line.Len(), bound)
	d := fieldsDesk(t, bound)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, line.String()+line.String()+`{"last":"y"}`+"\n")
	f := d.open(t, p)
	before := heap()
	var keys []string
	for {
		b, err := f.Read(t.Context())
		require.NoError(t, err)
		if b == nil {
			if f.Full() {
				continue
			}
			break
		}
		require.Less(t, heap()-before, int64(3*bound))
		for _, r := range b.Records {
			keys = append(keys, string(r.Extra.Key)+" "+string(r.Extra.Topic))
			if len(r.Extra.Headers) > 0 {
				require.Equal(t, `{"n":0}`, string(r.Extra.Headers[0].Value))
			}
		}
		b.Done()
	}
	require.Equal(t, []string{"x t_x", "x t_x", "y t_y"}, keys)
	require.Less(t, d.budget.peak, 3*bound)
	require.Zero(t, d.budget.held)
}

func TestAnObjectOfAGibibyteOnOneLineTakesABlock(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a gibibyte")
	}
	d := fieldsDesk(t, 1<<20)
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, `{"last":"early","text":"`)
	require.NoError(t, os.Truncate(p, 1<<30)) // sparse
	write(t, p, `","last":"late"}`+"\n"+`{"last":"next"}`+"\n")
	f := d.open(t, p)
	before, lines := heap(), 0
	for {
		b, err := f.Read(t.Context())
		require.NoError(t, err)
		if b == nil {
			if f.Full() {
				continue
			}
			break
		}
		require.Less(t, heap()-before, int64(16<<20))
		for _, r := range b.Records {
			if lines++; lines == 1 {
				require.Len(t, r.Value, 1<<20)
				require.Nil(t, r.Extra.Key, "what was cut is no object")
			} else {
				require.Equal(t, "next", string(r.Extra.Key))
			}
		}
		b.Done()
	}
	require.Equal(t, 2, lines)
	require.Less(t, d.budget.peak, 8<<20)
	require.Zero(t, d.budget.held)
}

func TestAGzipBombIsReadInBoundedMemory(t *testing.T) {
	for text, size := range map[string]int{"0": 256 << 20, "\n": 64 << 20} {
		t.Run(fmt.Sprintf("%q", text), func(t *testing.T) {
			text := strings.Repeat(text, 1<<20)
			p := filepath.Join(t.TempDir(), "a.log.1.gz")
			out, err := os.Create(p)
			require.NoError(t, err)
			w, err := gzip.NewWriterLevel(out, gzip.BestCompression)
			require.NoError(t, err)
			for range size >> 20 {
				_, err = w.Write([]byte(text))
				require.NoError(t, err)
			}
			_, err = w.Write([]byte("\nlast\n"))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			info, err := out.Stat()
			require.NoError(t, err)
			require.NoError(t, out.Close())
			require.Less(t, info.Size()*900, int64(size), "it is a bomb")

			d := newDesk(t, frame.Lines{MaxBytes: 1 << 20})
			f, err := OpenPacked(p, d.Deps)
			require.NoError(t, err)
			f.SetSource(&record.Source{Task: "web", Path: p, File: f.ID().String()})
			t.Cleanup(f.Close)
			before, most, last, n := heap(), int64(0), "", 0
			for {
				b, err := f.Read(t.Context())
				require.NoError(t, err)
				if b == nil {
					if f.Full() {
						continue
					}
					break
				}
				if n++; n%1000 == 1 {
					most = max(most, heap()-before)
				}
				if len(b.Records) > 0 {
					last = string(b.Records[len(b.Records)-1].Value)
				}
				b.Done()
			}
			require.Equal(t, "last", last)
			require.Less(t, most, int64(16<<20))
			require.Less(t, d.budget.peak, 8<<20)
			require.Zero(t, d.budget.held)
		})
	}
}

func TestAPatternThatLooksCatastrophicTakesTimeInProportionToTheLine(t *testing.T) {
	s, err := shape.New(shape.Config{
		Exclude: []string{`^(a+)+$`, `(a|aa)+b$`, `(.*)*x(.*)*y`}, Mask: []shape.Mask{{Pattern: `(a?){30}a{30}c`, Replace: "*"}}, MaxBytes: 1 << 20,
	})
	require.NoError(t, err)
	took := func(n int) time.Duration {
		d := newDesk(t, frame.Lines{MaxBytes: 1 << 20})
		d.Shape, d.Shaped = s, func(shape.Counts) {}
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, strings.Repeat("a", n)+"!\n")
		best := time.Hour
		for range 3 { // the machine has other things to do
			f := d.open(t, p)
			begin := time.Now()
			require.Len(t, readAll(t, f), 1)
			best = min(best, time.Since(begin))
			f.Close()
		}
		return best
	}
	short, long := took(2_000), took(32_000)
	t.Logf("2,000 bytes take %s, 32,000 bytes %s: %.1f times as long", short, long, float64(long)/float64(short))
	require.Less(t, float64(long), 100*float64(short), "sixteen times the length; a backtracking matcher never ends")
}
