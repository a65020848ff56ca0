package kafka

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/test/certs"
	"logferry/test/kafkatest"
)

// idp is a token endpoint (RFC 6749, section 4.4) behind TLS.
type idp struct {
	*httptest.Server
	ca     string
	asked  atomic.Int64
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request)]
}

// newIDP starts an endpoint that gives the client "agent" what token makes.
func newIDP(t *testing.T, secret string, life time.Duration, token func() string) *idp {
	t.Helper()
	a := certs.NewAuthority(t)
	cert, key := a.Issue(t, "idp", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	p := &idp{ca: a.CAFile}
	good := func(w http.ResponseWriter, r *http.Request) {
		id, got, basic := r.BasicAuth()
		if !basic {
			id, got = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method != http.MethodPost || r.PostFormValue("grant_type") != "client_credentials":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"unsupported_grant_type"}`)
		case id != "agent" || got != secret:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"no such secret: %s"}`, got)
		case r.PostFormValue("scope") != "kafka logs" || r.PostFormValue("audience") != "brokers":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"invalid_scope"}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token(), "token_type": "Bearer", "expires_in": int(life.Seconds())})
		}
	}
	p.answer.Store(&good)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		(*p.answer.Load())(w, r)
	}))
	p.Config.ErrorLog = nil
	p.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// login is how the client "agent" logs in with it.
func (p *idp) login(secretFile string) *SASL {
	return &SASL{Mechanism: "OAUTHBEARER", OAuth: &OAuth{
		TokenURL: p.URL, ClientID: "agent", ClientSecretFile: secretFile, CAFile: p.ca,
		Scopes: []string{"kafka", "logs"}, Params: map[string]string{"audience": "brokers"}, Timeout: 2 * time.Second,
	}}
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	put(t, path, text)
	return path
}

func TestATokenIsFetchedOnceForMostOfItsLife(t *testing.T) {
	n := 0
	p := newIDP(t, "s", time.Hour, func() string { n++; return fmt.Sprint("token", n) })
	var told []error
	k := newKeptToken(newEndpoint(p.login(secretFile(t, "s")).OAuth, func(error) {}), time.Second, nil, func(err error) { told = append(told, err) })
	for range 3 {
		got, err := k.token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "token1", got)
	}
	require.EqualValues(t, 1, p.asked.Load())

	k.drop() // the brokers did not take it
	got, err := k.token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token2", got)

	k.renew = time.Now() // most of its life is over
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	good := p.answer.Swap(&down)
	for range 2 {
		got, err = k.token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "token2", got, "it is still good")
	}
	require.Len(t, told, 1)
	k.end = time.Now()
	_, err = k.token(t.Context())
	require.EqualError(t, err, "no token from "+p.URL+": 503 Service Unavailable; see that it works; it is asked again")

	p.answer.Store(good)
	got, err = k.token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token3", got)
}

