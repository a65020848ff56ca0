package task

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func validTask(change func(*Task)) Task {
	t := Task{Name: "web", Paths: []string{"/var/log/*.log"}, Topic: "web_log"}
	t.SetDefaults()
	if change != nil {
		change(&t)
	}
	return t
}

func TestValidateAcceptsWhatIsRight(t *testing.T) {
	for name, change := range map[string]func(*Task){
		"the two keys":         nil,
		"longest topic":        func(t *Task) { t.Topic = strings.Repeat("t", 249) },
		"longest name":         func(t *Task) { t.Name = strings.Repeat("n", 128) },
		"partition 0":          func(t *Task) { t.Partitioner = PartitionManual },
		"hash without a key":   func(t *Task) { t.Partitioner = PartitionMurmur2 },
		"smallest line":        func(t *Task) { t.MaxLineBytes = 1 << 10 },
		"largest line":         func(t *Task) { t.MaxLineBytes = 64 << 20 },
		"dead letters on disk": func(t *Task) { t.DeadLetter = &DeadLetter{File: "/var/lib/dead.jsonl", MaxBytes: 1 << 20, MaxFiles: 9} },
		"excluded base names":  func(t *Task) { t.Exclude = []string{"*.gz", "**/old/*", "/var/log/x"} },
		"broker's topic":       func(t *Task) { t.CreateTopic = &CreateTopic{} },
	} {
		require.NoError(t, validTask(change).Validate(), name)
	}
}

func TestValidateSaysWhatToChange(t *testing.T) {
	for _, c := range []struct {
		change func(*Task)
		want   string
	}{
		{func(t *Task) { t.Name = "" }, `name: is missing; a task needs one`},
		{func(t *Task) { t.Name = "a/b" }, `name: "a/b" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.Name = strings.Repeat("n", 129) }, `name: "` + strings.Repeat("n", 129) + `" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.Cluster = "a b" }, `cluster: "a b" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.Paths = nil }, `paths: is missing; list the files to collect, such as [/var/log/nginx/*.log]`},
		{func(t *Task) { t.Paths[0] = "" }, `paths[0]: is empty; write a path or remove it`},
		{func(t *Task) { t.Paths[0] = "/a\x00" }, `paths[0]: "/a\x00" holds a zero byte; remove it`},
		{func(t *Task) { t.Paths[0] = "/a/{b" }, `paths[0]: "/a/{b" is not a valid glob; close its brackets and braces, or escape them with \`},
		{func(t *Task) { t.Exclude = []string{"old/*"} }, `exclude[0]: "old/*" can match no path; begin it with / or **/, or leave the directory out`},
		{func(t *Task) { t.Topic = "" }, `topic: is missing; name the Kafka topic to write to`},
		{func(t *Task) { t.Topic = ".." }, `topic: ".." is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.Topic = "web\nlog" }, `topic: "web\nlog" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.Start = "middle" }, `start: cannot be "middle"; use one of beginning, end`},
		{func(t *Task) { t.Once, t.Start = true, StartEnd }, `start: cannot be end with once: true, which reads what is in the files; take one of them out`},
		{func(t *Task) { t.Once, t.Poll = true, true }, `poll: is not used with once: true, which does not wait for changes; take it out`},
		{func(t *Task) { t.Pipe, t.Once = true, true }, `once: cannot be used with pipe: true, which has no end; take one of them out`},
		{func(t *Task) { t.Pipe, t.Start = true, StartEnd }, `start: cannot be used with pipe: true, which has no end to begin at; take it out`},
		{func(t *Task) { t.Pipe, t.Multiline = true, &Multiline{Preset: "java"} }, `multiline: cannot be used with pipe: true, whose lines cannot wait for a restart; let the writer send them as one, or write to a file`},
		{func(t *Task) { t.Pipe, t.Encoding = true, "UTF_16LE" }, `encoding: cannot be used with pipe: true, whose lines are cut at single bytes; let the writer send UTF-8`},
		{func(t *Task) { t.Format = "json" }, `format: cannot be "json"; use one of auto, raw, cri, docker`},
		{func(t *Task) { t.Format, t.Encoding = FormatDocker, "gbk" }, `encoding: "gbk" cannot be that of format: docker, whose lines are UTF-8; take encoding out`},
		{func(t *Task) { t.Format, t.Encoding = FormatCRI, "UTF_16LE" }, `encoding: "UTF_16LE" cannot be that of format: cri, whose lines begin in ASCII; take encoding out`},
		{func(t *Task) { t.Key = "line" }, `key: cannot be "line"; use one of host, path, or a template such as {{.kubernetes.pod}}`},
		{func(t *Task) { t.IgnoreOlder = -time.Second }, `ignore_older: -1s is negative; leave it out to collect files of any age`},
		{func(t *Task) { t.RotateWait = -1 }, `rotate_wait: -1ns is not positive; write a duration such as 5s`},
		{func(t *Task) { t.MaxLineBytes = 10 }, `max_line_bytes: 10 is out of bounds; it must lie between 1KiB and 64MiB`},
		{func(t *Task) { t.MaxLineBytes = 65 << 20 }, `max_line_bytes: 65MiB is out of bounds; it must lie between 1KiB and 64MiB`},
		{func(t *Task) { t.Partition = 2 }, `partition: is used with partitioner: manual only; set that or remove partition`},
		{func(t *Task) { t.Partitioner, t.Partition = PartitionManual, -1 }, `partition: -1 is negative; partitions are counted from 0`},
		{func(t *Task) { t.CreateTopic = &CreateTopic{Partitions: -1} }, `create_topic.partitions: -1 is negative; leave it out for the broker's default`},
		{func(t *Task) { t.CreateTopic = &CreateTopic{ReplicationFactor: -1} }, `create_topic.replication_factor: -1 is negative; leave it out for the broker's default`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{} }, `dead_letter: must hold exactly one of topic and file`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "a", File: "/b"} }, `dead_letter: must hold exactly one of topic and file`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "a", MaxFiles: 2} }, `dead_letter: max_bytes and max_files bound a file; bound a topic by its own retention`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{File: "/b", MaxBytes: 5} }, `dead_letter.max_bytes: 5 bytes are out of bounds; write something from 64KiB to 1GiB`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{File: "/b", MaxFiles: -1} }, `dead_letter.max_files: -1 is out of bounds; write a number from 1 to 1000`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "a b"} }, `dead_letter.topic: "a b" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "web_log"} }, `dead_letter.topic: "web_log" is the task's own topic; name another one`},
		{func(t *Task) { t.DeadLetter = &DeadLetter{File: "dead"} }, `dead_letter.file: "dead" is not the absolute path of a file; begin it with / and end it with a name`},
	} {
		require.EqualError(t, validTask(c.change).Validate(), c.want)
	}
}

