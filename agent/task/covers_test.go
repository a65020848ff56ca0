package task

import (
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/stretchr/testify/require"
)

func TestATaskThatCouldCollectNothingIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		paths, exclude []string
		nothing        bool
	}{
		"all names":                 {[]string{"/var/log/*.log", "/srv/**/*"}, []string{"*"}, true},
		"all paths":                 {[]string{"/var/log/*.log"}, []string{"/**"}, true},
		"the same":                  {[]string{"/var/log/*.log"}, []string{"/var/log/*.log"}, true},
		"the same name":             {[]string{"/var/log/*.log"}, []string{"*.log"}, true},
		"a narrower path":           {[]string{"/var/log/app-*.log"}, []string{"*.log"}, true},
		"one file":                  {[]string{"/var/log/app.log"}, []string{"app*"}, true},
		"one file by its path":      {[]string{"/var/log/app.log"}, []string{"**/log/*"}, true},
		"one of many":               {[]string{"/var/log/a.log", "/var/log/b.txt"}, []string{"*.log"}, false},
		"each by another":           {[]string{"/var/log/a.log", "/var/log/b.txt"}, []string{"*.log", "b.*"}, true},
		"a wider path":              {[]string{"/var/log/*"}, []string{"*.log"}, false},
		"some":                      {[]string{"/var/log/*.log"}, []string{"*-debug.log", "*.gz"}, false},
		"a letter":                  {[]string{"/var/log/?.log"}, []string{"?.log"}, true},
		"not only one letter":       {[]string{"/var/log/*.log"}, []string{"?.log"}, false},
		"classes":                   {[]string{"/var/log/[ab].log"}, []string{"*.log"}, false}, // it is so, and not seen
		"below":                     {[]string{"/var/log/**/*.log"}, []string{"/var/log/*/*.log"}, false},
		"another directory":         {[]string{"/var/log/*.log"}, []string{"/srv/*.log"}, false},
		"a directory less is no **": {[]string{"/var/log/*.log"}, []string{"/var/*"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			task := Task{Name: "web", Topic: "t", Paths: c.paths, Exclude: c.exclude}
			task.SetDefaults()
			err := task.Validate()
			if !c.nothing {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "exclude: leaves out all that paths match, so nothing would be collected; narrow it, or add a path")
		})
	}
}

func TestWhatIsWithinAPatternIsMatchedByIt(t *testing.T) {
	patterns := []string{"*", "a*", "*.log", "a*.log", "a?.log", "ab.log", "*b*", "**"}
	names := []string{"a", "ab", "ab.log", "axb.log", "b", ".log", "a.log", "abc"}
	for _, inner := range patterns {
		for _, outer := range patterns {
			if !within(inner, outer) {
				continue
			}
			for _, name := range names {
				if match(inner, name) {
					require.True(t, match(outer, name), "%s matches %s and not %s", name, inner, outer)
				}
			}
		}
	}
}

func match(pattern, name string) bool { return doublestar.MatchUnvalidated(pattern, name) }
