package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/sink/kafka"
)

// noEnv is an environment in which nothing is set.
func noEnv(string) string { return "" }

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

// writeConfig writes agent.yaml into a directory of its own and returns its path.
func writeConfig(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// loadComplete does all that a start does with a configuration.
func loadComplete(path string, getenv func(string) string) (Config, error) {
	cfg, err := LoadConfig(path, getenv)
	if err != nil {
		return Config{}, err
	}
	cfg.SetDefaults()
	return cfg, cfg.Validate()
}

func TestConfigWithoutAFileHasEveryDefault(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	cfg, err := loadComplete("", env(map[string]string{"LOGFERRY_KAFKA_BROKERS": "127.0.0.1:9092"}))
	require.NoError(t, err)
	require.Equal(t, host, cfg.ID)
	require.Equal(t, "/var/lib/logferry", cfg.StateDir)
	require.Equal(t, []string{"/var/log/**"}, cfg.AllowPaths)
	require.Equal(t, HTTPConfig{Listen: "127.0.0.1:9600", Open: []string{"healthz", "readyz"}}, cfg.HTTP)
	require.Equal(t, LogConfig{Level: "info", Format: "text"}, cfg.Log)
	require.EqualValues(t, 8<<20, cfg.Memory.BufferBytes)
	require.Zero(t, cfg.Memory.Limit)
	require.Equal(t, 30*time.Second, cfg.ShutdownTimeout)
	require.Equal(t, time.Minute, cfg.ReconcileInterval)
	require.Equal(t, time.Second, cfg.CheckpointInterval)
	require.Nil(t, cfg.Tasks.Etcd)
	require.Equal(t, []string{"127.0.0.1:9092"}, cfg.Kafka.Brokers)
}

func TestConfigReadsEveryKey(t *testing.T) {
	path := writeConfig(t, `
id: web-1
labels: {env: prod, zone: a}
state_dir: state
allow_paths: []
http: {listen: "127.0.0.1:0", pprof: true}
kafka:
  brokers: [k1:9092, k2:9092]
  acks: 1
  compression: zstd
  linger: 10ms
  dead_letter: {file: dead.jsonl}
clusters:
  audit: {brokers: [k3:9092], dead_letter: {file: /abs.jsonl}}
tasks:
  files: [tasks.d/*.yaml, /abs/*.yaml]
  etcd: {endpoints: [e1:2379, "https://e2:2379"], prefix: /ferry/, username: u, password_file: pw}
log: {level: debug, format: json}
memory: {buffer_bytes: 32MiB, limit: 256MiB}
shutdown_timeout: 10s
reconcile_interval: 30s
checkpoint_interval: 500ms
`)
	dir := filepath.Dir(path)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pw"), []byte("secret\n"), 0o600))
	cfg, err := loadComplete(path, noEnv)
	require.NoError(t, err)
	require.Equal(t, "web-1", cfg.ID)
	require.Equal(t, map[string]string{"env": "prod", "zone": "a"}, cfg.Labels)
	require.Equal(t, filepath.Join(dir, "state"), cfg.StateDir)
	require.NotNil(t, cfg.AllowPaths)
	require.Empty(t, cfg.AllowPaths)
	require.Equal(t, HTTPConfig{Listen: "127.0.0.1:0", PProf: true, Open: []string{"healthz", "readyz"}}, cfg.HTTP)
	require.Equal(t, "1", cfg.Kafka.Acks)
	require.Equal(t, 10*time.Millisecond, cfg.Kafka.Linger)
	require.Equal(t, filepath.Join(dir, "dead.jsonl"), cfg.Kafka.DeadLetter.File)
	require.Equal(t, "/abs.jsonl", cfg.Clusters["audit"].DeadLetter.File)
	require.Equal(t, []string{filepath.Join(dir, "tasks.d/*.yaml"), "/abs/*.yaml"}, cfg.Tasks.Files)
	require.Equal(t, "/ferry", cfg.Tasks.Etcd.Prefix)
	client, err := cfg.Tasks.Etcd.Client()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pw"), client.PasswordFile)
	require.EqualValues(t, 32<<20, cfg.Memory.BufferBytes)
	require.EqualValues(t, 256<<20, cfg.Memory.Limit)
	require.Equal(t, 500*time.Millisecond, cfg.CheckpointInterval)
}

func TestConfigReadsHowToReachSecureBrokers(t *testing.T) {
	path := writeConfig(t, `
kafka:
  brokers: [k1:9094]
  tls: {ca_file: ca.pem, server_name: kafka.internal}
  sasl: {mechanism: PLAIN, username: u, password: "${KAFKA_PASSWORD}"}
clusters:
  idp:
    brokers: [k2:9094]
    tls: {}
    sasl: {mechanism: OAUTHBEARER, oauth: {token_url: "https://idp/token", client_id: c, client_secret_file: secret}}
  kerberos:
    brokers: [k3:9094]
    sasl: {mechanism: GSSAPI, username: u, kerberos: {realm: R, keytab_file: k.keytab}}
`)
	dir := filepath.Dir(path)
	cfg, err := loadComplete(path, env(map[string]string{"KAFKA_PASSWORD": "1234"}))
	require.NoError(t, err)
	require.Equal(t, &kafka.TLSConfig{CAFile: filepath.Join(dir, "ca.pem"), ServerName: "kafka.internal"}, cfg.Kafka.TLS)
	require.Equal(t, &kafka.SASL{Mechanism: "PLAIN", Username: "u", Password: "1234"}, cfg.Kafka.SASL)
	require.NotNil(t, cfg.Clusters["idp"].TLS)
	require.Equal(t, filepath.Join(dir, "secret"), cfg.Clusters["idp"].SASL.OAuth.ClientSecretFile)
	require.Equal(t, 10*time.Second, cfg.Clusters["idp"].SASL.OAuth.Timeout)
	k := cfg.Clusters["kerberos"].SASL.Kerberos
	require.Equal(t, []string{filepath.Join(dir, "k.keytab"), "/etc/krb5.conf", "kafka"}, []string{k.KeytabFile, k.ConfigFile, k.ServiceName})

	cfg, err = loadComplete("", env(map[string]string{
		"LOGFERRY_KAFKA_BROKERS": "a:1", "LOGFERRY_KAFKA_TLS_CA_FILE": "/ca", "LOGFERRY_KAFKA_TLS_CERT_FILE": "/cert", "LOGFERRY_KAFKA_TLS_KEY_FILE": "/key",
		"LOGFERRY_KAFKA_TLS_SERVER_NAME": "n", "LOGFERRY_KAFKA_TLS_MIN_VERSION": "1.3", "LOGFERRY_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
		"LOGFERRY_KAFKA_SASL_USERNAME": "v", "LOGFERRY_KAFKA_SASL_PASSWORD_FILE": "/pw",
	}))
	require.NoError(t, err)
	require.Equal(t, &kafka.TLSConfig{CAFile: "/ca", CertFile: "/cert", KeyFile: "/key", ServerName: "n", MinVersion: "1.3"}, cfg.Kafka.TLS)
	require.Equal(t, &kafka.SASL{Mechanism: "SCRAM-SHA-256", Username: "v", PasswordFile: "/pw"}, cfg.Kafka.SASL)

	cfg, err = loadComplete(path, env(map[string]string{"KAFKA_PASSWORD": "1234", "LOGFERRY_KAFKA_SASL_PASSWORD_FILE": "/pw"}))
	require.NoError(t, err)
	require.Equal(t, &kafka.SASL{Mechanism: "PLAIN", Username: "u", PasswordFile: "/pw"}, cfg.Kafka.SASL)
	_, err = loadComplete(path, env(map[string]string{"KAFKA_PASSWORD": "1234", "LOGFERRY_KAFKA_SASL_OAUTH_CLIENT_SECRET": "hunter2"}))
	require.ErrorContains(t, err, "kafka.sasl.oauth: is for mechanism OAUTHBEARER, not PLAIN; take it out")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestConfigExpandsVariablesInItsValues(t *testing.T) {
	path := writeConfig(t, `
id: ${NODE}
http: {listen: "${IP:-127.0.0.1}:9601"}
labels: {price: "$${5}"}
kafka: {brokers: ["${BROKER}"]}
`)
	cfg, err := LoadConfig(path, env(map[string]string{"NODE": "n1", "BROKER": "k:9092"}))
	require.NoError(t, err)
	require.Equal(t, "n1", cfg.ID)
	require.Equal(t, "127.0.0.1:9601", cfg.HTTP.Listen)
	require.Equal(t, map[string]string{"price": "${5}"}, cfg.Labels)
	require.Equal(t, []string{"k:9092"}, cfg.Kafka.Brokers)

	_, err = LoadConfig(path, noEnv)
	require.EqualError(t, err, path+":2: variable NODE is not set; set it, or write ${NODE:-default}")
}

func TestConfigEnvironmentBeatsTheFile(t *testing.T) {
	path := writeConfig(t, `
id: from-file
kafka: {brokers: [file:9092], acks: all}
tasks:
  etcd: {endpoints: [file:2379], username: u, password_file: /nowhere}
`)
	cfg, err := loadComplete(path, env(map[string]string{
		"LOGFERRY_ID": "from-env", "LOGFERRY_LABELS": "env=dev, zone=b", "LOGFERRY_STATE_DIR": "/s", "LOGFERRY_ALLOW_PATHS": "/a/**,/b/**",
		"LOGFERRY_HTTP_LISTEN": "0.0.0.0:1", "LOGFERRY_HTTP_PPROF": "true", "LOGFERRY_KAFKA_BROKERS": "a:1, b:2,",
		"LOGFERRY_KAFKA_ACKS": "1", "LOGFERRY_KAFKA_COMPRESSION": "gzip", "LOGFERRY_KAFKA_CLIENT_ID": "c", "LOGFERRY_TASKS_FILES": "/t/*.yaml",
		"LOGFERRY_ETCD_ENDPOINTS": "e:2379", "LOGFERRY_ETCD_PREFIX": "/p", "LOGFERRY_ETCD_GROUPS": "web,eu", "LOGFERRY_ETCD_USERNAME": "v", "LOGFERRY_ETCD_PASSWORD": "w",
		"LOGFERRY_LOG_LEVEL": "warn", "LOGFERRY_LOG_FORMAT": "json", "LOGFERRY_BUFFER_BYTES": "8MiB", "LOGFERRY_MEMORY_LIMIT": "67108864",
		"LOGFERRY_SHUTDOWN_TIMEOUT": "5s", "LOGFERRY_RECONCILE_INTERVAL": "6s", "LOGFERRY_CHECKPOINT_INTERVAL": "7s",
	}))
	require.NoError(t, err)
	require.Equal(t, "from-env", cfg.ID)
	require.Equal(t, map[string]string{"env": "dev", "zone": "b"}, cfg.Labels)
	require.Equal(t, []string{"/a/**", "/b/**"}, cfg.AllowPaths)
	require.Equal(t, HTTPConfig{Listen: "0.0.0.0:1", PProf: true, Open: []string{"healthz", "readyz"}}, cfg.HTTP)
	require.Equal(t, []string{"a:1", "b:2"}, cfg.Kafka.Brokers)
	require.Equal(t, "1", cfg.Kafka.Acks)
	require.Equal(t, "gzip", cfg.Kafka.Compression)
	require.Equal(t, TasksConfig{Files: []string{"/t/*.yaml"}, Etcd: &EtcdConfig{
		Endpoints: []string{"e:2379"}, Prefix: "/p", Groups: []string{"web", "eu"}, Username: "v", Password: "w", LeaseTTL: 30 * time.Second, ReportInterval: 30 * time.Second,
	}}, cfg.Tasks)
	require.Equal(t, LogConfig{Level: "warn", Format: "json"}, cfg.Log)
	require.EqualValues(t, 8<<20, cfg.Memory.BufferBytes)
	require.EqualValues(t, 64<<20, cfg.Memory.Limit)
	require.Equal(t, []time.Duration{5 * time.Second, 6 * time.Second, 7 * time.Second},
		[]time.Duration{cfg.ShutdownTimeout, cfg.ReconcileInterval, cfg.CheckpointInterval})
}

func TestConfigRefusesABadEnvironmentByTheNameOfTheVariable(t *testing.T) {
	for name, tc := range map[string]struct{ value, want string }{
		"LOGFERRY_HTTP_PPROF":       {"maybe", `LOGFERRY_HTTP_PPROF: value must be true or false, not "maybe"`},
		"LOGFERRY_SHUTDOWN_TIMEOUT": {"5", `LOGFERRY_SHUTDOWN_TIMEOUT: value must be a duration with a unit, such as 5s, 250ms or 2h, not "5"`},
		"LOGFERRY_LABELS":           {"a", `LOGFERRY_LABELS: "a" is no label; write key=value,key=value`},
		"LOGFERRY_KAFKA_BROKERS":    {" , ", `LOGFERRY_KAFKA_BROKERS: " , " holds no value; separate values by commas`},
		"LOGFERRY_HTTP_LISTEN":      {"9600", `LOGFERRY_HTTP_LISTEN: http.listen: "9600" is no host:port; write it as 127.0.0.1:9600`},
		"LOGFERRY_ETCD_PREFIX":      {"/x", `LOGFERRY_ETCD_PREFIX: tasks.etcd.endpoints: no endpoint is named; write [127.0.0.1:2379], or take the etcd section out`},
		"LOGFERRY_BUFFER_BYTES":     {"9", `LOGFERRY_BUFFER_BYTES: memory.buffer_bytes: 9 bytes are too few; write at least 1MiB`},
	} {
		pairs := map[string]string{"LOGFERRY_KAFKA_BROKERS": "a:1"}
		pairs[name] = tc.value
		_, err := loadComplete("", env(pairs))
		require.EqualError(t, err, tc.want)
	}
}

func TestConfigRefusesWithOneLineThatNamesPlaceAndRemedy(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"typo in a section", "id: a\n\nkafka:\n  brokrs: [a:1]\n", `4: unknown key "brokrs" in kafka; did you mean "brokers"?`},
		{"key of another section", "listen: 1\n", `1: unknown key "listen"; it belongs in http`},
		{"task in place of a configuration", "paths: [/a]\ntopic: b\n", `1: unknown key "paths"; the keys here are id, labels,`},
		{"wrong type", "kafka:\n  brokers: a:1\n", `2: kafka.brokers must be a list; write [a:1]`},
		{"duration without unit", "shutdown_timeout: 30\n", `1: shutdown_timeout must be a duration with a unit, such as 5s, 250ms or 2h, not "30"`},
		{"size in an odd unit", "memory:\n  buffer_bytes: 5 lots\n", `2: memory.buffer_bytes: `},
		{"id", "id: a/b\n", `1: id: "a/b" cannot be an id; use letters, digits, '.', '_' and '-'`},
		{"label name", "labels:\n  a b: c\n", `2: labels.a b: "a b" cannot name a label;`},
		{"label name with a line break", "labels:\n  \"a\\nb\": c\n", `2: labels.a b: "a\nb" cannot name a label;`},
		{"broken YAML", "id: a\nkafka: [\n", `2: broken YAML: `},
		{"label value", "labels:\n  a: \"b\\nc\"\n", `2: labels.a: "b\nc" holds a control character; take it out`},
		{"relative allow_paths", "allow_paths:\n- /a\n- b\n", `3: allow_paths[1]: "b" is not an absolute path; begin it with /`},
		{"symlinks", "symlinks: inside\n", `1: symlinks: "inside" is unknown; write follow or refuse`},
		{"symlinks misspelt", "symlink: refuse\n", `1: unknown key "symlink"; did you mean "symlinks"?`},
		{"broken glob", "allow_paths: ['/a[']\n", `1: allow_paths[0]: "/a[" is not a valid glob; close its brackets`},
		{"broken task glob", "tasks:\n  files: ['/a{']\n", `2: tasks.files[0]: "/a{" is no glob; close its brackets and braces`},
		{"listen without port", "http:\n  listen: localhost\n", `2: http.listen: "localhost" is no host:port; write it as 127.0.0.1:9600`},
		{"listen port out of range", "http:\n  listen: :70000\n", `2: http.listen: ":70000" has no port from 0 to 65535; write it as`},
		{"open path", "http:\n  open: [healthz, tasks]\n", `2: http.open[1]: "tasks" is unknown; write some of healthz, readyz, metrics`},
		{"a token in plain text", "http:\n  listen: 0.0.0.0:1\n  token_file: t\n", `3: http.token_file: the token would cross the network in plain text; set http.tls, or listen on 127.0.0.1:9600`},
		{"insecure with a token", "http:\n  insecure: true\n  token_file: t\n", `2: http.insecure: with it nobody is asked for a token or certificate;`},
		{"HTTP certificate without its key", "http:\n  tls:\n    cert_file: c\n", `2: http.tls.key_file: is missing; name the key of cert_file, in PEM`},
		{"HTTP authority alone", "http: {tls: {client_ca_file: c}}\n", `1: http.tls.cert_file: is missing; name the certificate to show, in PEM`},
		{"an old TLS for HTTP", "http: {tls: {cert_file: c, key_file: k, min_version: 1.1}}\n", `1: http.tls.min_version: "1.1" is no version; write "1.2" or "1.3"`},
		{"HTTP key misspelt", "http: {tls: {cert_fil: c}}\n", `1: unknown key "cert_fil" in http.tls; did you mean "cert_file"?`},
		{"kafka value", "kafka:\n  brokers: [a:1]\n  acks: 7\n", `3: kafka.acks: "7" is unknown; use one of 0, 1, all`},
		{"kafka value inside", "kafka:\n  brokers: [a:1]\n  create_topics:\n    partitions: -1\n", `4: kafka.create_topics.partitions: -1 is negative;`},
		{"kafka section", "kafka:\n  brokers: [a:1]\n  dead_letter: {}\n", `3: kafka.dead_letter: set one of topic and file`},
		{"kafka login", "kafka:\n  brokers: [a:1]\n  sasl:\n    mechanism: scram-sha-256\n", `4: kafka.sasl.mechanism: "scram-sha-256" is unknown; did you mean SCRAM-SHA-256?`},
		{"kafka login key", "kafka:\n  brokers: [a:1]\n  sasl:\n    mechanism: PLAIN\n    pasword_file: f\n", `5: unknown key "pasword_file" in kafka.sasl; did you mean "password_file"?`},
		{"kafka secret of a wrong type", "kafka:\n  brokers: [a:1]\n  sasl:\n    password: [hunter2]\n", `4: kafka.sasl.password must be text, not a list`},
		{"kafka TLS", "kafka:\n  brokers: [a:1]\n  tls:\n    cert_file: c\n", `3: kafka.tls.key_file: is missing while cert_file is set; set both or none`},
		{"cluster value", "kafka: {brokers: [a:1]}\nclusters:\n  x: {brokers: [b]}\n", `3: clusters.x.brokers: "b" is not an address;`},
		{"cluster name", "clusters:\n  a/b: {brokers: [a:1]}\n", `2: clusters.a/b: "a/b" cannot name a cluster;`},
		{"no etcd endpoint", "tasks:\n  etcd: {}\n", `2: tasks.etcd.endpoints: no endpoint is named; write [127.0.0.1:2379],`},
		{"etcd endpoint with a login", "tasks:\n  etcd:\n    endpoints: [\"https://u:se%cret@e:1\"]\n", `3: tasks.etcd.endpoints[0]: it holds a login, which belongs into username and password_file; write host:port or`},
		{"etcd address with a login", "tasks:\n  etcd:\n    endpoints: [\"u:secret@e:1\"]\n", `3: tasks.etcd.endpoints[0]: it holds a login, which belongs into username and password_file; write host:port or`},
		{"etcd endpoint", "tasks:\n  etcd:\n    endpoints: [e]\n", `3: tasks.etcd.endpoints[0]: "e" is no host:port; write host:port or https://host:port`},
		{"etcd login", "tasks:\n  etcd:\n    endpoints: ['https://u:hunter2@e:1']\n", `3: tasks.etcd.endpoints[0]: it holds a login, which belongs into username and password_file; write host:port or https://host:port`},
		{"etcd scheme", "tasks:\n  etcd:\n    endpoints: ['ftp://e:1']\n", `3: tasks.etcd.endpoints[0]: "ftp://e:1" has neither http nor https; write`},
		{"etcd prefix", "tasks:\n  etcd:\n    endpoints: [e:1]\n    prefix: x\n", `4: tasks.etcd.prefix: "x" must start with / and hold a name; write /logferry`},
		{"etcd root prefix", "tasks: {etcd: {endpoints: [e:1], prefix: /}}\n", `1: tasks.etcd.prefix: "" must start with /`},
		{"a certificate without its key", "tasks: {etcd: {endpoints: [e:1], tls: {cert_file: c}}}\n", `1: tasks.etcd.tls.key_file: is missing while cert_file is set; set both or none`},
		{"an old TLS", "tasks:\n  etcd:\n    endpoints: [e:1]\n    tls:\n      min_version: 1.0\n", `5: tasks.etcd.tls.min_version: "1.0" is no version; write "1.2" or "1.3"`},
		{"TLS in plain text", "tasks: {etcd: {endpoints: [e:1, 'http://f:1'], tls: {ca_file: c}}}\n", `1: tasks.etcd.endpoints[1]: "http://f:1" is plain text while tls is set; write https:// or leave the scheme out, or take tls out`},
		{"a group that is none", "tasks: {etcd: {endpoints: [e:1], groups: [web, a/b]}}\n", `1: tasks.etcd.groups[1]: "a/b" cannot name a group; use up to 63 letters, digits, '.', '_' and '-'`},
		{"a group twice", "tasks: {etcd: {endpoints: [e:1], groups: [web, web]}}\n", `1: tasks.etcd.groups[1]: "web" is named twice; remove one of them`},
		{"reports all the time", "tasks: {etcd: {endpoints: [e:1], report_interval: 1s}}\n", `1: tasks.etcd.report_interval: 1s is out of bounds; write something from 10s to 1h0m0s`},
		{"a short lease", "tasks: {etcd: {endpoints: [e:1], lease_ttl: 1s}}\n", `1: tasks.etcd.lease_ttl: 1s is out of bounds; write something from 5s to 1h0m0s`},
		{"two passwords", "tasks: {etcd: {endpoints: [e:1], username: u, password: p, password_file: f}}\n", `1: tasks.etcd.password: password and password_file are both set; keep one`},
		{"password alone", "tasks: {etcd: {endpoints: [e:1], password: p}}\n", `1: tasks.etcd.username: a password is set but no username; set both or neither`},
		{"username alone", "tasks: {etcd: {endpoints: [e:1], username: u}}\n", `1: tasks.etcd.username: a username is set but no password;`},
		{"level", "log:\n  level: loud\n", `2: log.level: "loud" is no level; write debug, info, warn or error`},
		{"format", "log: {format: xml}\n", `1: log.format: "xml" is no format; write text or json`},
		{"small buffer", "memory: {buffer_bytes: 1KiB}\n", `1: memory.buffer_bytes: 1024 bytes are too few; write at least 1MiB`},
		{"small bound of deleted files", "deleted_files: {max_bytes: 1KiB}\n", `1: deleted_files.max_bytes: 1024 bytes are too few; write at least 1MiB, or 0 for no bound`},
		{"tight limit", "memory: {limit: 17MiB}\n", `1: memory.limit: 17825792 bytes leave no room beside memory.buffer_bytes;`},
		{"a long wait for labels", "kubernetes:\n  wait: 5m\n", `2: kubernetes.wait: 5m0s is out of bounds; write something from 1ms to 1m0s`},
		{"unknown key of kubernetes", "kubernetes: {nod: a}\n", `1: unknown key "nod" in kubernetes; did you mean "node"?`},
		{"negative interval", "checkpoint_interval: -1s\n", `1: checkpoint_interval: -1s is out of bounds; write something from 1ms to 1h0m0s`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeConfig(t, tc.in)
			_, err := loadComplete(path, env(map[string]string{"LOGFERRY_KAFKA_BROKERS": "a:1"}))
			if strings.Contains(tc.in, "brokers: a:1") || strings.Contains(tc.in, "clusters") {
				_, err = loadComplete(path, noEnv)
			}
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
			require.True(t, strings.HasPrefix(err.Error(), path+":"+tc.want), "got  %s\nwant %s", err, tc.want)
		})
	}
}

