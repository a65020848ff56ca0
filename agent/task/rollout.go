package task

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Rollout says how a change of a task from etcd reaches its agents: wave after
// wave, each only when the ones before it are well.
type Rollout struct {
	Waves   []Wave        `yaml:"waves" json:"waves"`                         // whom it reaches, each wave with those before it; the last is all
	Pause   time.Duration `yaml:"pause,omitempty" json:"pause,omitempty"`     // how long a wave must be well before the next one; 0: DefaultRolloutPause
	Timeout time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"` // a wave that is not well for so long goes back; 0: DefaultRolloutTimeout
	MaxLag  time.Duration `yaml:"max_lag,omitempty" json:"max_lag,omitempty"` // how much longer than before the oldest line may wait; 0: DefaultRolloutMaxLag
}

// Defaults of what Rollout may leave out.
const (
	DefaultRolloutPause   = time.Minute
	DefaultRolloutTimeout = 5 * time.Minute
	DefaultRolloutMaxLag  = 30 * time.Second
)

// maxWaves is how many waves a rollout may have.
const maxWaves = 20

// Wave says which agents a change reaches. One of its fields is set: a label
// with its value, or Count, or Percent.
type Wave struct {
	Label, Value string
	Count        int // agents
	Percent      int // of the agents that the task is for, rounded up; 100: all, also those that come later
}

var wavePercent = regexp.MustCompile(`^([0-9]{1,3})%$`)

// ParseWave reads "ring=canary", "2", "25%" or "all".
func ParseWave(text string) (Wave, error) {
	label, value, labelled := strings.Cut(text, "=")
	switch {
	case text == "all":
		return Wave{Percent: 100}, nil
	case labelled && ValidWord(label) && value != "":
		return Wave{Label: label, Value: value}, nil
	}
	if m := wavePercent.FindStringSubmatch(text); m != nil {
		if n, _ := strconv.Atoi(m[1]); n >= 1 && n <= 100 {
			return Wave{Percent: n}, nil
		}
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= math.MaxInt32 {
		return Wave{Count: n}, nil
	}
	return Wave{}, fmt.Errorf("%q is no wave; write a number of agents such as 2, a label such as ring=canary, a percentage such as 25%%, or all", text)
}

// String writes a wave as ParseWave reads it.
func (w Wave) String() string {
	switch {
	case w.Label != "":
		return w.Label + "=" + w.Value
	case w.Percent == 100:
		return "all"
	case w.Percent > 0:
		return strconv.Itoa(w.Percent) + "%"
	}
	return strconv.Itoa(w.Count)
}

// UnmarshalYAML reads a text or a number.
func (w *Wave) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("must be a number of agents such as 2, a label such as ring=canary, a percentage such as 25%%, or all")
	}
	return w.UnmarshalText([]byte(n.Value))
}

// MarshalYAML writes a text.
func (w Wave) MarshalYAML() (any, error) { return w.String(), nil }

// MarshalText writes what UnmarshalText reads.
func (w Wave) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is ParseWave.
func (w *Wave) UnmarshalText(text []byte) (err error) {
	*w, err = ParseWave(string(text))
	return err
}

// PauseOrDefault is Pause, or its default.
func (r Rollout) PauseOrDefault() time.Duration { return orDefault(r.Pause, DefaultRolloutPause) }

// TimeoutOrDefault is Timeout, or its default.
func (r Rollout) TimeoutOrDefault() time.Duration { return orDefault(r.Timeout, DefaultRolloutTimeout) }

// MaxLagOrDefault is MaxLag, or its default.
func (r Rollout) MaxLagOrDefault() time.Duration { return orDefault(r.MaxLag, DefaultRolloutMaxLag) }

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

type plainRollout Rollout

type jsonRollout struct {
	plainRollout
	Pause   textDuration `json:"pause,omitempty"`
	Timeout textDuration `json:"timeout,omitempty"`
	MaxLag  textDuration `json:"max_lag,omitempty"`
}

// MarshalJSON writes durations as "1m".
func (r Rollout) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonRollout{plainRollout(r), textDuration(r.Pause), textDuration(r.Timeout), textDuration(r.MaxLag)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Rollout) UnmarshalJSON(data []byte) error {
	var j jsonRollout
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = Rollout(j.plainRollout)
	r.Pause, r.Timeout, r.MaxLag = time.Duration(j.Pause), time.Duration(j.Timeout), time.Duration(j.MaxLag)
	return nil
}

func (c *checker) rollout(r *Rollout) {
	if r == nil {
		return
	}
	switch n := len(r.Waves); {
	case n == 0:
		c.add("rollout.waves", "is missing; list them, such as [2, 25%%, all]")
	case n > maxWaves:
		c.add("rollout.waves", "%d are too many, the limit is %d; take some out", n, maxWaves)
	case r.Waves[n-1].Percent != 100:
		c.add(fmt.Sprintf("rollout.waves[%d]", n-1), "%s is the last one, the change would never reach the other agents; end with all", r.Waves[n-1])
	}
	for i := 1; i < len(r.Waves); i++ {
		before, w, at := r.Waves[i-1], r.Waves[i], fmt.Sprintf("rollout.waves[%d]", i)
		switch {
		case before.Percent > 0 && w.Percent == 0:
			c.add(at, "%s comes after a percentage; put labels and numbers of agents first", w)
		case w.Percent > 0 && w.Percent <= before.Percent, w.Count > 0 && w.Count <= before.Count:
			c.add(at, "%s is not more than the wave before it, %s; let waves grow", w, before)
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"pause", r.Pause}, {"timeout", r.Timeout}, {"max_lag", r.MaxLag}} {
		if d.value < 0 {
			c.add("rollout."+d.key, "%s is negative; write a duration such as 30s", d.value)
		}
	}
}

// Plan is what concerns a rollout in a task's text.
type Plan struct {
	Rollout *Rollout  // nil: the text reaches every agent at once
	Select  *Selector // whom it is for; nil: every agent
	Paused  bool      // it reaches every agent at once, to stop them
}

// PlanOf returns how a text reaches its agents. Its error says why no agent takes
// the text.
func PlanOf(data []byte, name string) (Plan, error) {
	d, err := parseOne(data, name, name)
	if err != nil {
		return Plan{}, err
	}
	t, err := d.Complete(name)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Rollout: t.Rollout, Select: t.Select, Paused: t.Paused}, nil
}
