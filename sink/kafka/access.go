package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"logferry/internal/tlsfiles"
)

// access is how the connections to one cluster are made safe and log in. All
// copies of a Config share one, so that what was read last, and a token, serve
// every task. Safe for use from several goroutines.
type access struct {
	tls    *tlsfiles.Files // nil: plain text
	sasl   *SASL           // nil: no login
	secret *keptFile       // with password_file; nil otherwise
	tokens tokenSource     // with OAUTHBEARER and AWS_MSK_IAM
	log    atomic.Pointer[slog.Logger]
}

// newAccess returns nil for a cluster in plain text without a login.
func newAccess(c Config) *access {
	if c.TLS == nil && c.SASL == nil {
		return nil
	}
	a := &access{sasl: c.SASL}
	if c.TLS != nil {
		a.tls = tlsfiles.New(*c.TLS)
	}
	if s := c.SASL; s != nil {
		if s.PasswordFile != "" {
			a.secret = &keptFile{key: "sasl.password_file", path: s.PasswordFile}
		}
		a.tokens = newTokenSource(s, a.tell)
	}
	return a
}

// logTo says who is told of files that are of no use. The first call decides.
func (a *access) logTo(log *slog.Logger) {
	if a != nil {
		a.log.CompareAndSwap(nil, log)
	}
}

// tell is for faults that stop nothing yet.
func (a *access) tell(fault error) {
	if log := a.log.Load(); log != nil {
		log.Warn("a renewed file for Kafka cannot be used, the last good one stays in use; mend it", "error", oneLine(fault))
	}
}

// Secure makes a new connection to a broker as safe as the configuration asks
// for: with tls set it speaks TLS. It closes conn when it fails.
func (c Config) Secure(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	a := c.access
	if a == nil {
		a = newAccess(c)
	}
	if a == nil {
		return conn, nil
	}
	if a.sasl != nil && a.sasl.Mechanism == mechGSSAPI {
		if err := a.sasl.Kerberos.check(); err != nil {
			_ = conn.Close()
			return nil, &loginError{err}
		}
	}
	if a.tls != nil {
		secured, err := a.handshake(ctx, conn, addr)
		if err != nil {
			_ = conn.Close()
			return nil, &tlsError{addr: addr, err: err}
		}
		conn = secured
	}
	if a.sasl != nil && a.sasl.Mechanism == mechPlain {
		conn = &plainConn{conn}
	}
	return conn, nil
}

func (a *access) handshake(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	cfg, err := a.tls.Get(a.tell)
	if err != nil {
		return nil, &loginError{err}
	}
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = errNoAnswer
		}
		return nil, err
	}
	return secured, nil
}

const errNoAnswer = constError("no answer in time")

// login puts the way to log in into sarama's configuration. Calls that wait
// for others end when stop is closed.
func (c Config) login(sc *sarama.Config, stop <-chan struct{}) {
	a, s := c.access, c.SASL
	if s == nil {
		return
	}
	if a == nil {
		a = newAccess(c)
	}
	n := &sc.Net.SASL
	n.Enable, n.Handshake, n.Version = true, true, sarama.SASLHandshakeV1
	// sarama wants them set; the real ones are read when they are needed.
	n.User, n.Password = "-", "-"
	switch s.Mechanism {
	case mechPlain:
		n.Mechanism = disguise
		n.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &plainLogin{a: a} }
	case mechScram256, mechScram512:
		n.Mechanism = sarama.SASLMechanism(s.Mechanism)
		n.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramLogin{a: a} }
	case mechOAuth, mechAWS:
		n.Mechanism = sarama.SASLTypeOAuth
		n.TokenProvider = &tokenProvider{source: a.tokens, stop: stop}
	case mechGSSAPI:
		n.Mechanism = sarama.SASLTypeGSSAPI
		n.GSSAPI = s.gssapi()
	}
}

// gssapi is Kerberos in sarama's words. sarama reads the files at each login.
func (s *SASL) gssapi() sarama.GSSAPIConfig {
	k := s.Kerberos
	g := sarama.GSSAPIConfig{
		AuthType: sarama.KRB5_KEYTAB_AUTH, KeyTabPath: k.KeytabFile, KerberosConfigPath: k.ConfigFile,
		ServiceName: k.ServiceName, Username: s.Username, Realm: k.Realm, DisablePAFXFAST: k.DisableFAST,
	}
	if k.CCacheFile != "" { // it has user and realm in it; sarama wants them set
		g.AuthType, g.CCachePath, g.Username, g.Realm = sarama.KRB5_CCACHE_AUTH, k.CCacheFile, "-", "-"
	}
	return g
}

// password returns what to log in with at this moment.
func (a *access) password() (string, error) {
	if a.secret == nil {
		return string(a.sasl.Password), nil
	}
	text, err := a.secret.get(a.tell)
	if err != nil {
		return "", &loginError{err}
	}
	return text, nil
}

// refused is called when the brokers did not accept a login.
func (a *access) refused() {
	if a != nil && a.tokens != nil {
		a.tokens.drop()
	}
}

// within returns a context that ends after timeout, or when stop is closed.
func within(timeout time.Duration, stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// loginError says that what is needed for a login could not be had on this
// side. Its text ends with a remedy.
type loginError struct{ err error }

func (e *loginError) Error() string { return e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// tlsError says that there is no TLS with a broker.
type tlsError struct {
	addr string
	err  error
}

func (e *tlsError) Error() string { return fmt.Sprintf("TLS with %s: %v", e.addr, e.err) }
func (e *tlsError) Unwrap() error { return e.err }
