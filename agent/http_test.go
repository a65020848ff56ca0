package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/sink/kafka"
	"logferry/test/etcdtest"
)

const testToken = "0123456789abcdef0123456789abcdef"

func writeToken(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
	return path
}

// ask is a request to a path from an address under a name of the agent's host.
func ask(path, from, name string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr, r.Host = from, name
	return r
}

func (w *world) answer(r *http.Request) (int, string) {
	rec := httptest.NewRecorder()
	w.agent.http.srv.Handler.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

// questions are all that the agent answers, save taps.
var questions = []string{"/healthz", "/readyz", "/metrics", "/api/v1/agent", "/api/v1/tasks", "/api/v1/files", "/api/v1/explain?path=/a", "/", "/debug/pprof/"}

// answered lists the questions that are answered and not refused.
func (w *world) answered(change func(r *http.Request), from string) (list []string) {
	for _, q := range questions {
		r := ask(q, from, "127.0.0.1:9600")
		if change != nil {
			change(r)
		}
		if code, _ := w.answer(r); code != http.StatusForbidden && code != http.StatusUnauthorized {
			list = append(list, q)
		}
	}
	return list
}

func TestHTTPAnswersStrangersWhatItsConfigurationNames(t *testing.T) {
	ca := etcdtest.NewAuthority(t)
	cert, key := ca.Issue(t, "agent", "127.0.0.1")
	secure := &HTTPTLSConfig{CertFile: cert, KeyFile: key}
	token := writeToken(t, testToken)
	probes := questions[:2]
	for name, c := range map[string]struct {
		http                   HTTPConfig
		stranger, here, bearer []string // what each is answered; bearer is a stranger with the token
	}{
		"by default":                {HTTPConfig{Listen: "127.0.0.1:0"}, probes, questions, probes},
		"on all addresses":          {HTTPConfig{Listen: "0.0.0.0:0"}, probes, questions, probes},
		"with metrics for all":      {HTTPConfig{Listen: "0.0.0.0:0", Open: []string{"healthz", "metrics"}}, []string{"/healthz", "/metrics"}, questions, []string{"/healthz", "/metrics"}},
		"with TLS alone":            {HTTPConfig{Listen: "0.0.0.0:0", TLS: secure}, probes, questions, probes},
		"with TLS and a token":      {HTTPConfig{Listen: "0.0.0.0:0", TLS: secure, TokenFile: token}, probes, probes, questions},
		"with a token on this host": {HTTPConfig{Listen: "127.0.0.1:0", TokenFile: token}, probes, probes, questions},
		"insecure":                  {HTTPConfig{Listen: "0.0.0.0:0", Insecure: true}, questions, questions, questions},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *Config, _ *Options) { cfg.HTTP = c.http })
			require.Equal(t, c.stranger, w.answered(nil, "10.0.0.7:5"))
			require.Equal(t, c.here, w.answered(nil, "127.0.0.1:5"))
			require.Equal(t, c.here, w.answered(nil, "[::1]:5"))
			withToken := func(token string) func(*http.Request) {
				return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
			}
			require.Equal(t, c.bearer, w.answered(withToken(testToken), "10.0.0.7:5"))
			for _, wrong := range []string{"", testToken[1:], testToken + "0", strings.ToUpper(testToken)} {
				require.Equal(t, c.stranger, w.answered(withToken(wrong), "10.0.0.7:5"), "%q", wrong)
			}
		})
	}
}

func TestStrangersAreNotToldWhyAnAgentIsNotReady(t *testing.T) {
	w := newWorld(t, func(cfg *Config, o *Options) { cfg.HTTP.Listen, o.DryRun = "0.0.0.0:0", nil })
	w.putTask("web", `{paths: [DIR/logs/*.log], topic: web_log, cluster: nowhere}`)
	w.waitFor("the task fails", func() bool { return w.task("web").State == TaskFailing })
	code, text := w.answer(ask("/readyz", "10.0.0.7:5", "x"))
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.NotContains(t, text, "web")
	code, text = w.answer(ask("/readyz", "127.0.0.1:5", "localhost"))
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, "task web")
	require.Contains(t, w.log.String(), "http answers other hosts only what http.open names")
}

func TestANameOfSomebodyElsesHostIsNotAnswered(t *testing.T) {
	w := newWorld(t, nil)
	own, err := os.Hostname()
	require.NoError(t, err)
	for name, want := range map[string]int{
		"127.0.0.1:9600": 200, "[::1]:9600": 200, "localhost:9600": 200, own: 200, "10.0.0.1": 200, "evil.test:9600": 403, "127.0.0.1.evil.test": 403,
	} {
		code, text := w.answer(ask("/api/v1/tasks", "127.0.0.1:5", name))
		require.Equal(t, want, code, "%s: %s", name, text)
	}
}

