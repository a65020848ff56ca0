package task

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const everyKey = `name: web
paths: [/var/log/nginx/*.log]
exclude: ["*.gz", /var/log/nginx/old/**]
topic: web_log
cluster: east
select:
  hosts: [web-*]
  ids: [web-1, "web-2*"]
  labels: {env: prod, zone: [a, b]}
paused: true
from: site
start: end
ignore_older: 24h
close_inactive: 1m
rotate_wait: 10s
poll: true
poll_interval: 500ms
max_line_bytes: 64KiB
long_lines: drop
keep_cr: true
format: cri
value: json
value_fields: [message, host]
headers: {env: prod, pod: "{{.kubernetes.pod}}"}
timestamp: read
key: path
once: true
pipe: true
partitioner: manual
partition: 3
create_topic: {partitions: 6, replication_factor: 2}
dead_letter:
  topic: web_dead
`

func everyKeyTask() Task {
	return Task{
		Name: "web", Paths: []string{"/var/log/nginx/*.log"}, Exclude: []string{"*.gz", "/var/log/nginx/old/**"},
		Topic: "web_log", Cluster: "east", Select: &Selector{
			Hosts: []string{"web-*"}, IDs: []string{"web-1", "web-2*"}, Labels: map[string]LabelValues{"env": {"prod"}, "zone": {"a", "b"}},
		}, Paused: true, From: "site", Start: StartEnd, IgnoreOlder: 24 * time.Hour, CloseInactive: time.Minute,
		RotateWait: 10 * time.Second, Poll: true, PollInterval: 500 * time.Millisecond, MaxLineBytes: 64 << 10,
		LongLines: LongLineDrop, KeepCR: true, Format: FormatCRI, Value: ValueJSON, ValueFields: []string{"message", "host"},
		Headers: map[string]string{"env": "prod", "pod": "{{.kubernetes.pod}}"}, Timestamp: TimestampRead, Once: true, Pipe: true, Key: KeyPath, Partitioner: PartitionManual, Partition: 3,
		CreateTopic: &CreateTopic{Partitions: 6, ReplicationFactor: 2}, DeadLetter: &DeadLetter{Topic: "web_dead"},
	}
}

func TestDecodeReadsEveryKey(t *testing.T) {
	tasks, err := Decode([]byte(everyKey), "web.yaml")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]Task{everyKeyTask()}, tasks))
}

func TestTwoKeysOfJSONAreATask(t *testing.T) {
	got, err := DecodeOne([]byte(`{"paths":["/var/log/nginx/*.log"],"topic":"web_log"}`), "etcd:/logferry/tasks/web", "web")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(Task{
		Name: "web", Paths: []string{"/var/log/nginx/*.log"}, Topic: "web_log", Start: StartBeginning,
		CloseInactive: 5 * time.Minute, RotateWait: 5 * time.Second, PollInterval: time.Second, MaxLineBytes: 1 << 20,
		LongLines: LongLineCut, Format: FormatAuto, Value: ValueRaw, Timestamp: TimestampContainer, Partitioner: PartitionFile,
	}, got))
}

func TestWhatMarshalWritesDecodeReadsBack(t *testing.T) {
	want := everyKeyTask()
	asJSON, err := json.MarshalIndent(want, "", "\t")
	require.NoError(t, err)
	require.Contains(t, string(asJSON), `"close_inactive": "1m"`)
	require.Contains(t, string(asJSON), `"max_line_bytes": "64KiB"`)
	asYAML, err := yaml.Marshal(want)
	require.NoError(t, err)
	require.Contains(t, string(asYAML), "max_line_bytes: 64KiB\n")

	for _, text := range [][]byte{asJSON, asYAML} {
		got, err := Decode(text, "x")
		require.NoError(t, err, string(text))
		require.Empty(t, cmp.Diff([]Task{want}, got))
	}
	var back Task
	require.NoError(t, json.Unmarshal(asJSON, &back))
	require.Empty(t, cmp.Diff(want, back))
}

func TestJSONMayEscapeCharactersAsSurrogatePairs(t *testing.T) {
	tasks, err := Decode([]byte(`{"paths":["/srv/\ud83d\ude80\\ud83d\/*.log"],"topic":"t"}`), "x")
	require.NoError(t, err)
	require.Equal(t, []string{`/srv/🚀\ud83d/*.log`}, tasks[0].Paths)
}

