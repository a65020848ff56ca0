// Package rate bounds how many lines and bytes pass in a time. What was not
// used is saved up, for as long as the burst says.
package rate

import (
	"context"
	"sync"
	"time"
)

// Config says what may pass.
type Config struct {
	Lines int           // in a second; 0: any number
	Bytes int           // of text in a second; 0: any number
	Burst time.Duration // for how long they are saved up when they are not used
}

// Limiter holds lines to a Config. It may be used from several goroutines.
type Limiter struct {
	lines, bytes bucket
	now          func() time.Time

	mu sync.Mutex
	at time.Time // when the buckets were last filled
}

// bucket holds what may pass at once; less than nothing is owed.
type bucket struct{ rate, most, has float64 }

// New makes a limiter whose buckets are full.
func New(cfg Config) *Limiter {
	l := &Limiter{now: time.Now}
	fill := func(perSecond int) bucket {
		most := max(1, float64(perSecond)*cfg.Burst.Seconds())
		return bucket{rate: float64(perSecond), most: most, has: most}
	}
	l.lines, l.bytes = fill(cfg.Lines), fill(cfg.Bytes)
	l.at = l.now()
	return l
}

// MostLines is how many lines can pass at once; 0: any number.
func (l *Limiter) MostLines() int { return l.lines.atOnce() }

// MostBytes is how many bytes can pass at once; 0: any number.
func (l *Limiter) MostBytes() int { return l.bytes.atOnce() }

func (b *bucket) atOnce() int {
	if b.rate == 0 {
		return 0
	}
	return int(min(b.most, 1<<30))
}

// refill adds what has come since the last time. l.mu is held.
func (l *Limiter) refill() {
	now := l.now()
	seconds := max(0, now.Sub(l.at).Seconds())
	l.at = now
	for _, b := range []*bucket{&l.lines, &l.bytes} {
		b.has = min(b.most, b.has+seconds*b.rate)
	}
}

// Take reports whether a line of n bytes may pass now, and counts it if so. A
// line that is longer than what is left passes, and what follows waits.
func (l *Limiter) Take(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if l.lines.rate > 0 && l.lines.has < 1 || l.bytes.rate > 0 && l.bytes.has <= 0 {
		return false
	}
	l.lines.has--
	l.bytes.has -= float64(n)
	return true
}

// Spend counts what passes now, whether it may or not.
func (l *Limiter) Spend(lines, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	l.lines.has -= float64(lines)
	l.bytes.has -= float64(bytes)
}

// Wait waits until nothing is owed, or ctx ends.
func (l *Limiter) Wait(ctx context.Context) error {
	for {
		due := l.due()
		if due <= 0 {
			return ctx.Err()
		}
		t := time.NewTimer(due)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// due is how long it takes until nothing is owed.
func (l *Limiter) due() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	seconds := 0.0
	for _, b := range []*bucket{&l.lines, &l.bytes} {
		if b.rate > 0 && b.has < 0 {
			seconds = max(seconds, -b.has/b.rate)
		}
	}
	return time.Duration(min(seconds*1e9, float64(time.Hour)))
}
