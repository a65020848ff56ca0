package kafka

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/certs"
	"logferry/test/kafkatest"
)

// logbook keeps what is logged. Safe for use from several goroutines.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logbook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logbook) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(b, nil)) }

// warnings are the errors of the lines that say why records wait.
func (b *logbook) warnings() (all []string) {
	for line := range strings.Lines(b.String()) {
		var l struct{ Msg, Error string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "records wait for Kafka" {
			all = append(all, l.Error)
		}
	}
	return all
}

// put writes a file in a way that a reader sees the old text or the new one.
func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	put(t, to, string(b))
}

// unsigned makes a token without a signature (RFC 7519, alg none).
func unsigned(t *testing.T, subject string, life time.Duration) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now()
	return part(map[string]string{"alg": "none"}) + "." +
		part(map[string]any{"sub": subject, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(life).Unix()}) + "."
}

// secureWorld is a real broker that asks who comes in.
type secureWorld struct {
	*kafkatest.Secure
	t     *testing.T
	other *certs.Authority // whom nobody trusts
}

// visit is a sink on its way to one of the broker's doors.
type visit struct {
	*shipment
	log   *logbook
	topic string
}

func (w *secureWorld) visit(t *testing.T, cfg Config, door, topic string) *visit {
	t.Helper()
	v := &visit{log: &logbook{}, topic: topic}
	world := &world{t: t, brokers: []string{w.Door(t, door)}, log: v.log.logger()}
	v.shipment = world.ship(cfg, Route{Topic: topic, Partitioner: "file"})
	return v
}

// held checks that the sink holds its place, and says why in its status and in
// one line of its log.
func (v *visit) held(t *testing.T, before int, words ...string) {
	t.Helper()
	for _, w := range words {
		v.errMatches(w)
	}
	require.Eventually(t, func() bool { return len(v.log.warnings()) > 0 }, patient, 5*time.Millisecond)
	for _, w := range words {
		require.Contains(t, v.log.warnings()[0], w)
	}
	require.Len(t, v.log.warnings(), 1, v.log.warnings())
	require.Equal(t, before, v.doneCount(), "nothing is acknowledged")
}

func (w *secureWorld) tls() *TLSConfig { return &TLSConfig{CAFile: w.Authority.CAFile} }

func TestRealKafkaThatAsksWhoComesIn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	w := &secureWorld{Secure: kafkatest.StartSecure(t), t: t, other: certs.NewAuthority(t)}
	w.AddUser(t, "scram", "scram-Pa55word")
	t.Run("both writers", func(t *testing.T) { // what is under way at once is over when this returns
		for name, test := range map[string]func(*testing.T, Config){
			"every login": w.everyLogin, "logins that end": w.renews, "a wrong password": w.wrongPassword, "a ticket": w.ticket, "a missing right": w.missingRight,
		} {
			t.Run(name, func(t *testing.T) {
				eachProducer(t, func(t *testing.T, cfg Config) {
					t.Parallel()
					test(t, cfg)
				})
			})
		}
		t.Run("its own certificate has ended", func(t *testing.T) {
			t.Parallel()
			w.expired(t)
		})
	})
	for name, test := range map[string]func(*testing.T, Config){ // before anything is written, the writers are alike
		"a missing password file": w.missingPassword, "an authority that is not trusted": w.unknownAuthority, "a certificate for another name": w.otherName,
		"a client's certificate that it does not know": w.unknownClient, "no client's certificate": w.noCertificate, "no right at all": w.noRight,
		"a token that has ended": w.endedToken, "an endpoint that gives no token": w.tokenEndpoint, "plain text": w.plainText, "TLS where it speaks plain text": w.tooMuchTLS,
		"a mechanism that it does not offer": w.otherMechanism, "no KDC": w.noKDC,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, Config{})
		})
	}
}

// allowed makes a topic that a user may write to.
func (w *secureWorld) allowed(t *testing.T, users ...string) string {
	t.Helper()
	name := w.NewTopic(t, 2)
	for _, u := range users {
		w.AllowUser(t, u, name)
	}
	return name
}