func TestATokenThatCannotBeFetchedSaysWhatToChange(t *testing.T) {
	p := newIDP(t, "right-secret", time.Hour, func() string { return "token" })
	other := certs.NewAuthority(t)
	answer := func(f func(http.ResponseWriter, *http.Request)) func(*OAuth) {
		return func(o *OAuth) {
			s := httptest.NewServer(http.HandlerFunc(f))
			t.Cleanup(s.Close)
			o.TokenURL = s.URL
		}
	}
	for name, c := range map[string]struct {
		change func(*OAuth)
		want   string
	}{
		"a wrong secret":   {func(o *OAuth) { o.ClientSecretFile = secretFile(t, "wrong-secret") }, ": 401 Unauthorized, invalid_client; correct sasl.oauth.client_id and its secret"},
		"a missing secret": {func(o *OAuth) { o.ClientSecretFile = "/nowhere/secret" }, "sasl.oauth.client_secret_file: open /nowhere/secret"},
		"wrong scopes":     {func(o *OAuth) { o.Scopes = nil }, ": 400 Bad Request, invalid_scope; correct sasl.oauth.scopes"},
		"another authority": {func(o *OAuth) { o.CAFile = other.CAFile },
			"; set sasl.oauth.ca_file to the authority that signed its certificate"},
		"a bad authority file": {func(o *OAuth) { o.CAFile = secretFile(t, "x") }, "sasl.oauth.ca_file: "},
		"nobody there":         {func(o *OAuth) { o.TokenURL = "http://127.0.0.1:1/" }, "connection refused; see that it can be reached"},
		"no answer": {answer(func(_ http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			<-r.Context().Done()
		}), "; see that it answers, or raise sasl.oauth.timeout"},
		"a page": {answer(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "<html>%s", r.PostFormValue("client_secret"))
		}), ": its answer is not that of a token endpoint; correct sasl.oauth.token_url"},
		"somewhere else": {answer(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, p.URL, http.StatusTemporaryRedirect) }),
			": 307 Temporary Redirect; correct sasl.oauth.token_url"},
		"a token that cannot be sent": {answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"access_token":"a\u0001b","token_type":"Bearer"}`)
		}), "the token endpoint's answer is no token"},
	} {
		t.Run(name, func(t *testing.T) {
			o := *p.login(secretFile(t, "right-secret")).OAuth
			c.change(&o)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if name == "a wrong secret" {
				cancel()
				ctx = t.Context()
			}
			_, _, err := newEndpoint(&o, func(error) {}).fetch(ctx)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "-secret")
		})
	}
}

func (w *secureWorld) tokenEndpoint(t *testing.T, cfg Config) {
	var subject atomic.Pointer[string]
	who := func(s string) { subject.Store(&s) }
	who("token")
	p := newIDP(t, "idp-Pa55word", time.Hour, func() string { return unsigned(t, *subject.Load(), time.Hour) })
	secret := secretFile(t, "wrong-Pa55word")
	cfg.TLS, cfg.SASL = w.tls(), p.login(secret)
	w.mended(t, cfg, kafkatest.Login, w.allowed(t, "token"),
		[]string{"no token from " + p.URL + ": 401 Unauthorized, invalid_client; correct sasl.oauth.client_id and its secret"},
		func() { put(t, secret, "idp-Pa55word") })
}

// doorman makes listeners for an in-process Kafka that take logins with
// OAUTHBEARER as verify says, and pass everything else on.
type doorman struct{ verify func(token string) error }

func (d *doorman) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	return &doormanListener{Listener: l, d: d}, err
}

type doormanListener struct {
	net.Listener
	d *doorman
}

func (l *doormanListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &doormanConn{Conn: c, d: l.d}, nil
}

type doormanConn struct {
	net.Conn
	d    *doorman
	in   bool   // logged in
	rest []byte // of a request, for the Kafka behind
}

// Read returns the requests that are not about the login.
func (c *doormanConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		size := make([]byte, 4)
		if _, err := io.ReadFull(c.Conn, size); err != nil {
			return 0, err
		}
		frame := make([]byte, binary.BigEndian.Uint32(size))
		if _, err := io.ReadFull(c.Conn, frame); err != nil {
			return 0, err
		}
		switch key := kmsg.Key(binary.BigEndian.Uint16(frame)); {
		case key == kmsg.SASLHandshake, key == kmsg.SASLAuthenticate:
			if err := c.login(frame); err != nil {
				return 0, err
			}
		case !c.in && key != kmsg.ApiVersions:
			return 0, io.EOF
		default:
			c.rest = append(size, frame...)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// login answers one request of a login.
func (c *doormanConn) login(frame []byte) error {
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame)))
	req.SetVersion(int16(binary.BigEndian.Uint16(frame[2:])))
	body := frame[10+binary.BigEndian.Uint16(frame[8:]):]
	out := append(make([]byte, 4), frame[4:8]...)
	if req.IsFlexible() {
		body, out = body[1:], append(out, 0)
	}
	if err := req.ReadFrom(body); err != nil {
		return err
	}
	res := req.ResponseKind()
	switch r := req.(type) {
	case *kmsg.SASLHandshakeRequest:
		if h := res.(*kmsg.SASLHandshakeResponse); r.Mechanism != "OAUTHBEARER" {
			h.ErrorCode, h.SupportedMechanisms = 33, []string{"OAUTHBEARER"}
		}
	case *kmsg.SASLAuthenticateRequest:
		token, ok := strings.CutPrefix(string(r.SASLAuthBytes), "n,,\x01auth=Bearer ")
		token, end := strings.CutSuffix(token, "\x01\x01")
		err := c.d.verify(token)
		if c.in = ok && end && err == nil; !c.in {
			words := fmt.Sprintf("Access denied: %v", err)
			a := res.(*kmsg.SASLAuthenticateResponse)
			a.ErrorCode, a.ErrorMessage = 58, &words
		}
	}
	out = res.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	_, err := c.Write(out)
	return err
}

// signed checks a token of Amazon MSK: an address of the cluster's region,
// presigned (Signature Version 4) for kafka-cluster:Connect.
func signed(token string, creds aws.Credentials) error {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return err
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return err
	}
	q := u.Query()
	at, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	for key, want := range map[string]string{
		"Action": "kafka-cluster:Connect", "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Expires": "900", "X-Amz-SignedHeaders": "host",
		"X-Amz-Credential":     creds.AccessKeyID + "/" + at.Format("20060102") + "/eu-central-1/kafka-cluster/aws4_request",
		"X-Amz-Security-Token": creds.SessionToken,
	} {
		if q.Get(key) != want {
			return fmt.Errorf("%s is %q, not %q", key, q.Get(key), want)
		}
	}
	if age := time.Since(at); u.Host != "kafka.eu-central-1.amazonaws.com" || age < -time.Minute || age > 15*time.Minute {
		return fmt.Errorf("host %s, signed %s ago", u.Host, age)
	}
	again := &http.Request{Method: http.MethodGet, Host: u.Host, Header: http.Header{}, URL: &url.URL{
		Scheme: "https", Host: u.Host, Path: "/", RawQuery: url.Values{"Action": {"kafka-cluster:Connect"}, "X-Amz-Expires": {"900"}}.Encode(),
	}}
	const ofNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	right, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, again, ofNothing, "kafka-cluster", "eu-central-1", at)
	if err != nil {
		return err
	}
	r, err := url.Parse(right)
	if err == nil && r.Query().Get("X-Amz-Signature") != q.Get("X-Amz-Signature") {
		err = fmt.Errorf("the signature is wrong")
	}
	return err
}

func TestAmazonMSKIsEnteredWithASignature(t *testing.T) {
	dir := t.TempDir()
	for key, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials"), "AWS_CONFIG_FILE": filepath.Join(dir, "config"),
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
	} {
		t.Setenv(key, value)
	}
	right := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "aws-Pa55word", SessionToken: "session-Pa55word"}
	credentials := func(secret string) {
		put(t, filepath.Join(dir, "credentials"), fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n",
			right.AccessKeyID, secret, right.SessionToken))
	}
	eachProducer(t, func(t *testing.T, cfg Config) {
		_ = os.Remove(filepath.Join(dir, "credentials"))
		d := &doorman{verify: func(token string) error { return signed(token, right) }}
		w := newWorld(t, 1, kfake.ListenFn(d.listen))
		book := &logbook{}
		w.log = book.logger()
		cfg.SASL = &SASL{Mechanism: "AWS_MSK_IAM", AWS: &AWS{Region: "eu-central-1"}}
		v := &visit{log: book, shipment: w.ship(cfg, Route{Partitioner: "file"})}
		v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
		v.held(t, 0, "no AWS credentials", "give the agent some")
		credentials("another-Pa55word")
		v.errMatches("refuse the login with AWS_MSK_IAM; allow kafka-cluster:Connect")
		credentials(right.SecretAccessKey)
		v.sendLines("/a", 50, 500, 50)
		v.finish()
		require.NotContains(t, book.String(), "Pa55word")
	})
}

func TestARoleIsAssumedForAmazonMSK(t *testing.T) {
	denied := false
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("Action") != "AssumeRole" || r.PostFormValue("RoleArn") != "arn:aws:iam::1:role/logs" || r.PostFormValue("RoleSessionName") != "web-1" || denied {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not aws-Pa55word</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>`+
			`<SecretAccessKey>role-Pa55word</SecretAccessKey><SessionToken>role-session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	t.Cleanup(sts.Close)
	dir := t.TempDir()
	for key, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "AWS_CONFIG_FILE": filepath.Join(dir, "none"),
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "aws-Pa55word", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL_STS": sts.URL,
	} {
		t.Setenv(key, value)
	}
	from := &awsTokens{cfg: AWS{Region: "eu-central-1", RoleARN: "arn:aws:iam::1:role/logs", SessionName: "web-1"}}
	text, end, err := from.fetch(t.Context())
	require.NoError(t, err)
	require.NoError(t, signed(text, aws.Credentials{AccessKeyID: "ASIAROLE", SecretAccessKey: "role-Pa55word", SessionToken: "role-session"}))
	require.WithinDuration(t, time.Now().Add(15*time.Minute), end, time.Minute)

	denied = true
	_, _, err = from.fetch(t.Context())
	require.EqualError(t, err, "AWS does not let the agent assume arn:aws:iam::1:role/logs: AccessDenied; correct sasl.aws.role_arn, or allow sts:AssumeRole")
}

func TestAFileThatIsOfNoUseLeavesTheLastGoodSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	k := &keptFile{key: "sasl.password_file", path: path}
	var told []string
	get := func() (string, error) { return k.get(func(err error) { told = append(told, err.Error()) }) }
	_, err := get()
	require.EqualError(t, err, "sasl.password_file: open "+path+": no such file or directory; check its name and mode")
	put(t, path, "one\r\n")
	text, err := get()
	require.NoError(t, err)
	require.Equal(t, "one", text)
	for want, bad := range map[string]string{
		" is empty; write the secret into it":                             "\n",
		" does not hold one line of text; write the secret alone into it": "two\nlines",
	} {
		put(t, path, bad)
		told = nil
		for range 2 {
			text, err = get()
			require.NoError(t, err)
			require.Equal(t, "one", text)
		}
		require.Equal(t, []string{"sasl.password_file: " + path + want}, told, "told once")
	}
	put(t, path, "two")
	text, err = get()
	require.NoError(t, err)
	require.Equal(t, "two", text)
}
