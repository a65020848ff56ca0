package checkpoint

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The flush after the first look at ten thousand files.
func BenchmarkFlushOfManyFiles(b *testing.B) {
	const files = 10_000
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s, err := Open(b.TempDir(), time.Hour, NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			b.Fatal(err)
		}
		for i := range files {
			st := sample(int64(i))
			st.Path = fmt.Sprintf("/var/log/app/access-%d.log", i)
			s.Put("web", FileID{Dev: 1, Ino: uint64(1_000_000 + i)}, st)
		}
		b.StartTimer()
		if err := s.Sync(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