func TestConfigNamesTheFlagThatSetABadValue(t *testing.T) {
	cfg, err := LoadConfig(writeConfig(t, "allow_paths: [/a]\nkafka: {brokers: [a:1]}\n"), noEnv)
	require.NoError(t, err)
	cfg.AllowPaths = []string{"b"}
	cfg.SetOrigin("allow_paths", "--allow-path")
	cfg.SetDefaults()
	require.EqualError(t, cfg.Validate(), `--allow-path: allow_paths[0]: "b" is not an absolute path; begin it with /`)
}

func TestConfigReportsAFileThatIsNotThere(t *testing.T) {
	_, err := LoadConfig(filepath.Join(t.TempDir(), "none.yaml"), noEnv)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "none.yaml")
}

func TestConfigFindsClustersByName(t *testing.T) {
	cfg := Config{Kafka: kafka.Config{Brokers: []string{"a:1"}}, Clusters: map[string]kafka.Config{"x": {Brokers: []string{"b:1"}}}}
	for name, want := range map[string]string{"": "a:1", "x": "b:1", "y": ""} {
		got, ok := cfg.Cluster(name)
		require.Equal(t, want != "", ok, name)
		if ok {
			require.Equal(t, []string{want}, got.Brokers)
		}
	}
}

func FuzzLoadConfig(f *testing.F) {
	for _, seed := range []string{
		"", "id: a\n", "kafka: {brokers: [a:1]}\ntasks: {files: [/a/*.yaml], etcd: {endpoints: [e:1]}}\n", "clusters: {a: &x {brokers: [b:1]}, b: *x}\n",
		"memory: {buffer_bytes: 16MiB}\nlog: {level: ${L:-info}}\n", "labels: {a: b}\nhttp: {listen: ':0'}\n", "{\"id\": \"x\"}", "shutdown_timeout: 5\n",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "agent.yaml")
	f.Fuzz(func(t *testing.T, content string) {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := loadComplete(path, env(map[string]string{"LOGFERRY_KAFKA_BROKERS": "a:1"}))
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
		}
	})
}
