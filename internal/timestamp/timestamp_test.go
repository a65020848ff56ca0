package timestamp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var near = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

func TestTimesAreReadAsLogsWriteThem(t *testing.T) {
	for _, c := range []struct{ layout, zone, text, want string }{
		{"", "", "2026-03-01T08:00:01.123456789Z", "2026-03-01T08:00:01.123456789Z"},
		{"rfc3339", "", "2026-03-01T08:00:01+02:00", "2026-03-01T06:00:01Z"},
		{"unix", "", "1772352001", "2026-03-01T08:00:01Z"},
		{"unix", "", "1772352001.25", "2026-03-01T08:00:01.25Z"},
		{"%s", "", "1772352001", "2026-03-01T08:00:01Z"},
		{"unix_ms", "", "1772352001123", "2026-03-01T08:00:01.123Z"},
		{"unix_us", "", "1772352001123456", "2026-03-01T08:00:01.123456Z"},
		{"unix_ns", "", "1772352001123456789", "2026-03-01T08:00:01.123456789Z"},
		{"2006-01-02 15:04:05", "", "2026-03-01 08:00:01,250", "2026-03-01T08:00:01.25Z"},
		{"2006-01-02 15:04:05", "Europe/Berlin", "2026-07-01 08:00:01", "2026-07-01T06:00:01Z"},
		{"%Y-%m-%d %H:%M:%S,%f", "America/New_York", "2026-03-01 08:00:01,5", "2026-03-01T13:00:01.5Z"},
		{"%d/%b/%Y:%H:%M:%S %z", "Europe/Berlin", "01/Mar/2026:08:00:01 +0100", "2026-03-01T07:00:01Z"},
		{"%a, %d %B %Y %I:%M:%S %p", "", "Sun, 01 March 2026 08:00:01 PM", "2026-03-01T20:00:01Z"},
		{"%F %T.%f %:z", "", "2026-03-01 08:00:01.5 +01:00", "2026-03-01T07:00:01.5Z"},
		{"%FT%TZ", "", "2026-03-01T08:00:01Z", "2026-03-01T08:00:01Z"},
		{"%Y-%m-%d %H:%M:%S %Z", "Europe/Berlin", "2026-03-01 08:00:01 CET", "2026-03-01T07:00:01Z"},
		{"%Y-%m-%d %H:%M:%S %Z", "", "2026-03-01 08:00:01 GMT", "2026-03-01T08:00:01Z"},
		{"Jan _2 15:04:05", "", "Mar  1 08:00:01", "2026-03-01T08:00:01Z"},
		{"%b %e %H:%M:%S", "", "Dec 31 23:59:59", "2025-12-31T23:59:59Z"},
		{"%b %e %H:%M:%S", "", "Mar  2 07:00:00", "2026-03-02T07:00:00Z"},
		{"%b %e %H:%M:%S", "", "Mar  3 07:00:00", "2025-03-03T07:00:00Z"},
		{"%b %e %H:%M:%S", "", "Feb 29 07:00:00", "2024-02-29T07:00:00Z"},
		{"%Y-%j %R", "", "2026-060 08:00", "2026-03-01T08:00:00Z"},
	} {
		var layouts []string
		if c.layout != "" {
			layouts = []string{c.layout}
		}
		r, err := New(layouts, c.zone)
		require.NoError(t, err, c.layout)
		got, ok := r.Parse(c.text, near)
		require.True(t, ok, c)
		require.Equal(t, c.want, got.UTC().Format(time.RFC3339Nano), c)
	}
}

func TestWhatIsNoTimeIsNotRead(t *testing.T) {
	r, err := New([]string{"rfc3339", "unix", "%Y-%m-%d %H:%M:%S %Z"}, "")
	require.NoError(t, err)
	for _, text := range []string{"", "now", "2026-03-01", "2026-13-01T08:00:01Z", "-5", "+5", "99999999999999999999", "9999999999999", "1.x", ".", "2026-03-01 08:00:01 CEST", "2026-02-30T08:00:01Z"} {
		_, ok := r.Parse(text, near)
		require.False(t, ok, text)
	}
	r, err = New([]string{"unix", "rfc3339"}, "")
	require.NoError(t, err)
	_, ok := r.Parse("2026-03-01T08:00:01Z", near)
	require.True(t, ok, "the second layout is tried too")
}

func TestALayoutThatCannotBeMeantIsRefused(t *testing.T) {
	for _, c := range []struct{ layout, zone, want string }{
		{"yyyy-MM-dd HH:mm:ss", "", "does not tell the day of the year"},
		{"15:04:05", "", "does not tell the day of the year"},
		{"%H:%M", "", "does not tell the day of the year"},
		{"2006-01-02", "", "does not tell the hour of the day; add 15 or %H"},
		{"2006-01-02 03:04:05", "", "does not tell the hour of the day"},
		{"%Y-%q", "", `%q is unknown`},
		{"%f", "", `%f is unknown, or stands where it cannot`},
		{"%Y-%m-%d at %H", "", "mixes %conversions with letters or digits"},
		{"%Y%", "", "ends with %"},
		{"unix", "Mars/Olympus", `timezone "Mars/Olympus" is unknown; write UTC, Local, or a name such as Europe/Berlin`},
	} {
		_, err := New([]string{c.layout}, c.zone)
		require.ErrorContains(t, err, c.want, c.layout)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"2026-03-01T08:00:01.5Z", "1772352001.25", "Mar  1 08:00:01", "2026-03-01 08:00:01 CET"} {
		f.Add("%Y-%m-%d %H:%M:%S %Z", text)
		f.Add("Jan _2 15:04:05", text)
		f.Add("unix_ms", text)
	}
	f.Fuzz(func(t *testing.T, layout, text string) {
		r, err := New([]string{"rfc3339", layout}, "")
		if err != nil {
			return
		}
		a, ok := r.Parse(text, near)
		b, again := r.Parse(text, near)
		require.Equal(t, ok, again)
		require.True(t, a.Equal(b))
	})
}
