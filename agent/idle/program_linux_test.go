package idle

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// mapped is how many KiB of files are in memory for this process.
func mapped(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return n
}

func TestUnloadGivesBackMostOfTheProgramAndWhatIsNeededComesBack(t *testing.T) {
	before := mapped(t)
	require.NoError(t, Unload())
	after := mapped(t)
	require.Less(t, after, before*3/4)
}

func TestOnlyPagesOfTheProgramThatCannotBeWrittenToAreGivenBack(t *testing.T) {
	for line, want := range map[string][2]uintptr{
		"00400000-01a2c000 r-xp 00000000 fe:00 42                         /usr/bin/logferry":   {0x400000, 0x1a2c000},
		"01a2c000-02f00000 r--p 0162c000 fe:00 42                         /usr/bin/logferry":   {0x1a2c000, 0x2f00000},
		"02f00000-02f80000 rw-p 02b00000 fe:00 42                         /usr/bin/logferry":   {},
		"02f00000-02f80000 r--s 02b00000 fe:00 42                         /usr/bin/logferry":   {},
		"7f0000000000-7f0000001000 r--p 00000000 fe:00 43                 /usr/lib/libc.so.6":  {},
		"7f0000000000-7f0000001000 r-xp 00000000 00:00 0                  [vdso]":              {},
		"00400000-01a2c000 r-xp 00000000 fe:00 42                         /usr/bin/logferry.2": {},
		"00400000-01a2c000 r-xp 00000000 fe:00 42":                                             {},
		"": {},
		"zz-01a2c000 r-xp 00000000 fe:00 42 /usr/bin/logferry": {},
	} {
		from, to, ok := readOnly(line, "/usr/bin/logferry")
		require.Equal(t, want != [2]uintptr{}, ok, line)
		if ok {
			require.Equal(t, want, [2]uintptr{from, to}, line)
		}
	}
}
