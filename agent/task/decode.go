package task

import (
	"errors"
	"fmt"
	"strings"

	"logferry/internal/strictyaml"
)

// MaxBytes is the largest text that Parse takes: one etcd value, or one file
// of tasks.
const MaxBytes = 256 << 10

// Definition is one task as it was written, with where its keys stand.
type Definition struct {
	Task   Task   // as decoded: no defaults, perhaps no name
	Origin string // a file name, or an etcd key
	Line   int    // of its first key, counted from 1
	lines  map[string]int
}

// Parse decodes a text of one or more YAML documents, or one of JSON, into
// what it defines. It refuses unknown and repeated keys, keys without a value,
// wrong types, unknown words, anchors and aliases, empty documents, and texts
// longer than MaxBytes. ${VAR} stays as it is. The error is one line,
// "ORIGIN:LINE: what is wrong; what to write instead", of type
// *strictyaml.Error.
func Parse(data []byte, origin string) ([]Definition, error) {
	if len(data) > MaxBytes {
		return nil, &strictyaml.Error{Origin: origin, Text: fmt.Sprintf(
			"is %d bytes long, the limit is %s; split it into several tasks", len(data), ByteSize(MaxBytes))}
	}
	docs, err := strictyaml.ParseAll(origin, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, &strictyaml.Error{Origin: origin, Line: 1, Text: "empty, there is no task in it; write at least paths and topic"}
	}
	defs := make([]Definition, len(docs))
	for i, doc := range docs {
		d := Definition{Origin: origin, Line: doc.Line}
		if err := doc.DecodePlain(&d.Task); err != nil {
			return nil, err
		}
		d.lines = doc.Lines()
		defs[i] = d
	}
	return defs, nil
}

// Decode is Parse for those who need the tasks alone. The tasks have neither
// defaults nor been validated.
func Decode(data []byte, origin string) ([]Task, error) {
	defs, err := Parse(data, origin)
	if err != nil {
		return nil, err
	}
	tasks := make([]Task, len(defs))
	for i, d := range defs {
		tasks[i] = d.Task
	}
	return tasks, nil
}

// DecodeOne returns the one task that data defines, ready to run: named, with
// its defaults, and valid. The name is that of its etcd key; a text
// that sets another one is refused.
func DecodeOne(data []byte, origin, name string) (Task, error) {
	d, err := parseOne(data, origin, name)
	if err != nil {
		return Task{}, err
	}
	return d.Complete(name)
}

// DecodeRemote is DecodeOne for a text whose author has no account on this
// host: it refuses also what ValidateRemote does.
func DecodeRemote(data []byte, origin, name string, allow AllowList) (Task, error) {
	d, err := parseOne(data, origin, name)
	if err != nil {
		return Task{}, err
	}
	t, err := d.Complete(name)
	if err != nil {
		return Task{}, err
	}
	if problems := t.remoteProblems(allow); len(problems) > 0 {
		return Task{}, d.locate(problems)
	}
	return t, nil
}

// DecodeFor is DecodeRemote for one agent. selected is false when the task is
// not for that agent, whose allow_paths do not count then; the error is that of
// any other agent. A text whose selector cannot be told is for every agent.
func DecodeFor(data []byte, origin, name string, allow AllowList, agent Identity) (t Task, selected bool, err error) {
	d, err := parseOne(data, origin, name)
	if err != nil {
		return Task{}, true, err
	}
	var c checker
	c.selector(d.Task.Select)
	selected = len(c.found) > 0 || d.Task.Select.Matches(agent)
	if t, err = d.Complete(name); err != nil || !selected {
		return t, selected, err
	}
	if problems := t.remoteProblems(allow); len(problems) > 0 {
		return Task{}, true, d.locate(problems)
	}
	return t, true, nil
}