func TestVariablesOfTheEnvironmentStayOutOfTasks(t *testing.T) {
	t.Setenv("HOME_OF_LOGS", "/secret")
	tasks, err := Decode([]byte("paths: ['${HOME_OF_LOGS}/*.log']\ntopic: t\n"), "x")
	require.NoError(t, err)
	require.Equal(t, []string{"${HOME_OF_LOGS}/*.log"}, tasks[0].Paths)
}

func TestJSONMayHoldCharactersThatYAMLTakesForLineBreaks(t *testing.T) {
	tasks, err := Decode([]byte("{\"paths\":[\"/srv/\u0085\u2028\x7f*.log\"],\"topic\":\"t\"}"), "x")
	require.NoError(t, err)
	require.Equal(t, []string{"/srv/\u0085\u2028\x7f*.log"}, tasks[0].Paths)
}

func TestAFileMayHoldSeveralTasks(t *testing.T) {
	defs, err := Parse([]byte("---\nname: a\npaths: [/a]\ntopic: a\n---\nname: b\npaths: [/b]\ntopic: b\n"), "two.yaml")
	require.NoError(t, err)
	require.Len(t, defs, 2)
	require.Equal(t, "b", defs[1].Task.Name)
	require.Equal(t, 6, defs[1].Line)

	_, err = DecodeOne([]byte("paths: [/a]\ntopic: a\n---\npaths: [/b]\ntopic: b\n"), "etcd:/x", "x")
	require.EqualError(t, err, "etcd:/x:4: a second task begins here; a key holds one task, give this one a key of its own")
}

