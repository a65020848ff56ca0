package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// pack compresses text, in several members or frames if asked to.
func pack(t testing.TB, kind string, texts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, text := range texts {
		var w io.WriteCloser = gzip.NewWriter(&out)
		if kind == Zstd {
			var err error
			w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
			require.NoError(t, err)
		}
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	return out.Bytes()
}

func (d *desk) packed(t testing.TB, data []byte) *File {
	t.Helper()
	p := filepath.Join(t.TempDir(), "a.log.1.gz")
	require.NoError(t, os.WriteFile(p, data, 0o600))
	f, err := OpenPacked(p, d.Deps)
	require.NoError(t, err)
	f.SetSource(&record.Source{Task: "web", Path: p, File: f.ID().String()})
	t.Cleanup(f.Close)
	return f
}

func eachPacking(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{Gzip, Zstd} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// someLines makes lines of many lengths, also beyond a block and beyond the bound.
func someLines(n, most int) []string {
	rng := rand.New(rand.NewPCG(1, 1))
	list := make([]string, n)
	for i := range list {
		length := rng.IntN(200)
		if rng.IntN(50) == 0 {
			length = rng.IntN(most)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%06d ", i)
		for b.Len() < length {
			fmt.Fprintf(&b, "%x", rng.Uint64())
		}
		list[i] = b.String()
	}
	return list
}

func TestACompressedFileYieldsTheLinesThatWereCompressed(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		list := someLines(3000, 700<<10)
		text := strings.Join(list, "\n") + "\n"
		d := newDesk(t, frame.Lines{MaxBytes: 150 << 10})
		p := filepath.Join(t.TempDir(), "plain")
		write(t, p, text)
		want := readAll(t, d.open(t, p))
		require.Len(t, want, len(list))
		for name, data := range map[string][]byte{
			"one member": pack(t, kind, text), "three members": pack(t, kind, text[:100], text[100:70000], text[70000:]),
		} {
			f := d.packed(t, data)
			require.True(t, f.Packed())
			require.Nil(t, f.packed.dec, "an open file that nobody reads holds no decoder")
			b, err := f.Read(t.Context())
			require.NoError(t, err)
			raw, got := f.packed.raw, take(b)
			got = append(got, readAll(t, f)...)
			require.Equal(t, want, got, name)
			require.Same(t, raw, f.packed.raw, "one pass: nothing is decoded twice")
			require.Nil(t, f.packed.dec, "no decoder is left at the end")
			require.Empty(t, f.packed.kept.data)
			require.Equal(t, int64(len(text)), f.Status().Size)
			require.Equal(t, int64(len(text)), f.Status().Committed)
			require.False(t, grown(t, f))
			f.Suspect()
			require.Empty(t, readAll(t, f))
			require.Zero(t, d.budget.held)
		}
	})
}

func TestAKnownFileGoesOnInTheArchiveThatWasMadeOfIt(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		list := someLines(9000, 5000)
		text := strings.Join(list, "\n") + "\n"
		d := newDesk(t, plain)
		p := filepath.Join(t.TempDir(), "plain")
		write(t, p, text[:len(text)/2])
		f := d.open(t, p)
		got := readAll(t, f)
		st := f.Checkpoint()
		require.NotZero(t, st.Offset)

		a := d.packed(t, pack(t, kind, text))
		require.True(t, a.CopyOf(st))
		st.Birth = 0
		require.True(t, a.Resume(st))
		got = append(got, readAll(t, a)...)
		require.Equal(t, list, got)

		other := d.packed(t, pack(t, kind, "x"+text))
		require.False(t, other.CopyOf(st))
		half := d.packed(t, pack(t, kind, text[:len(text)/4]))
		require.False(t, half.Resume(st), "it ends before the offset")
	})
}

func TestTheOffsetOfACompressedFileIsStoredWithItsSums(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		list := someLines(9000, 5000)
		d := newDesk(t, plain)
		data := pack(t, kind, strings.Join(list, "\n")+"\n")
		f := d.packed(t, data)
		f.SetSince(17)
		var held []*record.Batch
		var got []string
		for range 5 {
			b, err := f.Read(t.Context())
			require.NoError(t, err)
			held = append(held, b)
			for _, r := range b.Records {
				got = append(got, string(r.Value))
			}
		}
		raw := f.packed.raw
		part := 0
		for _, b := range held[:3] {
			part += len(b.Records)
			b.Done()
		}
		st := f.Checkpoint()
		require.Same(t, raw, f.packed.raw, "a checkpoint decodes nothing")
		require.Equal(t, kind, st.Packed)
		require.Equal(t, int64(17), st.Since)
		require.Equal(t, guardBytes, st.Tail.Len)
		f.Close()

		p := f.Status().Path
		f, err := OpenPacked(p, d.Deps)
		require.NoError(t, err)
		f.SetSource(&record.Source{Task: "web", Path: p})
		t.Cleanup(f.Close)
		require.True(t, f.Resume(st))
		require.Equal(t, st.Tail, f.Checkpoint().Tail)
		require.Equal(t, list, append(got[:part], readAll(t, f)...))
		for _, b := range held[3:] {
			b.Done()
		}
	})
}

