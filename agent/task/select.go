package task

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	"go.yaml.in/yaml/v3"
)

// ValidWord reports whether a label or a cluster of agent.yaml can be called so.
func ValidWord(name string) bool { return wordRule.MatchString(name) }

// AnyValue as a label's value in a selector stands for every value: the agent
// must have the label.
const AnyValue = "*"

var wordRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$`)

// Selector says which agents a task is for. An agent must satisfy every key
// that is set; of a list, one entry suffices.
type Selector struct {
	Hosts  []string               `yaml:"hosts,omitempty" json:"hosts,omitempty"`   // globs of host names
	IDs    []string               `yaml:"ids,omitempty" json:"ids,omitempty"`       // agent ids, or globs of them
	Labels map[string]LabelValues `yaml:"labels,omitempty" json:"labels,omitempty"` // by label: the values that it may have
}

// LabelValues are the values that satisfy a selector, written as one text or as
// a list of them; AnyValue stands for all.
type LabelValues []string

// Identity is what a selector looks at of an agent.
type Identity struct {
	ID     string
	Host   string
	Labels map[string]string
}

// Matches reports whether the agent is one of those that are meant; a nil
// selector means all. The selector must be valid.
func (s *Selector) Matches(a Identity) bool {
	if s == nil {
		return true
	}
	for label, values := range s.Labels { // cheaper than globs
		have, ok := a.Labels[label]
		if !ok || !slices.Contains(values, have) && !slices.Contains(values, AnyValue) {
			return false
		}
	}
	return (s.Hosts == nil || anyGlob(s.Hosts, a.Host)) && (s.IDs == nil || anyGlob(s.IDs, a.ID))
}

func anyGlob(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return doublestar.MatchUnvalidated(g, name) })
}

// selector adds what is wrong with the key select.
func (c *checker) selector(s *Selector) {
	if s == nil {
		return
	}
	if s.Hosts == nil && s.IDs == nil && s.Labels == nil {
		c.add("select", "is empty; name hosts, ids or labels, or take it out: a task without it is for every agent")
	}
	c.selectorGlobs("select.hosts", s.Hosts, "[web-*]")
	c.selectorGlobs("select.ids", s.IDs, "[web-1, web-2]")
	if s.Labels != nil && len(s.Labels) == 0 {
		c.add("select.labels", "is empty; name labels, such as {env: prod}, or take it out")
	}
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		key := "select.labels." + label
		if !ValidWord(label) {
			c.add(key, "%q cannot name a label; use up to 63 letters, digits, '.', '_' and '-'", label)
		}
		if len(s.Labels[label]) == 0 {
			c.add(key, `is empty; list the values that it may have, or write "*" for any`)
		}
	}
}

func (c *checker) selectorGlobs(key string, globs []string, example string) {
	if globs != nil && len(globs) == 0 {
		c.add(key, "is empty and would select no agent; list some, such as %s, or take it out", example)
	}
	for i, g := range globs {
		at := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case g == "":
			c.add(at, "is empty; write a name or a glob, or remove it")
		case !doublestar.ValidatePattern(g):
			c.add(at, "%q is not a valid glob; close its brackets and braces, or escape them with \\", g)
		}
	}
}

// UnmarshalYAML reads one text or a list of texts.
func (v *LabelValues) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	list := make(LabelValues, len(items))
	for i, item := range items {
		if item.Kind != yaml.ScalarNode {
			return fmt.Errorf("must be a text or a list of texts; write prod or [prod, test]")
		}
		list[i] = item.Value
	}
	*v = list
	return nil
}

// MarshalYAML writes a single value without a list around it.
func (v LabelValues) MarshalYAML() (any, error) { return v.plain(), nil }

// MarshalJSON writes a single value without a list around it.
func (v LabelValues) MarshalJSON() ([]byte, error) { return json.Marshal(v.plain()) }

// UnmarshalJSON reads one text or a list of texts.
func (v *LabelValues) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = LabelValues{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(v))
}

func (v LabelValues) plain() any {
	if len(v) == 1 {
		return v[0]
	}
	return []string(v)
}
