package agent

import (
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// trialInterval is the least time between two looks at tasks with a change
// that is being tried.
const trialInterval = time.Second

// trials judges changes that are being tried on this agent: whether records
// were set aside since, and whether the lag grows. Its methods may be called
// from several goroutines.
type trials struct {
	current func() map[string]time.Duration // by task: for how much longer than before its oldest bytes may wait
	status  func(name string) (TaskStatus, bool)

	mu     sync.Mutex
	looked time.Time
	byTask map[string]*trial
	digest uint64
}

// trial is one task's change.
type trial struct {
	revision int64
	base     float64 // lag in seconds when it began
	samples  []lagSample
	grows    bool
	aside    bool // records were set aside
}

type lagSample struct {
	at    time.Time
	bytes int64
}

// look brings the judgement up to date, if the last look is a while ago, and
// returns a number that changes with it.
func (t *trials) look(now time.Time) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.looked) < trialInterval {
		return t.digest
	}
	t.looked = now
	current := t.current()
	if len(current) == 0 && len(t.byTask) == 0 {
		return t.digest
	}
	next := map[string]*trial{}
	t.digest = 0
	for name, maxLag := range current {
		st, ok := t.status(name)
		if !ok {
			continue
		}
		one := t.byTask[name]
		if one == nil || one.revision != st.Revision {
			one = &trial{revision: st.Revision, base: st.LagSeconds}
		}
		one.judge(now, st.LagBytes, st.LagSeconds, maxLag)
		one.aside = st.SetAside > 0
		next[name] = one
		t.digest += maphash.String(digestSeed, strings.Join([]string{name, strconv.FormatInt(one.revision, 10), strconv.FormatBool(one.grows), strconv.FormatBool(one.aside)}, "\x00"))
	}
	t.byTask = next
	return t.digest
}

// of reports whether a task's change is being tried, and whether its lag grows.
func (t *trials) of(name string) (tried, grows bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.byTask[name]
	return one != nil, one != nil && one.grows
}

// judge says that the lag grows when the oldest bytes wait for maxLag longer than
// when the change came, and ever more bytes wait: the least of the newer half
// of that time is more than the least of the older half. A line that is never
// ended waits too, but does not grow.
func (t *trial) judge(now time.Time, bytes int64, seconds float64, maxLag time.Duration) {
	t.base = min(t.base, seconds)
	t.samples = append(t.samples, lagSample{now, bytes})
	for len(t.samples) > 1 && now.Sub(t.samples[1].at) >= maxLag {
		t.samples = t.samples[1:]
	}
	if seconds < t.base+maxLag.Seconds() {
		t.grows = false
		return
	}
	older, newer := int64(math.MaxInt64), int64(math.MaxInt64)
	for _, s := range t.samples {
		if now.Sub(s.at) > maxLag/2 {
			older = min(older, s.bytes)
		} else {
			newer = min(newer, s.bytes)
		}
	}
	t.grows = t.grows || older < newer && older < math.MaxInt64
}