func TestDecodeErrorsAreOneLineWithOriginLineAndRemedy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"paths: [/a]\n\ntopc: web\n", `f:3: unknown key "topc"; did you mean "topic"?`},
		{"path: [/a]\n", `f:1: unknown key "path"; did you mean "paths"?`},
		{"Topic: a\n", `f:1: unknown key "Topic"; did you mean "topic"?`},
		{"dead_letter: {fiel: /x}\n", `f:1: unknown key "fiel" in dead_letter; did you mean "file"?`},
		{"dead_letter: {x: /x}\n", `f:1: unknown key "x" in dead_letter; the keys here are topic, file, max_bytes, max_files`},
		{"topic: a\nhosts: [a]\n", `f:2: unknown key "hosts"; it belongs in select`},
		{"select: {host: [a]}\n", `f:1: unknown key "host" in select; did you mean "hosts"?`},
		{"select:\n  hosts: web-*\n", `f:2: select.hosts must be a list; write [web-*]`},
		{"select:\n  labels:\n    env: {in: [a]}\n", `f:3: select.labels.env: must be a text or a list of texts; write prod or [prod, test]`},
		{"select:\n  labels:\n    env:\n", `f:3: select.labels.env is empty; give it a value or take the line out`},
		{"select:\n  labels: [env]\n", `f:2: select.labels must be a section of NAME: VALUE, not a list`},
		{"select:\n", `f:1: select is empty; give it a value or take the line out`},
		{"topic: a\nfile: /x\n", `f:2: unknown key "file"; it belongs in dead_letter`},
		{"partitions: 3\n", `f:1: unknown key "partitions"; it belongs in create_topic`},
		{"dead_letter: {cluster: x}\n", `f:1: unknown key "cluster" in dead_letter; it belongs at the top level`},
		{"paths: /var/log/*.log\n", `f:1: paths must be a list; write [/var/log/*.log]`},
		{"paths: '*.log'\n", `f:1: paths must be a list; write ["*.log"]`},
		{"topic: [a]\n", `f:1: topic must be text, not a list`},
		{"topic: a\ntopic: b\n", `f:2: key "topic" is given twice, first in line 1; keep one`},
		{`{"topic":"a","topic":"b"}`, `f:1: key "topic" is given twice, first in line 1; keep one`},
		{"topic:\n", `f:1: topic is empty; give it a value or take the line out`},
		{"paths: [/a]\ntopic: ~\n", `f:2: topic is empty; give it a value or take the line out`},
		{`{"paths":["/a"],"topic":null}`, `f:1: topic is empty; give it a value or take the line out`},
		{"dead_letter:\n", `f:1: dead_letter is empty; give it a value or take the line out`},
		{"dead_letter:\n  topic:\n", `f:2: dead_letter.topic is empty; give it a value or take the line out`},
		{"paths:\n  - /a\n  -\n", `f:3: paths[1] is empty; give it a value or take the line out`},
		{"start: begining\n", `f:1: start cannot be "begining"; did you mean "beginning"?`},
		{"start: middle\n", `f:1: start cannot be "middle"; use one of beginning, end`},
		{"partitioner: hsah\n", `f:1: partitioner cannot be "hsah"; did you mean "hash"?`},
		{"partitioner: none\n", `f:1: partitioner cannot be "none"; use one of file, sticky, round_robin, random, hash, reference_hash, crc32, murmur2, manual`},
		{"poll: maybe\n", `f:1: poll must be true or false, not "maybe"`},
		{"rotate_wait: 5\n", `f:1: rotate_wait must be a duration with a unit, such as 5s, 250ms or 2h, not "5"`},
		{"partition: 99999999999\n", `f:1: partition must be a whole number of at most 2147483647, not "99999999999"`},
		{"partition: 99999999999999999999\n", `f:1: partition must be a whole number of at most 2147483647, not "99999999999999999999"`},
		{"partition: -2147483649\n", `f:1: partition must be a whole number of at least -2147483648, not "-2147483649"`},
		{"partition: 1.5\n", `f:1: partition must be a whole number, not "1.5"`},
		{"partition: 3.0\n", `f:1: partition must be a whole number, not "3.0"`},
		{`{"partition":1e1}`, `f:1: partition must be a whole number, not "1e1"`},
		{`{"partition":"3"}`, `f:1: partition must be a whole number, not text; write 3 without quotes`},
		{"create_topic: {partitions: 3, replication_factor: 32768}\n", `f:1: create_topic.replication_factor must be a whole number of at most 32767, not "32768"`},
		{"max_line_bytes: 1M\n", `f:1: max_line_bytes: unknown unit in size "1M"; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB`},
		{"max_line_bytes: 1.5\n", `f:1: max_line_bytes: must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not "1.5"`},
		{"create_topic: 3\n", `f:1: create_topic must be a section with keys such as partitions, replication_factor, not "3"`},
		{"just words\n", `f:1: the document must be a section with keys such as name, paths, exclude, not "just words"`},
		{"", `f:1: empty, there is no task in it; write at least paths and topic`},
		{"# nothing\n", `f:1: empty, there is no task in it; write at least paths and topic`},
		{"topic: a\n---\n---\ntopic: b\n", `f:2: empty document; write keys there or remove its "---"`},
		{"a: &x 1\ntopic: *x\n", `f:1: unknown key "a"; the keys here are name, paths, exclude, topic, topics_allowed, topic_fallback, max_topics, cluster, select, paused, from, rollout, once, pipe, start, ignore_older, close_inactive, rotate_wait, poll, poll_interval, format, max_line_bytes, long_lines, keep_cr, encoding, invalid_text, multiline, filter, value, value_fields, headers, timestamp, parse_time, fields, key, partitioner, partition, create_topic, dead_letter`},
		{"name: &x a\ntopic: *x\n", `f:1: name uses &x; anchors and aliases are not supported here, write the value out, or quote it if it starts with & or *`},
		{"topic: &web\n", `f:1: topic uses &web; anchors and aliases are not supported here, write the value out, or quote it if it starts with & or *`},
		{"<<: {topic: a}\n", `f:1: unknown key "<<"; the keys here are name, paths, exclude, topic, topics_allowed, topic_fallback, max_topics, cluster, select, paused, from, rollout, once, pipe, start, ignore_older, close_inactive, rotate_wait, poll, poll_interval, format, max_line_bytes, long_lines, keep_cr, encoding, invalid_text, multiline, filter, value, value_fields, headers, timestamp, parse_time, fields, key, partitioner, partition, create_topic, dead_letter`},
		{"topic: a\npaths: [*.log]\n", `f:2: broken YAML: did not find expected alphabetic or numeric character; quote a value that starts with * or &`},
		{"topic: a\npaths: [*log]\n", `f:2: broken YAML: unknown anchor referenced; quote a value that starts with *`},
		{"topic: a: b\n", `f:1: broken YAML: mapping values are not allowed in this context; check the indentation, and quote a value that holds ": "`},
		{"topic: a\n\tpaths: [x]\n", `f:2: broken YAML: found a tab character that violates indentation; indent with spaces, not with tabs`},
		{"topic: @a\n", "f:1: broken YAML: found character that cannot start any token; quote a value that starts with %, @ or `"},
		{"{\n\"topic\": }x", `f:2: broken JSON: invalid character '}' looking for beginning of value; check the commas, quotes and braces before it`},
		{"topic: \xff\n", `f: not UTF-8 text; save it as UTF-8`},
		{"topic: " + strings.Repeat("x", MaxBytes), `f: is 262151 bytes long, the limit is 256KiB; split it into several tasks`},
	} {
		_, err := Decode([]byte(c.text), "f")
		require.EqualError(t, err, c.want, c.text)
	}
}