func (w *secureWorld) everyLogin(t *testing.T, cfg Config) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	name := w.allowed(t, "plain", "scram", "token", "CN=agent-"+cfg.Producer)
	put(t, file("password"), "scram-Pa55word\n")
	put(t, file("token"), unsigned(t, "token", time.Hour)+"\n")
	cert, key := w.Authority.Issue(t, "agent-"+cfg.Producer)
	sent := 0
	for _, c := range []struct {
		door string
		tls  *TLSConfig
		sasl *SASL
	}{
		{kafkatest.Login, w.tls(), &SASL{Mechanism: "PLAIN", Username: "plain", Password: kafkatest.PlainPassword}},
		{kafkatest.Open, nil, &SASL{Mechanism: "PLAIN", Username: "plain", Password: kafkatest.PlainPassword}},
		{kafkatest.Login, w.tls(), &SASL{Mechanism: "SCRAM-SHA-256", Username: "scram", PasswordFile: file("password")}},
		{kafkatest.Login, w.tls(), &SASL{Mechanism: "SCRAM-SHA-512", Username: "scram", Password: "scram-Pa55word"}},
		{kafkatest.Login, w.tls(), &SASL{Mechanism: "OAUTHBEARER", OAuth: &OAuth{TokenFile: file("token")}}},
		{kafkatest.Login, &TLSConfig{CAFile: w.Authority.CAFile, ServerName: "broker.test", MinVersion: "1.3"},
			&SASL{Mechanism: "SCRAM-SHA-512", Username: "scram", Password: "scram-Pa55word"}},
		{kafkatest.Mutual, &TLSConfig{CAFile: w.Authority.CAFile, CertFile: cert, KeyFile: key}, nil},
	} {
		cfg.TLS, cfg.SASL = c.tls, c.sasl
		v := w.visit(t, cfg, c.door, name)
		v.sendLines("/a", sent, sent+1000, 100)
		sent += 1000
		v.finish()
		require.Empty(t, v.log.warnings(), "with %v", c.sasl)
	}
	requireReal(t, w.Cluster, name, sent, "/a")
}

func (w *secureWorld) renews(t *testing.T, cfg Config) {
	password := filepath.Join(t.TempDir(), "renewed")
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256"} {
		user := map[string]string{"PLAIN": "plain", "SCRAM-SHA-256": "scram"}[mechanism]
		name := w.allowed(t, user)
		put(t, password, map[string]string{"PLAIN": kafkatest.PlainPassword, "SCRAM-SHA-256": "scram-Pa55word"}[mechanism])
		cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: mechanism, Username: user, PasswordFile: password}
		v := w.visit(t, cfg, kafkatest.Login, name)
		end := time.Now().Add(4 * time.Second) // more than a login lasts
		n := 0
		for ; time.Now().Before(end); n += 50 {
			if n == 50 {
				put(t, password, "") // as while it is renewed
			}
			v.sendLines("/a", n, n+50, 50)
			require.Eventually(t, func() bool { return v.doneCount() == n/50+1 }, patient, time.Millisecond)
		}
		v.finish()
		require.Empty(t, v.log.warnings())
		require.Equal(t, 1, strings.Count(v.log.String(), "the last good one stays in use; mend it"), v.log)
		require.Contains(t, v.log.String(), "sasl.password_file: "+password+" is empty")
		requireReal(t, w.Cluster, name, n, "/a")
	}
}

// mended sends lines while something is wrong, puts it right, and checks that
// all have arrived.
func (w *secureWorld) mended(t *testing.T, cfg Config, door, name string, words []string, mend func()) {
	t.Helper()
	v := w.visit(t, cfg, door, name)
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, words...)
	mend()
	v.sendLines("/a", 50, 1000, 50)
	v.finish()
	requireReal(t, w.Cluster, name, 1000, "/a")
	for _, secret := range []string{"Pa55word", "eyJ"} {
		require.NotContains(t, v.log.String(), secret)
	}
}

func (w *secureWorld) wrongPassword(t *testing.T, cfg Config) {
	password := filepath.Join(t.TempDir(), "wrong")
	for _, c := range []struct{ mechanism, user, right string }{
		{"PLAIN", "plain", kafkatest.PlainPassword}, {"SCRAM-SHA-512", "scram", "scram-Pa55word"},
	} {
		put(t, password, "wrong-Pa55word")
		cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: c.mechanism, Username: c.user, PasswordFile: password}
		words := []string{fmt.Sprintf("refuse the login of user %q with %s; correct sasl.username, or the password in %s", c.user, c.mechanism, password)}
		w.mended(t, cfg, kafkatest.Login, w.allowed(t, c.user), words, func() { put(t, password, c.right) })
	}
}

func (w *secureWorld) missingPassword(t *testing.T, cfg Config) {
	password := filepath.Join(t.TempDir(), "later")
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "SCRAM-SHA-256", Username: "scram", PasswordFile: password}
	w.mended(t, cfg, kafkatest.Login, w.allowed(t, "scram"), []string{"sasl.password_file: open " + password, "check its name and mode"},
		func() { put(t, password, "scram-Pa55word") })
}

func (w *secureWorld) unknownAuthority(t *testing.T, cfg Config) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	copyTo(t, ca, w.other.CAFile)
	cfg.TLS, cfg.SASL = &TLSConfig{CAFile: ca}, &SASL{Mechanism: "PLAIN", Username: "plain", Password: kafkatest.PlainPassword}
	w.mended(t, cfg, kafkatest.Login, w.allowed(t, "plain"), []string{"no TLS with the broker", "set tls.ca_file to the authority"},
		func() { copyTo(t, ca, w.Authority.CAFile) })
}

