// Package configs_test loads every file of this directory exactly as the agent
// would.
package configs_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent"
	"logferry/agent/task"
)

var (
	// commentedKey is a key behind "#" without a space, or one inside of it.
	commentedKey = regexp.MustCompile(`(?m)^( *)#([a-z]|  )`)
	envName      = regexp.MustCompile(`LOGFERRY_[A-Z_]+`)
)

func load(t *testing.T, path string, env map[string]string) agent.Config {
	t.Helper()
	cfg, err := agent.LoadConfig(path, func(name string) string { return env[name] })
	require.NoError(t, err)
	cfg.SetDefaults()
	require.NoError(t, cfg.Validate())
	return cfg
}

func TestAgentYAMLShowsTheDefaults(t *testing.T) {
	cfg := load(t, "agent.yaml", nil)
	defaults := load(t, "", map[string]string{"LOGFERRY_KAFKA_BROKERS": "127.0.0.1:9092"})
	defaults.Tasks.Files = []string{"tasks/*.yaml"}
	for i := range reflect.TypeFor[agent.Config]().NumField() {
		field := reflect.TypeFor[agent.Config]().Field(i)
		if field.IsExported() {
			require.Equal(t, reflect.ValueOf(defaults).Field(i).Interface(), reflect.ValueOf(cfg).Field(i).Interface(), field.Name)
		}
	}
}

func TestAgentYAMLIsValidWithEveryCommentedKeySwitchedOn(t *testing.T) {
	text, err := os.ReadFile("agent.yaml")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(path, commentedKey.ReplaceAll(text, []byte("$1$2")), 0o600))
	cfg := load(t, path, map[string]string{"LOGFERRY_KAFKA_COMPRESSION": "gzip"})
	require.Equal(t, "web-1", cfg.ID)
	require.NotEmpty(t, cfg.Labels)
	require.NotNil(t, cfg.Tasks.Etcd)
	require.NotNil(t, cfg.Kafka.CreateTopics)
	require.NotNil(t, cfg.Kafka.DeadLetter)
	require.NotNil(t, cfg.Kafka.CompressionLevel)
	require.Equal(t, filepath.Join(filepath.Dir(path), "kafka-ca.pem"), cfg.Kafka.TLS.CAFile)
	require.Equal(t, filepath.Join(filepath.Dir(path), "kafka-password"), cfg.Kafka.SASL.PasswordFile)
	require.Contains(t, cfg.Clusters, "audit")
	require.NotZero(t, cfg.Memory.Limit)
}

func TestAgentYAMLMentionsEveryKey(t *testing.T) {
	text, err := os.ReadFile("agent.yaml")
	require.NoError(t, err)
	for _, key := range keysOf(reflect.TypeFor[agent.Config]()) {
		require.Regexp(t, `(?m)^[ #]*(?:Instead of \w+: )?`+key+`:`, string(text))
	}
}

func TestAgentYAMLNamesExactlyTheVariablesThatTheAgentReads(t *testing.T) {
	text, err := os.ReadFile("agent.yaml")
	require.NoError(t, err)
	named := envName.FindAllString(string(text), -1)
	slices.Sort(named)
	var read []string
	_, err = agent.LoadConfig("", func(name string) string {
		read = append(read, name)
		return ""
	})
	require.NoError(t, err)
	slices.Sort(read)
	require.Equal(t, read, slices.Compact(named))
}

func TestTheExampleForSecureBrokersIsValid(t *testing.T) {
	cfg := load(t, "agent-sasl-ssl.yaml", nil)
	require.Equal(t, "SCRAM-SHA-512", cfg.Kafka.SASL.Mechanism)
	require.Equal(t, "1.3", cfg.Kafka.TLS.MinVersion)
	require.Equal(t, "/etc/logferry/audit-client.key", cfg.Clusters["audit"].TLS.KeyFile)
}

func TestEveryTaskIsValid(t *testing.T) {
	files, err := filepath.Glob("tasks/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 20)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		got, err := task.DecodeOne(data, file, name)
		require.NoError(t, err)
		require.Equal(t, name, got.Name)
	}
}

// keysOf returns the YAML keys of a struct and of the sections inside it.
func keysOf(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		keys = append(append(keys, key), keysOf(field.Type)...)
	}
	return keys
}
