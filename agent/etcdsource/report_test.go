package etcdsource

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAReportStaysWithinItsSize(t *testing.T) {
	for _, c := range []struct {
		tasks, errorBytes int
		omitted           bool
	}{{0, 0, false}, {3, 100_000, false}, {60, 5000, false}, {150, 2, false}, {2000, 300, true}} {
		r := Report{ID: "a", At: time.Now()}
		for i := range c.tasks {
			tr := TaskReport{Name: fmt.Sprintf("task-%05d", i), State: "running"}
			if i%10 == 0 {
				tr.State, tr.Error = "failing", strings.Repeat("é", c.errorBytes/2)
			}
			r.Tasks = append(r.Tasks, tr)
		}
		data, err := r.encode()
		require.NoError(t, err)
		require.LessOrEqual(t, len(data), maxReportBytes)
		require.True(t, utf8.Valid(data))
		var got Report
		require.NoError(t, json.Unmarshal(data, &got))
		require.Equal(t, c.tasks, len(got.Tasks)+got.Omitted)
		require.Equal(t, c.omitted, got.Omitted > 0, "%d tasks", c.tasks)
		require.Equal(t, c.tasks, got.States["running"]+got.States["failing"])
		require.IsIncreasing(t, append([]string{""}, names(got.Tasks)...))
		if c.omitted {
			require.Equal(t, "failing", got.Tasks[0].State, "those in trouble stay")
		}
	}
}

func TestAChangeThatIsBeingTriedIsAlwaysReported(t *testing.T) {
	r := Report{ID: "a"}
	for i := range 2000 {
		r.Tasks = append(r.Tasks, TaskReport{Name: fmt.Sprintf("task-%05d", i), State: "failing", Error: "no broker"})
	}
	r.Tasks[1999] = TaskReport{Name: "tried", State: "running", Trial: true}
	data, err := r.encode()
	require.NoError(t, err)
	var got Report
	require.NoError(t, json.Unmarshal(data, &got))
	require.NotZero(t, got.Omitted)
	require.Contains(t, names(got.Tasks), "tried")
}

func names(tasks []TaskReport) []string {
	var out []string
	for _, t := range tasks {
		out = append(out, t.Name)
	}
	return out
}

func TestATextIsCutBetweenCharacters(t *testing.T) {
	require.Equal(t, "abc", cut("abc", 3))
	require.Equal(t, "é…", cut("éééé", 6))
	require.Equal(t, "a…", cut("aéééé", 5))
}

func TestATimeIsPutIntoAReportAsIfItHadBeenEncodedWithIt(t *testing.T) {
	r := Report{ID: `"at":"0001-01-01T00:00:00Z"`, Tasks: []TaskReport{{Name: "web", State: "running", Error: `"at":"0001-01-01T00:00:00Z"`}}}
	timeless, err := r.encode()
	require.NoError(t, err)
	r.At = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.FixedZone("", 3600))
	want, err := r.encode()
	require.NoError(t, err)
	require.Equal(t, string(want), string(r.encodedAt(timeless, r.At)))
}
