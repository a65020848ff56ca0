package task

import (
	"encoding/json"
	"strings"
	"time"
)

// textDuration is a time.Duration that JSON sees as "5s".
type textDuration time.Duration

// MarshalText writes the duration without parts that are zero: "5m", not
// "5m0s".
func (d textDuration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// UnmarshalText reads what time.ParseDuration takes.
func (d *textDuration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = textDuration(v)
	return err
}

// plainTask is Task without its methods.
type plainTask Task

// jsonTask is a Task as JSON shows it; its durations hide those of the task.
type jsonTask struct {
	plainTask
	IgnoreOlder   textDuration `json:"ignore_older,omitempty"`
	CloseInactive textDuration `json:"close_inactive,omitempty"`
	RotateWait    textDuration `json:"rotate_wait,omitempty"`
	PollInterval  textDuration `json:"poll_interval,omitempty"`
}

// MarshalJSON writes the task with its durations as "5s" and its sizes as
// "1MiB", so that what the API shows can be stored as a task again.
func (t Task) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonTask{
		plainTask:     plainTask(t),
		IgnoreOlder:   textDuration(t.IgnoreOlder),
		CloseInactive: textDuration(t.CloseInactive),
		RotateWait:    textDuration(t.RotateWait),
		PollInterval:  textDuration(t.PollInterval),
	})
}

// UnmarshalJSON reads what MarshalJSON writes. Text from operators goes
// through Decode, which refuses what it does not know.
func (t *Task) UnmarshalJSON(data []byte) error {
	var j jsonTask
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*t = Task(j.plainTask)
	t.IgnoreOlder = time.Duration(j.IgnoreOlder)
	t.CloseInactive = time.Duration(j.CloseInactive)
	t.RotateWait = time.Duration(j.RotateWait)
	t.PollInterval = time.Duration(j.PollInterval)
	return nil
}
