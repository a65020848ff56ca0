package tail

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/checkpoint"
)

// The last acknowledgement is counted before it is noted when it came.
func TestAFileThatIsReadOnceEndsAtOneMomentForAll(t *testing.T) {
	d := newDesk(t, plain)
	now := time.Unix(1000, 0)
	d.Now = func() time.Time { return now }
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "1\n2\n")
	f := d.openOnce(t, p)
	defer f.Close()
	f.ReadOnce(4, func() {})
	f.Mark()
	require.Equal(t, []string{"1", "2"}, readAll(t, f))
	now = now.Add(time.Second)
	require.Equal(t, checkpoint.OnceOpen, f.Checkpoint().Once)
	f.EndOnce(checkpoint.OnceEnded)
	first := f.Checkpoint()
	require.Equal(t, checkpoint.OnceEnded, first.Once)
	require.Equal(t, time.Unix(1000, 0), first.Updated)
	f.committed(f.trackerNow())
	require.Equal(t, first, f.Checkpoint())
}
