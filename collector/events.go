package collector

import (
	"path/filepath"

	"logferry/collector/watch"
)

func (c *Collector) dirCallback(dir string) func(watch.Event) {
	return func(ev watch.Event) {
		c.mu.Lock()
		c.events = append(c.events, dirEvent{dir, ev})
		c.mu.Unlock()
		c.notifyLoop()
	}
}

func (c *Collector) notifyLoop() {
	select {
	case c.notify <- struct{}{}:
	default:
	}
}

// handleEvents answers directory changes; true asks for a full look.
func (c *Collector) handleEvents() (look bool) {
	c.mu.Lock()
	events := c.events
	c.events = nil
	c.mu.Unlock()
	for i, e := range events {
		if e.ev.Overflow || e.ev.IsDir {
			look = true
			continue
		}
		path := filepath.Join(e.dir, e.ev.Name)
		c.mu.Lock()
		s := c.streams[path]
		c.mu.Unlock()
		switch {
		case s != nil:
			s.wake()
		case !e.ev.Gone && c.matches(path):
			if s := c.generationOf(path); s != nil {
				s.wake() // it reads its generations in their order; what it leaves is found by the look
				look = true
				continue
			}
			c.consider(path, false, c.pastOfNew(path, events[i:]))
			c.considerGone(path)
		}
	}
	return look
}