func (w *secureWorld) otherName(t *testing.T, cfg Config) {
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "PLAIN", Username: "plain", Password: kafkatest.PlainPassword}
	cfg.TLS.ServerName = "another.test"
	v := w.visit(t, cfg, kafkatest.Login, w.allowed(t, "plain"))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "set tls.server_name to a name in the broker's certificate")
}

func (w *secureWorld) unknownClient(t *testing.T, cfg Config) {
	dir := t.TempDir()
	cfg.TLS = &TLSConfig{CAFile: w.Authority.CAFile, CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	cert, key := w.other.Issue(t, "agent")
	copyTo(t, cfg.TLS.CertFile, cert)
	copyTo(t, cfg.TLS.KeyFile, key)
	cert, key = w.Authority.Issue(t, "agent")
	w.mended(t, cfg, kafkatest.Mutual, w.allowed(t, "CN=agent"), []string{"refuses TLS", "set tls.cert_file and tls.key_file to a valid certificate"}, func() {
		copyTo(t, cfg.TLS.CertFile, cert)
		copyTo(t, cfg.TLS.KeyFile, key)
	})
}

func (w *secureWorld) noCertificate(t *testing.T, cfg Config) {
	cfg.TLS = w.tls()
	v := w.visit(t, cfg, kafkatest.Mutual, w.allowed(t, "CN=agent"))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "set tls.cert_file and tls.key_file")
}

func (w *secureWorld) missingRight(t *testing.T, cfg Config) {
	name := w.NewTopic(t, 2)
	w.AllowUser(t, "scram", w.NewTopic(t, 1)) // another one
	require.NoError(t, w.AllowDescribe(name, "scram"))
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "SCRAM-SHA-256", Username: "scram", Password: "scram-Pa55word"}
	w.mended(t, cfg, kafkatest.Login, name, []string{"is not allowed; grant Write and Describe on it"}, func() { w.AllowUser(t, "scram", name) })
}

func (w *secureWorld) noRight(t *testing.T, cfg Config) {
	name, user := w.NewTopic(t, 2), "none"
	w.AddUser(t, user, "none-Pa55word")
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "SCRAM-SHA-256", Username: user, Password: "none-Pa55word"}
	w.mended(t, cfg, kafkatest.Login, name, []string{"is not allowed; grant Write and Describe on"}, func() { w.AllowUser(t, user, name) })
}

func (w *secureWorld) endedToken(t *testing.T, cfg Config) {
	token := filepath.Join(t.TempDir(), "token")
	put(t, token, unsigned(t, "token", -time.Minute))
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "OAUTHBEARER", OAuth: &OAuth{TokenFile: token}}
	w.mended(t, cfg, kafkatest.Login, w.allowed(t, "token"), []string{token + " holds a token that expired at", "renew it"},
		func() { put(t, token, unsigned(t, "token", time.Hour)) })
	put(t, token, "neither.signed.nor-right")
	w.mended(t, cfg, kafkatest.Login, w.allowed(t, "token"), []string{"refuse the login with OAUTHBEARER; renew the token in " + token},
		func() { put(t, token, unsigned(t, "token", time.Hour)) })
}

func (w *secureWorld) plainText(t *testing.T, cfg Config) {
	v := w.visit(t, cfg, kafkatest.Login, w.allowed(t))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "if it wants TLS or a login there, set tls and sasl")
}

func (w *secureWorld) tooMuchTLS(t *testing.T, cfg Config) {
	cfg.TLS, cfg.SASL = w.tls(), &SASL{Mechanism: "PLAIN", Username: "plain", Password: kafkatest.PlainPassword}
	v := w.visit(t, cfg, kafkatest.Open, w.allowed(t, "plain"))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "if it speaks plain text there, take tls out")
}

func (w *secureWorld) otherMechanism(t *testing.T, cfg Config) {
	cfg.SASL = &SASL{Mechanism: "SCRAM-SHA-256", Username: "scram", Password: "scram-Pa55word"}
	v := w.visit(t, cfg, kafkatest.Open, w.allowed(t, "scram"))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "do not offer the login SCRAM-SHA-256 there; choose another sasl.mechanism")
}

// expired runs both writers at once, as a certificate is renewed for good.
func (w *secureWorld) expired(t *testing.T) {
	name := w.NewTopic(t, 2)
	var visits []*visit
	for _, p := range Producers {
		v := w.visit(t, Config{Producer: p, TLS: w.tls()}, kafkatest.Expired, name)
		v.send(v.batchOf(source("/"+p), lines("/"+p, 0, 50)...))
		visits = append(visits, v)
	}
	for _, v := range visits {
		v.held(t, 0, "certificate has expired", "renew the broker's certificate")
	}
	w.Renew(t)
	for i, v := range visits {
		v.sendLines("/"+Producers[i], 50, 1000, 50)
		v.finish()
	}
	requireReal(t, w.Cluster, name, 1000, "/batch", "/async")
}