// Aim returns whom a text is for: the selector, nil for every agent. The error
// says why no agent takes the text; it is for every agent then unless its
// selector can be told.
func Aim(data []byte, origin, name string) (*Selector, error) {
	d, err := parseOne(data, origin, name)
	if err != nil {
		return nil, err
	}
	_, err = d.Complete(name)
	var c checker
	if c.selector(d.Task.Select); len(c.found) > 0 {
		return nil, err
	}
	return d.Task.Select, err
}

func parseOne(data []byte, origin, name string) (Definition, error) {
	defs, err := Parse(data, origin)
	if err != nil {
		return Definition{}, err
	}
	d := defs[0]
	if len(defs) > 1 {
		return Definition{}, defs[1].errorf("", "a second task begins here; a key holds one task, give this one a key of its own")
	}
	if own := d.Task.Name; own != "" && own != name {
		return Definition{}, d.errorf("name", "name: %q is not that of the key, %q; remove it or rename the key", own, name)
	}
	return d, nil
}

// Complete returns the task ready to run: named (by name unless it names
// itself), with its defaults, and valid. Its error joins one line, of type
// *strictyaml.Error, for each problem.
func (d Definition) Complete(name string) (Task, error) {
	t := d.Task
	setDefault(&t.Name, name)
	problems := d.zeroes()
	t.SetDefaults()
	problems = append(problems, t.problems()...)
	if len(problems) > 0 {
		return Task{}, d.locate(problems)
	}
	return t, nil
}

// zeroes finds keys that were set to 0 where leaving them out means a default:
// the operator did not mean the default.
func (d Definition) zeroes() []Problem {
	var list []Problem
	for _, k := range []struct {
		key  string
		zero bool
	}{
		{"close_inactive", d.Task.CloseInactive == 0},
		{"rotate_wait", d.Task.RotateWait == 0},
		{"poll_interval", d.Task.PollInterval == 0},
		{"max_line_bytes", d.Task.MaxLineBytes == 0},
		{"filter.rate_limit.burst", d.Task.Filter != nil && d.Task.Filter.RateLimit != nil && d.Task.Filter.RateLimit.Burst == 0},
		{"max_topics", d.Task.MaxTopics == 0},
		{"rollout.pause", d.Task.Rollout != nil && d.Task.Rollout.Pause == 0},
		{"rollout.timeout", d.Task.Rollout != nil && d.Task.Rollout.Timeout == 0},
		{"rollout.max_lag", d.Task.Rollout != nil && d.Task.Rollout.MaxLag == 0},
	} {
		if _, set := d.lines[k.key]; set && k.zero {
			list = append(list, Problem{k.key, "must be more than 0; leave it out for the default"})
		}
	}
	return list
}

func (d Definition) errorf(key, format string, args ...any) error {
	line, ok := d.lines[key]
	for !ok && strings.ContainsAny(key, ".[") { // a key that is missing is told of where it belongs
		key = key[:strings.LastIndexAny(key, ".[")]
		line, ok = d.lines[key]
	}
	if !ok {
		line = d.Line
	}
	return &strictyaml.Error{Origin: d.Origin, Line: line, Text: fmt.Sprintf(format, args...)}
}

func (d Definition) locate(problems []Problem) error {
	list := make([]error, len(problems))
	for i, p := range problems {
		list[i] = d.errorf(p.Key, "%s", p.Error())
	}
	return errors.Join(list...)
}

// Refuse makes a Refusal of what Parse, Complete or DecodeOne returned. Its
// error is one line; a problem that has a line number names it unless the origin
// already ends with it.
func Refuse(name, origin string, err error) Refusal {
	var texts []string
	for _, e := range flatten(err) {
		located := strictyaml.AsError(e)
		switch {
		case located == nil:
			texts = append(texts, strings.ReplaceAll(e.Error(), "\n", "; "))
		case located.Line == 0 || strings.HasSuffix(origin, fmt.Sprintf(":%d", located.Line)):
			texts = append(texts, located.Text)
		default:
			texts = append(texts, fmt.Sprintf("line %d: %s", located.Line, located.Text))
		}
	}
	return Refusal{Name: name, Origin: origin, Error: strings.Join(texts, "; ")}
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}
