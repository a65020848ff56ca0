package task

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Multiline says which lines are one record. One of Preset and the patterns is
// set; patterns are RE2 and match anywhere unless they are anchored.
type Multiline struct {
	Start    string `yaml:"start,omitempty" json:"start,omitempty"`       // a line that matches begins a record
	Continue string `yaml:"continue,omitempty" json:"continue,omitempty"` // a line that does not match begins a record
	End      string `yaml:"end,omitempty" json:"end,omitempty"`           // a line that matches is the last of its record
	Preset   string `yaml:"preset,omitempty" json:"preset,omitempty"`     // Continue for the traces of a language

	Timeout  time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`     // a file's last record is complete when the file was quiet for this long; 0: DefaultMultilineTimeout
	MaxLines int           `yaml:"max_lines,omitempty" json:"max_lines,omitempty"` // a longer record is cut in two; 0: DefaultMultilineLines
	MaxBytes ByteSize      `yaml:"max_bytes,omitempty" json:"max_bytes,omitempty"` // 0: max_line_bytes
}

// Defaults of what Multiline may leave out.
const (
	DefaultMultilineTimeout = 2 * time.Second
	DefaultMultilineLines   = 500
)

// Presets lists what preset can be.
func Presets() []string { return []string{"java", "python", "go", "node", "ruby", "dotnet"} }

type plainMultiline Multiline

type jsonMultiline struct {
	plainMultiline
	Timeout textDuration `json:"timeout,omitempty"`
}

// MarshalJSON writes the timeout as "2s".
func (m Multiline) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonMultiline{plainMultiline(m), textDuration(m.Timeout)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Multiline) UnmarshalJSON(data []byte) error {
	var j jsonMultiline
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*m = Multiline(j.plainMultiline)
	m.Timeout = time.Duration(j.Timeout)
	return nil
}

func (c *checker) multiline(t Task) {
	m := t.Multiline
	if m == nil {
		return
	}
	patterns := m.Start != "" || m.Continue != "" || m.End != ""
	switch {
	case m.Preset == "" && !patterns:
		c.add("multiline", "says nothing; write one of start, continue, end and preset")
	case m.Preset != "" && patterns:
		c.add("multiline.preset", "stands for patterns; use it or start, continue and end, not both")
	case m.Preset != "" && !slices.Contains(Presets(), m.Preset):
		c.add("multiline.preset", "cannot be %q; use one of %s", m.Preset, strings.Join(Presets(), ", "))
	}
	for _, p := range []struct{ key, pattern string }{{"start", m.Start}, {"continue", m.Continue}, {"end", m.End}} {
		if p.pattern != "" {
			c.regexp("multiline."+p.key, p.pattern)
		}
	}
	if m.Timeout < 0 {
		c.add("multiline.timeout", "%s is negative; leave it out for %s", m.Timeout, DefaultMultilineTimeout)
	}
	if m.MaxLines < 0 {
		c.add("multiline.max_lines", "%d is negative; leave it out for %d", m.MaxLines, DefaultMultilineLines)
	}
	if m.MaxBytes < 0 || m.MaxBytes > t.MaxLineBytes {
		c.add("multiline.max_bytes", "%s is out of bounds; it must not be more than max_line_bytes, %s, which bounds every record", m.MaxBytes, t.MaxLineBytes)
	}
}