func TestWhatDecodesOfADamagedArchiveIsReadAndTheRestIsTold(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		list := someLines(30000, 300)
		text := strings.Join(list, "\n") + "\n"
		whole := pack(t, kind, text)
		spoilt := bytes.Clone(whole)
		for i := len(whole) / 2; i < len(whole)/2+64; i++ {
			spoilt[i] ^= 0x5a
		}
		for name, data := range map[string][]byte{
			"truncated": whole[:len(whole)/2], "spoilt": spoilt, "with a tail of garbage": append(bytes.Clone(whole), "what is this"...),
		} {
			t.Run(name, func(t *testing.T) {
				var log bytes.Buffer
				d := newDesk(t, plain)
				d.Log = slog.New(slog.NewTextHandler(&log, nil))
				f := d.packed(t, data)
				got := readAll(t, f)
				require.GreaterOrEqual(t, len(got), len(list)/4)
				n := min(len(got), len(list))
				if name == "spoilt" {
					n = min(n, len(list)/4) // damage may be seen only behind what it spoilt
				}
				require.Equal(t, list[:n], got[:n])
				require.Empty(t, readAll(t, f), "and it ends there")
				b, err := f.Final(t.Context())
				require.NoError(t, err)
				if b != nil {
					b.Done()
				}
				f.MarkDone()
				require.Contains(t, log.String(), "a compressed file is damaged")
				require.Contains(t, log.String(), f.Status().Path)
				require.Equal(t, 1, strings.Count(log.String(), "\n"))
			})
		}
	})
}

func TestAnArchiveThatIsStillBeingWrittenIsReadOn(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		list := someLines(30000, 300)
		data := pack(t, kind, strings.Join(list, "\n")+"\n")
		d := newDesk(t, plain)
		f := d.packed(t, data[:len(data)/3])
		got := readAll(t, f)
		require.Less(t, len(got), len(list))
		write(t, f.Status().Path, string(data[len(data)/3:]))
		require.True(t, grown(t, f))
		require.Equal(t, list, append(got, readAll(t, f)...))
		require.NoError(t, f.packed.damage)
	})
}

func TestOnlyGzipAndZstdAreOpenedAsArchives(t *testing.T) {
	d := newDesk(t, plain)
	for _, text := range []string{"", "x", "plain text\n", "BZh91AY&SY", "\xfd7zXZ\x00"} {
		p := filepath.Join(t.TempDir(), "a.gz")
		write(t, p, text)
		_, err := OpenPacked(p, d.Deps)
		require.ErrorIs(t, err, ErrNotPacked, "%q", text)
	}
	_, err := OpenPacked(filepath.Join(t.TempDir(), "none.gz"), d.Deps)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTheSearchThroughAnArchiveEndsWithTheAgent(t *testing.T) {
	ending := make(chan struct{})
	d := newDesk(t, plain)
	d.Ending = ending
	f := d.packed(t, pack(t, Gzip, strings.Repeat("0123456789\n", 1<<20)))
	close(ending)
	_, err := f.preadFull(make([]byte, 1), 8<<20)
	require.ErrorIs(t, err, errEnding)
}

func TestAnArchiveOfAnySizeIsReadInBoundedMemory(t *testing.T) {
	eachPacking(t, func(t *testing.T, kind string) {
		part := pack(t, kind, strings.Join(someLines(20000, 2000), "\n")+"\n")
		d := newDesk(t, plain)
		f := d.packed(t, bytes.Repeat(part, 15)) // about 38 MB
		var peak uint64
		for reads := 0; ; reads++ {
			b, err := f.Read(context.Background())
			require.NoError(t, err)
			if b == nil {
				break
			}
			b.Done()
			if reads%20 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
		require.Greater(t, f.Offset(), int64(25<<20))
		require.Less(t, peak, uint64(30<<20), "bytes of heap")
	})
}

func FuzzArchive(f *testing.F) {
	text := strings.Join(someLines(12, 100), "\n")
	for _, kind := range []string{Gzip, Zstd} {
		whole := pack(f, kind, text, text)
		f.Add(whole, uint32(1000))
		f.Add(whole[:len(whole)/2], uint32(700))
		f.Add(whole[:12], uint32(0))
	}
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 1, 2, 3}, uint32(1)) // a window beyond the bound
	f.Add([]byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}, uint32(9))
	const most = 4 << 20
	f.Fuzz(func(t *testing.T, data []byte, off uint32) {
		p := filepath.Join(t.TempDir(), "a.gz")
		require.NoError(t, os.WriteFile(p, data, 0o600))
		fd, _, err := (&Deps{}).openRegular(p)
		require.NoError(t, err)
		defer func() { _ = unix.Close(fd) }()
		a, err := newArchive(Kernel{}, fd, nil)
		if err != nil {
			require.True(t, errors.Is(err, ErrNotPacked), err)
			return
		}
		defer a.rest(0)
		var all []byte
		buf := make([]byte, 64<<10)
		for len(all) < most {
			n, err := a.readAt(buf, int64(len(all)))
			require.NoError(t, err)
			all = append(all, buf[:n]...)
			if n < len(buf) {
				require.Equal(t, int64(len(all)), a.end)
				require.Equal(t, a.end, a.size(int64(len(data))))
				break
			}
			require.Greater(t, a.size(int64(len(data))), int64(len(all))-1)
		}
		require.LessOrEqual(t, cap(a.kept.data)+cap(a.ahead.data), 4*len(buf))
		at := int64(off) % (int64(len(all)) + 1)
		n, err := a.readAt(buf[:100], at)
		require.NoError(t, err)
		n = min(n, len(all)-int(at)) // beyond what was read before is not compared
		require.Equal(t, string(all[at:at+int64(n)]), string(buf[:n]))
	})
}
