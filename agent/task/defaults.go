package task

import (
	"fmt"
	"reflect"
	"time"
)

// Defaults of the keys that a task may leave out.
const (
	DefaultCloseInactive = 5 * time.Minute
	DefaultRotateWait    = 5 * time.Second
	DefaultPollInterval  = time.Second
	DefaultMaxLineBytes  = ByteSize(1 << 20)
)

// PartialWait is how long the parts of a container's line wait for its rest,
// if there is no multiline with its timeout.
const PartialWait = 5 * time.Second

// SetDefaults fills in every key that is not set and has a default.
func (t *Task) SetDefaults() {
	setDefault(&t.Start, StartBeginning)
	setDefault(&t.CloseInactive, DefaultCloseInactive)
	setDefault(&t.RotateWait, DefaultRotateWait)
	setDefault(&t.PollInterval, DefaultPollInterval)
	setDefault(&t.MaxLineBytes, DefaultMaxLineBytes)
	setDefault(&t.LongLines, LongLineCut)
	setDefault(&t.Format, FormatAuto)
	setDefault(&t.Value, ValueRaw)
	setDefault(&t.Timestamp, TimestampContainer)
	setDefault(&t.Partitioner, PartitionFile)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Equal reports whether two tasks say the same, so that replacing one by the
// other would change nothing. A key left out and its default are the same.
func Equal(a, b Task) bool {
	return reflect.DeepEqual(comparableForm(a), comparableForm(b))
}

// SameWork reports whether two tasks are the same to an agent that runs them:
// which other agents run them, and when, makes no difference.
func SameWork(a, b Task) bool {
	a.Select, b.Select = nil, nil
	a.Rollout, b.Rollout = nil, nil
	return Equal(a, b)
}

func comparableForm(t Task) Task {
	t.SetDefaults()
	if t.InvalidText == InvalidTextReplace {
		t.InvalidText = ""
	}
	if t.Value == ValueJSON && len(t.ValueFields) == 0 {
		t.ValueFields = DefaultValueFields()
	}
	if t.Filter != nil && t.Filter.RateLimit != nil {
		f, r := *t.Filter, *t.Filter.RateLimit
		setDefault(&r.WhenOver, WaitWhenOver)
		r.Burst = r.Saved()
		f.RateLimit, t.Filter = &r, &f
	}
	if t.MaxTopics == DefaultMaxTopics {
		t.MaxTopics = 0
	}
	if len(t.TopicsAllowed) == 0 {
		t.TopicsAllowed = nil
	}
	if len(t.Headers) == 0 {
		t.Headers = nil
	}
	if len(t.Paths) == 0 {
		t.Paths = nil
	}
	if len(t.Exclude) == 0 {
		t.Exclude = nil
	}
	return t
}

// Values lists what start can be.
func (Start) Values() []string { return []string{string(StartBeginning), string(StartEnd)} }

// Values lists what format can be.
func (Format) Values() []string {
	return []string{string(FormatAuto), string(FormatRaw), string(FormatCRI), string(FormatDocker)}
}

// Values lists what long_lines can be.
func (LongLine) Values() []string { return []string{string(LongLineCut), string(LongLineDrop)} }

// Encodings lists what encoding can be, in which case and _ instead of - make
// no difference.
func Encodings() []string {
	list := []string{"utf-8", "utf-16", "utf-16le", "utf-16be", "big5", "euc-jp", "euc-kr", "gb18030", "gbk"}
	for _, n := range []int{1, 10, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 9} {
		list = append(list, fmt.Sprintf("iso-8859-%d", n))
	}
	list = append(list, "koi8-r", "koi8-u", "shift-jis")
	for n := 1250; n <= 1258; n++ {
		list = append(list, fmt.Sprintf("windows-%d", n))
	}
	return append(list, "windows-874")
}

// Values lists what invalid_text can be.
func (InvalidText) Values() []string {
	return []string{string(InvalidTextReplace), string(InvalidTextRaw)}
}

// Values lists what value can be.
func (Value) Values() []string { return []string{string(ValueRaw), string(ValueJSON)} }

// Values lists what timestamp can be.
func (Timestamp) Values() []string {
	return []string{string(TimestampContainer), string(TimestampRead), string(TimestampParsed)}
}

// Values lists what partitioner can be.
func (Partitioner) Values() []string {
	return []string{
		string(PartitionFile), string(PartitionSticky), string(PartitionRoundRobin), string(PartitionRandom),
		string(PartitionHash), string(PartitionReferenceHash), string(PartitionCRC32), string(PartitionMurmur2),
		string(PartitionManual),
	}
}