func TestRecordsAreShownToThisHostsRootAndTheAgentsUserOnly(t *testing.T) {
	w := newWorld(t, func(cfg *Config, _ *Options) { cfg.HTTP = HTTPConfig{Listen: "0.0.0.0:0", Insecure: true} })
	for from, want := range map[string]string{"10.0.0.7:5": "this agent's host only", "127.0.0.1:5": "who asks cannot be told"} {
		code, text := w.answer(ask("/api/v1/tap?task=web", from, "localhost"))
		require.Equal(t, http.StatusForbidden, code)
		require.Contains(t, text, want)
	}
	code, text := w.get("/api/v1/tap?task=web")
	require.Equal(t, http.StatusNotFound, code, "it is let in: %s", text)
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	code, text = w.getAs(65534, "/api/v1/tap?task=web")
	require.Equal(t, http.StatusForbidden, code)
	require.Contains(t, text, "not to uid 65534")
	code, _ = w.getAs(65534, "/api/v1/tasks")
	require.Equal(t, http.StatusOK, code)
}

// getAs asks over a connection of another user.
func (w *world) getAs(uid int, path string) (int, string) {
	w.t.Helper()
	_, port, err := net.SplitHostPort(w.agent.Addr().String())
	require.NoError(w.t, err)
	runtime.LockOSThread() // the user of files and sockets is the thread's
	defer runtime.UnlockOSThread()
	require.NoError(w.t, syscall.Setfsuid(uid))
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	require.NoError(w.t, syscall.Setfsuid(0))
	require.NoError(w.t, err)
	defer conn.Close()
	require.NoError(w.t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path)
	require.NoError(w.t, err)
	text, err := io.ReadAll(conn)
	require.NoError(w.t, err)
	var code int
	_, err = fmt.Sscanf(string(text), "HTTP/1.0 %d", &code)
	require.NoError(w.t, err)
	return code, string(text)
}