func TestValidateReportsAllProblemsAtOnce(t *testing.T) {
	err := Task{}.Validate()
	require.ErrorContains(t, err, "name: is missing")
	require.ErrorContains(t, err, "\npaths: is missing")
	require.ErrorContains(t, err, "\ntopic: is missing")
}

func TestTasksAreEqualWhenTheySayTheSame(t *testing.T) {
	short := Task{Name: "web", Paths: []string{"/var/log/*.log"}, Topic: "web_log"}
	require.True(t, Equal(short, validTask(nil)))
	require.True(t, Equal(short, validTask(func(t *Task) { t.Exclude = []string{} })))
	require.False(t, Equal(short, validTask(func(t *Task) { t.Topic = "other" })))
	require.False(t, Equal(short, validTask(func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "x"} })))
	require.True(t, Equal(validTask(func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "x"} }), validTask(func(t *Task) { t.DeadLetter = &DeadLetter{Topic: "x"} })))
}

func TestATaskCannotTakeItsOwnPlace(t *testing.T) {
	_, err := DecodeOne([]byte("paths: [/a]\ntopic: t\nfrom: web\n"), "web", "web")
	require.ErrorContains(t, err, `web:3: from: "web" is the task itself; name the task whose place it takes, or take from out`)
	_, err = DecodeOne([]byte("paths: [/a]\ntopic: t\nfrom: 'a b'\n"), "web", "web")
	require.ErrorContains(t, err, `from: "a b" is not a valid name`)
	got, err := DecodeOne([]byte("paths: [/a]\ntopic: t\nfrom: site\n"), "web", "web")
	require.NoError(t, err)
	require.Equal(t, "site", got.From)
}
