package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/certs"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

// secrets of every kind that an agent can have. All hold the word that is
// looked for, and some their own.
const (
	secretWord    = "Pa55word"
	plainSecret   = "plain-wrong-" + secretWord
	scramSecret   = "scram-right-" + secretWord
	scramWrong    = "scram-wrong-" + secretWord
	idpSecret     = "idp-" + secretWord
	awsSecret     = "aws-" + secretWord
	awsSession    = "aws-session-" + secretWord
	tokenSecret   = "neither.signed." + secretWord
	keytabSecret  = "keytab-" + secretWord
	etcdSecret    = "etcd-" + secretWord
	wordInBase64  = "UGE1NXdvcmQ" // of secretWord, where it begins a group of three
	privateKeyPEM = "PRIVATE KEY"
)

// loudIDP is a token endpoint that refuses everybody, and says all that it
// was told, as no endpoint should.
func loudIDP(t *testing.T) (url, caFile string) {
	t.Helper()
	a := certs.NewAuthority(t)
	cert, key := a.Issue(t, "idp", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"%s:%s %s"}`, user, password, body)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, a.CAFile
}

// secureAgent is an agent with a cluster for each way in, and a task of the
// same name for each cluster. None of them gets in at first.
type secureAgent struct {
	t      *testing.T
	dir    string
	kafka  *kafkatest.Secure
	etcd   *etcdtest.Cluster
	topic  string
	agent  *agenttest.Process
	config string
}

func (s *secureAgent) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(s.t, os.Rename(path+".new", path))
	return path
}

// ways is what each cluster says besides its door, and what its task's error says then.
var ways = map[string]struct{ door, config, says string }{
	"plain":    {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: PLAIN, username: plain, password: \"${PLAIN}\"}", "refuse the login of user \"plain\" with PLAIN"},
	"scram":    {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: SCRAM-SHA-512, username: scram, password_file: scram}", "refuse the login of user \"scram\" with SCRAM-SHA-512"},
	"idp":      {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: OAUTHBEARER, oauth: {token_url: IDP, client_id: agent, client_secret_file: idp, ca_file: IDPCA}}", "401 Unauthorized, invalid_client"},
	"token":    {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: OAUTHBEARER, oauth: {token_file: token}}", "refuse the login with OAUTHBEARER"},
	"aws":      {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: AWS_MSK_IAM, aws: {region: eu-central-1}}", "refuse the login with AWS_MSK_IAM"},
	"kerberos": {kafkatest.Login, "tls: {ca_file: CA}, sasl: {mechanism: GSSAPI, username: agent, kerberos: {realm: R, keytab_file: keytab, config_file: krb5.conf}}", "sasl.kerberos.keytab_file: "},
	"key":      {kafkatest.Mutual, "tls: {ca_file: CA, cert_file: other.pem, key_file: client.key}", "private key does not match public key"},
	"expired":  {kafkatest.Expired, "tls: {ca_file: CA}", "certificate has expired"},
	"stranger": {kafkatest.Login, "tls: {}, sasl: {mechanism: PLAIN, username: plain, password: \"${PLAIN}\"}", "set tls.ca_file"},
	"plaintext": {kafkatest.Open, "tls: {ca_file: CA}, sasl: {mechanism: PLAIN, username: plain, password: \"${PLAIN}\"}",
		"if it speaks plain text there"},
}

func startSecureAgent(t *testing.T) *secureAgent {
	t.Helper()
	s := &secureAgent{t: t, dir: t.TempDir(), kafka: kafkatest.StartSecure(t), etcd: etcdtest.Start(t)}
	s.topic = s.kafka.NewTopic(t, 1)
	s.kafka.AddUser(t, "scram", scramSecret)
	s.etcd.EnableAuth(t)
	s.etcd.AddUser(t, "agent", etcdSecret)
	s.etcd.Grant(t, "agent", "/logferry/", etcdtest.ReadWrite)
	idpURL, idpCA := loudIDP(t)
	_, key := s.kafka.Authority.Issue(t, "client")
	cert, _ := s.kafka.Authority.Issue(t, "other")
	for name, from := range map[string]string{"client.key": key, "other.pem": cert, "ca.pem": s.kafka.Authority.CAFile} {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		s.write(name, string(b))
	}
	for name, text := range map[string]string{"scram": scramWrong, "idp": idpSecret, "token": tokenSecret, "keytab": keytabSecret, "etcd": etcdSecret,
		"krb5.conf": "[libdefaults]\n default_realm = R\n"} {
		s.write(name, text)
	}
	for key, value := range map[string]string{"PLAIN": plainSecret, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": awsSecret,
		"AWS_SESSION_TOKEN": awsSession, "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(key, value)
	}
	var clusters strings.Builder
	for name, w := range ways {
		way := strings.NewReplacer("IDPCA", idpCA, "IDP", idpURL, "CA", "ca.pem").Replace(w.config)
		fmt.Fprintf(&clusters, "  %s: {brokers: [%s], retry_backoff_max: 300ms, %s}\n", name, s.kafka.Door(t, w.door), way)
		appendLine(t, filepath.Join(s.dir, "logs", name+".log"), "one")
		s.etcd.Put(t, "/logferry/tasks/"+name, fmt.Sprintf(`{"paths":["%s/logs/%s.log"],"topic":%q,"cluster":%q}`, s.dir, name, s.topic, name))
	}
	s.config = s.write("agent.yaml", fmt.Sprintf(`
id: host-1
state_dir: state
allow_paths: [%s/logs/**]
http: {listen: 127.0.0.1:0, pprof: true}
log: {level: debug}
shutdown_timeout: 1s
kafka: {brokers: [%s]}
clusters:
%stasks:
  etcd: {endpoints: [%q], username: agent, password_file: etcd}
`, s.dir, s.kafka.Brokers()[0], clusters.String(), s.etcd.Endpoints()[0]))
	s.agent = agenttest.Start(t, "--config", s.config)
	return s
}

// told is what the agent tells: its log, its HTTP, and etcd's keys.
func (s *secureAgent) told() map[string]string {
	s.t.Helper()
	out := map[string]string{"log": s.agent.Log()}
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/api/v1/agent", "/api/v1/tasks", "/api/v1/files", "/debug/pprof/cmdline",
		"/api/v1/explain?path=" + url.QueryEscape(s.dir+"/logs/scram.log"), "/debug/pprof/goroutine?debug=2"} {
		out[path] = s.agent.Body(path)
	}
	for key, value := range s.etcd.Get(s.t, "") {
		out["etcd "+key] = value
	}
	require.Greater(s.t, len(out), 20)
	return out
}

// commands is what the command line says with the same configuration.
func (s *secureAgent) commands() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, args := range [][]string{{"check"}, {"status"}, {"status", "--json"}, {"agents"}, {"task", "list"},
		{"topic", "list", "--cluster", "scram"}, {"topic", "list", "--cluster", "idp"}, {"consume", s.topic, "--cluster", "token"}, {"topic", "list", "--cluster", "key"}} {
		out["logferry "+strings.Join(args, " ")] = agenttest.Command(s.t, append(args, "--config", s.config, "--timeout", "2s")...)
	}
	return out
}

// stored is what stands in the agent's files.
func (s *secureAgent) stored() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	require.NoError(s.t, filepath.WalkDir(filepath.Join(s.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				out[path] = string(b)
			}
		}
		return err
	}))
	return out
}

func TestWhatCannotGetIntoKafkaHoldsItsPlaceAndTellsNoSecret(t *testing.T) {
	s := startSecureAgent(t)
	for name, w := range ways {
		agenttest.Eventually(t, name+" says what is wrong", agenttest.Patience, func() bool { return strings.Contains(s.agent.Tasks()[name].Error, w.says) })
		require.NotContains(t, s.agent.Tasks()[name].Error, "\n")
		agenttest.Eventually(t, name+" says it in the log", agenttest.Patience, func() bool { return len(s.waiting(name)) > 0 })
		require.Len(t, s.waiting(name), 1, "one line")
		files := s.agent.Files(name)
		require.Len(t, files, 1)
		require.Zero(t, files[0].Committed, name)
	}
	agenttest.Eventually(t, "etcd has what is wrong", agenttest.Patience, func() bool {
		return strings.Contains(s.etcd.Get(t, "/logferry/status/")["/logferry/status/host-1"], "refuse the login of user")
	})
	s.noSecret(s.told())
	said := s.commands()
	s.noSecret(said)
	require.Contains(t, said["logferry status"], "correct sasl.username, or the password in "+s.dir+"/scram")
	for name, w := range ways {
		require.Regexp(t, "FAIL +clusters."+name+" .*"+regexp.QuoteMeta(w.says), said["logferry check"])
	}

	s.kafka.AllowUser(t, "scram", s.topic)
	s.write("scram", scramSecret)
	s.agent.WaitCommitted("scram")
	require.Equal(t, []string{"one"}, values(t, s.kafka.Cluster, s.topic))
	s.write("scram", "") // what was good stays good
	appendLine(t, filepath.Join(s.dir, "logs", "scram.log"), "two")
	s.kafka.WaitCount(t, s.topic, 2, agenttest.Patience)
	s.noSecret(s.told())
	s.agent.Terminate()
	s.noSecret(s.stored())
	require.NotContains(t, s.agent.Log(), secretWord)
}

// waiting are the lines of the log that say why a task waits.
func (s *secureAgent) waiting(task string) (lines []string) {
	for line := range strings.Lines(s.agent.Log()) {
		if strings.Contains(line, `"records wait for Kafka"`) && strings.Contains(line, fmt.Sprintf(`"task":%q`, task)) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (s *secureAgent) noSecret(texts map[string]string) {
	s.t.Helper()
	require.NotEmpty(s.t, texts)
	for where, text := range texts {
		for _, secret := range []string{secretWord, wordInBase64, privateKeyPEM, base64.StdEncoding.EncodeToString([]byte(scramWrong)), "X-Amz-Signature"} {
			require.NotContains(s.t, text, secret, where)
			require.NotContains(s.t, text, url.QueryEscape(secret), where)
		}
	}
}