func TestCompleteNamesTheLineOfEachProblem(t *testing.T) {
	defs, err := Parse([]byte("paths:\n  - /ok/*.log\n  - logs/*.log\ntopic: web log\nrotate_wait: 0s\n"), "web.yaml")
	require.NoError(t, err)
	_, err = defs[0].Complete("web")
	require.EqualError(t, err, strings.Join([]string{
		`web.yaml:5: rotate_wait: must be more than 0; leave it out for the default`,
		`web.yaml:3: paths[1]: "logs/*.log" is not an absolute path; begin it with /`,
		`web.yaml:4: topic: "web log" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`,
	}, "\n"))

	refusal := Refuse("web", "etcd:/logferry/tasks/web@rev 42", err)
	require.Equal(t, Refusal{Name: "web", Origin: "etcd:/logferry/tasks/web@rev 42", Error: "line 5: rotate_wait: must be more than 0; leave it out for the default; " +
		`line 3: paths[1]: "logs/*.log" is not an absolute path; begin it with /; ` +
		`line 4: topic: "web log" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`}, refusal)
}

func TestANameThatDiffersFromItsKeyIsRefused(t *testing.T) {
	_, err := DecodeOne([]byte("topic: a\nname: shop\npaths: [/a]\n"), "etcd:/logferry/tasks/web@rev 7", "web")
	require.EqualError(t, err, `etcd:/logferry/tasks/web@rev 7:2: name: "shop" is not that of the key, "web"; remove it or rename the key`)
}

func TestARemoteTextIsHeldAgainstAllowPaths(t *testing.T) {
	allow, err := NewAllowList([]string{"/var/log/**"})
	require.NoError(t, err)
	got, err := DecodeRemote([]byte("topic: a\npaths: [/var/log/*.log]\n"), "etcd:/x", "web", allow)
	require.NoError(t, err)
	require.Equal(t, "web", got.Name)
	_, err = DecodeRemote([]byte("topic: a\npaths:\n  - /var/log/*.log\n  - /etc/*\n"), "etcd:/x", "web", allow)
	require.EqualError(t, err, `etcd:/x:4: paths[1]: "/etc/*" reaches outside of allow_paths (/var/log/**); change it, or allow_paths in agent.yaml`)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte(`{"paths":["/var/log/\ud83d\ude80*.log"],"topic":"web_log"}`))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("---\n---\n"))
	f.Add([]byte(`{"paths":["/a\u007f\u0085"],"topic":"t"}`))
	f.Add([]byte("paths: [!!binary aGk=]\ntopic: !!int 5\n"))
	allow, err := NewAllowList([]string{"/var/log/**"})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		defs, err := Parse(data, "f")
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.NotEmpty(t, defs)
		for _, d := range defs {
			got, err := d.Complete("x")
			if err != nil {
				continue
			}
			require.NoError(t, got.Validate())
			_ = got.ValidateRemote(allow)
			text, err := json.Marshal(got)
			require.NoError(t, err)
			again, err := DecodeOne(text, "again", got.Name)
			require.NoError(t, err, string(text))
			require.True(t, Equal(got, again), "%s", text)
		}
	})
}

func TestATaskIsNotExpanded(t *testing.T) {
	t.Setenv("LOGFERRY_TEST_SECRET", "hunter2")
	_, err := DecodeOne([]byte("paths: [/var/log/a.log]\ntopic: a\nheaders: {x: '${LOGFERRY_TEST_SECRET}'}\n"), "a.yaml", "a")
	require.ErrorContains(t, err, `"${LOGFERRY_TEST_SECRET}" is no field`)
	got, err := DecodeOne([]byte("paths: ['/var/log/${LOGFERRY_TEST_SECRET}']\ntopic: a\n"), "a.yaml", "a")
	require.NoError(t, err)
	require.Equal(t, []string{"/var/log/${LOGFERRY_TEST_SECRET}"}, got.Paths)
}
