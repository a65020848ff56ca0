package collector

// Covers says whether the configuration's patterns match a path, which is
// absolute and clean. It looks at no file.
func (cfg Config) Covers(path string) bool {
	c := Collector{cfg: cfg}
	return c.matches(path)
}
