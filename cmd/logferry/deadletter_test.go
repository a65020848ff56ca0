package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/sink/kafka"
	"logferry/sink/kafka/console"
	"logferry/sink/kafka/deadletter"
)

const deadAgent = `
kafka:
  brokers: [BROKERS]
  compression: none
  dead_letter: {max_bytes: 65536, max_files: 1}
tasks:
  files: [tasks/*.yaml]
`

// TestTheCommandsThatTheDocsShowForDeadLettersWork runs them in their order
// beside an agent, which has set two records aside: one in a file, one in a topic.
func TestTheCommandsThatTheDocsShowForDeadLettersWork(t *testing.T) {
	brokers := strings.Join(startKafka(t, kfake.SeedTopics(1, "shop_log_large", "dead_letters")), ",")
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "dead-letters.md"))
	require.NoError(t, err)
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
	write("web.log", "first\n"+strings.Repeat("x", 3000)+"\nlast\n")
	write("shop.log", strings.Repeat("y", 3000)+"\n")
	write("tasks/web.yaml", "paths: ["+dir+"/web.log]\ntopic: web_log\n")
	write("tasks/shop.yaml", "paths: ["+dir+"/shop.log]\ntopic: shop_log\ndead_letter: {topic: dead_letters}\n")
	write("agent.yaml", strings.Replace(deadAgent, "BROKERS", brokers, 1))
	env := map[string]string{}
	run := func(words ...string) (code int, out, said string) {
		var stdout, stderr bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: func(name string) string { return env[name] }}
		code = a.execute(t.Context(), words)
		return code, stdout.String(), stderr.String()
	}
	for _, topic := range []string{"web_log", "shop_log"} {
		code, _, said := run("topic", "create", topic, "--partitions", "1", "--set", "max.message.bytes=2000", "--brokers", brokers)
		require.Zero(t, code, said)
	}
	agent := start(t, "run", "--config", "agent.yaml", "--state-dir", filepath.Join(dir, "state"), "--http", "127.0.0.1:0")
	for _, task := range []string{"web", "shop"} {
		agent.awaitMetric(t, `logferry_dead_letters_total\{cause="too_large",task="`+task+`"\} 1`)
	}
	id, outputs := "", map[string]string{}
	for _, words := range commandsOf(string(text)) {
		line := strings.Join(words, " ")
		if words[0] == "export" {
			name, _, _ := strings.Cut(words[1], "=")
			env[name] = map[string]string{"LOGFERRY_STATE_DIR": filepath.Join(dir, "state"), "LOGFERRY_KAFKA_BROKERS": brokers}[name]
			continue
		}
		require.Equal(t, "bin/logferry", words[0])
		if len(words) > 2 && words[len(words)-2] == ">" {
			words = words[:len(words)-2]
		}
		for i := range words {
			if words[i] == "ed6b0bae58e9" {
				words[i] = id
			}
		}
		if strings.Contains(line, "replay --task web") {
			raiseLimit(t, brokers, "web_log")
		}
		code, out, said := run(words[1:]...)
		require.Zero(t, code, "%s: %s%s", line, out, said)
		require.Empty(t, said, line)
		if id == "" {
			id = strings.Fields(strings.Split(out, "\n")[1])[0]
		}
		outputs[strings.TrimPrefix(line, "bin/logferry deadletter ")] = out
	}
	require.Contains(t, outputs["list"], "web   too_large  web_log")
	require.Equal(t, strings.Repeat("x", 3000), outputs["show ed6b0bae58e9 --value > record"])
	require.Contains(t, outputs["replay --task web"], id+"  web   web_log  0          2")
	require.Equal(t, 1, strings.Count(outputs["list --waiting"], "\n"))
	require.Equal(t, "no dead letters wait\n", outputs["replay --all"])
	require.Equal(t, "dropped 1 dead letter\n", outputs["drop --replayed"])
	require.Contains(t, outputs["list --from-topic dead_letters"], "dead_letters/0/0")
	require.Contains(t, outputs["replay --all --from-topic dead_letters --topic shop_log_large"], "shop_log_large")
	require.Equal(t, "dropped 1 dead letter\n", outputs["drop --all --from-topic dead_letters"])
	require.Zero(t, agent.end(t, syscall.SIGTERM))
}

func raiseLimit(t *testing.T, brokers, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	require.NoError(t, err)
	defer cl.Close()
	limit := "100000"
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "max.message.bytes", Value: &limit}},
	}}
	resp, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Zero(t, resp.Resources[0].ErrorCode)
}

// TestAKilledReplayRepeatsNoMoreThanOneLetter kills a replay in its middle, twice.
func TestAKilledReplayRepeatsNoMoreThanOneLetter(t *testing.T) {
	const letters = 1000
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	file := deadletter.File{Path: filepath.Join(t.TempDir(), "web.jsonl"), MaxBytes: 20_000, MaxFiles: 100}
	for i := range letters {
		_, err := file.Append(t.Context(), deadletter.Letter{
			Time: time.Unix(1_700_000_000, int64(i)), Cause: "too_large", Task: "web", Topic: "web_log", RecordTime: time.Now(), Value: fmt.Append(nil, i),
		})
		require.NoError(t, err)
	}
	args := []string{"deadletter", "replay", "--all", "--from-file", file.Path, "--brokers", strings.Join(brokers, ",")}
	for _, reached := range []int64{50, 150} {
		p := start(t, args...)
		read(t, brokers, "web_log", reached)
		p.end(t, syscall.SIGKILL)
	}
	out, code := runOnce(t, args...)
	require.Equal(t, exitOK, code, out)
	var values []string
	opts := console.ConsumeOptions{Topic: "web_log", From: console.FromOldest, UntilEnd: true}
	require.NoError(t, console.Consume(t.Context(), kafka.Config{Brokers: brokers}, opts,
		func(m console.Message) error { values = append(values, string(m.Value)); return nil }, quiet))
	require.LessOrEqual(t, len(values), letters+2, "two kills")
	distinct := slices.Compact(values)
	require.Len(t, distinct, letters)
	for i, v := range distinct {
		require.Equal(t, fmt.Sprint(i), v)
	}
}
