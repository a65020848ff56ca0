package etcdsource

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
)

func TestWhatIsSavedIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "tasks.json")
	_, err := loadCache(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, body := range []cacheBody{
		{Prefix: "/logferry/tasks/", Revision: 42, Good: []cacheItem{{"web", 40, []byte("a: b\n"), 3}}, Bad: []cacheItem{{"web", 41, []byte{0, 255}, 3}}},
		{Prefix: "/logferry/tasks/", Revision: 43, Good: []cacheItem{}},
	} {
		require.NoError(t, saveCache(path, body))
		got, err := loadCache(path)
		require.NoError(t, err)
		require.Len(t, got.Good, len(body.Good))
		require.Equal(t, body.Bad, got.Bad)
		require.Equal(t, body.Revision, got.Revision)
	}
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary file stays")
}

func TestADamagedCacheIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.json")
	require.NoError(t, saveCache(path, cacheBody{Prefix: "/x/", Revision: 42}))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	flipped := append([]byte{}, good...)
	for i := range flipped {
		if flipped[i] == '4' && flipped[i+1] == '2' && flipped[i-1] == ':' {
			flipped[i] = '5'
		}
	}
	require.NotEqual(t, good, flipped)
	for name, data := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "one digit changed": flipped, "another version": []byte(`{"version":2}`), "no object": []byte(`[]`),
	} {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err := loadCache(path)
		require.ErrorIs(t, err, errDamaged, name)
	}
}

func TestASetSurvivesItsCache(t *testing.T) {
	allow, err := task.NewAllowList([]string{"/var/log/**"})
	require.NoError(t, err)
	s := newTaskSet(Config{Prefix: "/logferry", AllowPaths: allow})
	s.put("web", value{raw: []byte(text("one")), rev: 1})
	s.put("web", value{raw: []byte("nonsense"), rev: 2})
	s.put("new", value{raw: []byte("nonsense"), rev: 3})
	s.revision = 3
	again := newTaskSet(Config{Prefix: "/logferry", AllowPaths: allow})
	again.restore(s.export())
	require.Equal(t, s.snapshot(), again.snapshot())
	require.Len(t, again.snapshot().Tasks, 1)
	require.Len(t, again.snapshot().Refused, 2)
}

func FuzzLoadCache(f *testing.F) {
	path := filepath.Join(f.TempDir(), "tasks.json")
	require.NoError(f, saveCache(path, cacheBody{Prefix: "/x/", Revision: 42, Good: []cacheItem{{"web", 40, []byte("a: b\n"), 3}}}))
	seed, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(seed)
	f.Add([]byte(`{"version":1,"sha256":"","body":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "tasks.json")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		body, err := loadCache(path)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			return
		}
		newTaskSet(Config{}).restore(body)
	})
}

func TestPausesGrowAndDiffer(t *testing.T) {
	for failures, most := range map[int]time.Duration{0: retryMin, 1: 2 * retryMin, 5: 8 * time.Second, 6: retryMax, 1000: retryMax} {
		got := backoff(failures)
		require.LessOrEqual(t, got, most)
		require.GreaterOrEqual(t, got, most/2)
	}
	for range 100 {
		require.InDelta(t, time.Minute, jitter(time.Minute), float64(12*time.Second))
	}
}