// client speaks TLS with the agent, with the certificate of pair if it is not empty.
func client(t *testing.T, ca *etcdtest.Authority, pair ...string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(ca.CAFile)
	require.NoError(t, err)
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	require.True(t, cfg.RootCAs.AppendCertsFromPEM(pem))
	if len(pair) > 0 {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		require.NoError(t, err)
		cfg.Certificates = []tls.Certificate{cert}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestHTTPOverTLSTakesCertificatesOfItsAuthorityAndNewFilesAsTheyChange(t *testing.T) {
	ca, other := etcdtest.NewAuthority(t), etcdtest.NewAuthority(t)
	cert, key := ca.Issue(t, "agent", "127.0.0.1")
	clientCert, clientKey := ca.Issue(t, "client")
	foreignCert, foreignKey := other.Issue(t, "client")
	w := newWorld(t, func(cfg *Config, _ *Options) {
		cfg.HTTP = HTTPConfig{Listen: "127.0.0.1:0", TLS: &HTTPTLSConfig{CertFile: cert, KeyFile: key, ClientCAFile: ca.CAFile, MinVersion: "1.3"}}
	})
	url := "https://" + w.agent.Addr().String()
	status := func(c *http.Client, path string) int {
		res, err := c.Get(url + path)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	known, stranger := client(t, ca, clientCert, clientKey), client(t, ca)
	require.Equal(t, 200, status(known, "/api/v1/tasks"))
	require.Equal(t, 401, status(stranger, "/api/v1/tasks"), "also from this host")
	require.Equal(t, 200, status(stranger, "/healthz"), "probes have no certificate")
	require.Zero(t, status(client(t, ca, foreignCert, foreignKey), "/healthz"), "a certificate that nobody trusts")
	require.Zero(t, status(client(t, other), "/healthz"))

	old := client(t, ca)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	require.Zero(t, status(old, "/healthz"), "an old TLS")

	serial := func() string {
		res, err := stranger.Get(url + "/healthz")
		require.NoError(t, err)
		_ = res.Body.Close()
		return res.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	require.NoError(t, os.WriteFile(cert, []byte("torn"), 0o600))
	require.Equal(t, before, serial(), "the last good one stays")
	require.Contains(t, w.log.String(), "changed files cannot be used")
	ca.Issue(t, "agent", "127.0.0.1")
	require.NotEqual(t, before, serial())
	require.Equal(t, "https://"+w.agent.Addr().String(), w.agent.self.HTTP)
}

func TestANewTokenIsTakenWhenItsFileChanges(t *testing.T) {
	path := writeToken(t, testToken)
	g, err := newGate(HTTPConfig{TokenFile: path}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	shows := func(token string) bool {
		r := ask("/api/v1/tasks", "127.0.0.1:5", "localhost")
		r.Header.Set("Authorization", "Bearer "+token)
		return g.trusts(r) == nil
	}
	next := strings.Repeat("n", 40)
	require.True(t, shows(testToken))
	require.False(t, shows(next))
	require.NoError(t, os.WriteFile(path, []byte(next), 0o600))
	require.True(t, shows(next))
	require.False(t, shows(testToken))
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	require.True(t, shows(next), "the last good one stays")
	require.False(t, shows("short"))
	require.NoError(t, os.Remove(path))
	require.True(t, shows(next))
	require.False(t, shows(""))
}

func TestAChangedFileThatCannotBeReadYetIsTakenWhenItCan(t *testing.T) {
	path := writeToken(t, testToken)
	var told strings.Builder
	may := true
	w := &watched[string]{what: "http.token_file", files: []string{path}, log: slog.New(slog.NewTextHandler(&told, nil)), load: func() (string, error) {
		if !may { // as before a chown, which changes neither size nor time of the file
			return "", fmt.Errorf("open %s: %w", path, os.ErrPermission)
		}
		b, err := os.ReadFile(path)
		return string(b), err
	}}
	got, err := w.get()
	require.NoError(t, err)
	require.Equal(t, testToken+"\n", got)
	require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))
	may = false
	for range 3 {
		got, err = w.get()
		require.NoError(t, err)
		require.Equal(t, testToken+"\n", got)
	}
	require.Equal(t, 1, strings.Count(told.String(), "level=ERROR"))
	may = true
	got, err = w.get()
	require.NoError(t, err)
	require.Equal(t, "another", got)
}

func TestSecretsOfHTTPThatCannotBeReadEndTheStart(t *testing.T) {
	for want, cfg := range map[string]HTTPConfig{
		"http.token_file: ":                           {TokenFile: "/nowhere"},
		"holds a token of 5 bytes; write at least 16": {TokenFile: writeToken(t, "short")},
		"http.tls: cert_file, key_file: ":             {TLS: &HTTPTLSConfig{CertFile: "/nowhere", KeyFile: "/nowhere"}},
	} {
		cfg.Listen = "127.0.0.1:0"
		_, err := newServer(&Agent{cfg: Config{HTTP: cfg}, log: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, want)
	}
}

func TestADryRunThatCannotStartLeavesNothingBehind(t *testing.T) {
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	cfg := Config{HTTP: HTTPConfig{Listen: taken.Addr().String()}, Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}}}
	cfg.SetDefaults()
	one := task.Task{Name: "a", Paths: []string{filepath.Join(t.TempDir(), "a.log")}, Topic: "a"}
	_, err = New(cfg, Options{DryRun: io.Discard, Tasks: []task.Task{one}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "address already in use")
	left, err := os.ReadDir(scratch)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRequestsAreBoundedInSizeAndTime(t *testing.T) {
	w := newWorld(t, nil)
	srv := w.agent.http.srv
	for name, d := range map[string]time.Duration{
		"header": srv.ReadHeaderTimeout, "read": srv.ReadTimeout, "write": srv.WriteTimeout, "idle": srv.IdleTimeout,
	} {
		require.Positive(t, d, name)
		require.LessOrEqual(t, d, 2*time.Minute, name)
	}
	res, err := http.Get("http://" + w.agent.Addr().String() + "/healthz?" + strings.Repeat("x", 64<<10))
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, res.StatusCode)
	res, err = http.Post("http://"+w.agent.Addr().String()+"/api/v1/tasks", "text/plain", strings.NewReader(strings.Repeat("x", 64<<10)))
	if err == nil {
		_ = res.Body.Close()
		require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	}
}

func TestConnectionsThatAskNothingKeepNobodyOut(t *testing.T) {
	w := newWorld(t, nil)
	addr := w.agent.Addr().String()
	var held []net.Conn
	for range 3 * maxConns {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		held = append(held, conn)
	}
	code, _ := w.get("/healthz")
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, held[0].SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := held[0].Read(make([]byte, 1))
	require.Error(t, err)
	require.False(t, os.IsTimeout(err), "the oldest gave way")
}

func TestProfilesAreServedOnlyWhenTheyAreSwitchedOn(t *testing.T) {
	for _, on := range []bool{false, true} {
		w := newWorld(t, func(cfg *Config, _ *Options) { cfg.HTTP.PProf = on })
		code, _ := w.get("/debug/pprof/cmdline")
		require.Equal(t, map[bool]int{false: http.StatusNotFound, true: http.StatusOK}[on], code)
	}
}
