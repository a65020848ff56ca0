package collector

import "errors"

// errDirectory is why a path that is written out is not collected.
var errDirectory = errors.New("it is a directory; a pattern that ends in /** or /*.log collects what is in it")

// CollectsNothing says why no file is collected although paths match: for one of
// them, and how many there are. n is 0 while a file is collected, or nothing
// matches.
func (c *Collector) CollectsNothing() (path, why string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.refused) == 0 || len(c.streams) > len(c.refused) {
		return "", "", 0
	}
	for p := range c.streams { // one that was never opened stands there as well
		if _, refused := c.refused[p]; !refused {
			return "", "", 0
		}
	}
	return firstRefused(c.refused)
}

// firstRefused is the first path that is refused, with its reason, and how many are.
func firstRefused(refused map[string]string) (path, why string, n int) {
	for p, text := range refused {
		if text == whyPacked { // no trouble: it belongs to a path that may come back
			continue
		}
		if n++; path == "" || p < path {
			path, why = p, text
		}
	}
	return path, why, n
}

// Covers says whether the configuration's patterns match a path, which is
// absolute and clean. It looks at no file.
func (cfg Config) Covers(path string) bool {
	c := Collector{cfg: cfg}
	return c.matches(path)
}
