package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"logferry/internal/tlsfiles"
)

// endpoint is a token endpoint (RFC 6749, client credentials grant).
type endpoint struct {
	cfg    *OAuth
	secret *keptFile // nil: the secret stands in the configuration
	tls    *tlsfiles.Files
	tell   func(error) // told of renewed files that are of no use
}

func newEndpoint(o *OAuth, tell func(error)) *endpoint {
	e := &endpoint{cfg: o, tell: tell, tls: tlsfiles.New(tlsfiles.Config{CAFile: o.CAFile})}
	if o.ClientSecretFile != "" {
		e.secret = &keptFile{key: "sasl.oauth.client_secret_file", path: o.ClientSecretFile}
	}
	return e
}

func (e *endpoint) fetch(ctx context.Context) (string, time.Time, error) {
	secret := string(e.cfg.ClientSecret)
	if e.secret != nil {
		var err error
		if secret, err = e.secret.get(e.tell); err != nil {
			return "", time.Time{}, err
		}
	}
	trust, err := e.tls.Get(func(fault error) { e.tell(renamed(fault)) })
	if err != nil {
		return "", time.Time{}, renamed(err)
	}
	transport := &http.Transport{
		TLSClientConfig: trust.Clone(), DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: stay}
	cc := clientcredentials.Config{ClientID: e.cfg.ClientID, ClientSecret: secret, TokenURL: e.cfg.TokenURL, Scopes: e.cfg.Scopes}
	if len(e.cfg.Params) > 0 {
		cc.EndpointParams = url.Values{}
		for k, v := range e.cfg.Params {
			cc.EndpointParams.Set(k, v)
		}
	}
	token, err := cc.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return "", time.Time{}, e.explain(err)
	}
	return token.AccessToken, token.Expiry, checkFresh(token.AccessToken)
}

// renamed puts the endpoint's own key in front of a fault of its TLS file.
func renamed(fault error) error {
	return fmt.Errorf("sasl.oauth.%s", strings.TrimPrefix(fault.Error(), "tls."))
}

// stay keeps the client's secret from going where nobody has sent it.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// checkFresh refuses what could not stand in a SASL message.
func checkFresh(token string) error {
	if strings.ContainsAny(token, "\x01\r\n ") {
		return constError("the token endpoint's answer is no token; see its log")
	}
	return nil
}

// explain says what is wrong with the endpoint. The body of its answer is not
// shown: it may hold what was sent.
func (e *endpoint) explain(err error) error {
	at := e.cfg.TokenURL
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		words := answer.Response.Status
		if code := word(answer.ErrorCode); code != "" {
			words += ", " + code
		}
		remedy := "see its log"
		switch status := answer.Response.StatusCode; {
		case answer.ErrorCode == "invalid_scope":
			remedy = "correct sasl.oauth.scopes"
		case answer.ErrorCode == "invalid_client", status == http.StatusUnauthorized, status == http.StatusForbidden:
			remedy = "correct sasl.oauth.client_id and its secret"
		case status == http.StatusNotFound, status >= 300 && status < 400:
			remedy = "correct sasl.oauth.token_url"
		case status >= 500, status == http.StatusTooManyRequests:
			remedy = "see that it works; it is asked again"
		}
		return fmt.Errorf("no token from %s: %s; %s", at, words, remedy)
	}
	var sent *url.Error
	if errors.As(err, &sent) {
		err = sent.Err
	}
	remedy := "see that it can be reached"
	var unknown x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	var n net.Error
	switch {
	case errors.As(err, &unknown):
		remedy = "set sasl.oauth.ca_file to the authority that signed its certificate"
	case errors.As(err, &verify):
		remedy = "mend its certificate, or correct sasl.oauth.token_url"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &n) && n.Timeout():
		remedy = "see that it answers, or raise sasl.oauth.timeout"
	case strings.HasPrefix(err.Error(), "oauth2:"): // such as an answer that is no JSON, which it would show
		return fmt.Errorf("no token from %s: its answer is not that of a token endpoint; correct sasl.oauth.token_url", at)
	}
	return fmt.Errorf("no token from %s: %w; %s", at, err, remedy)
}

// word returns an error code as RFC 6749 has them, and nothing else.
func word(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(r rune) bool { return r != '_' && r != '-' && !unicode.IsLetter(r) }) {
		return ""
	}
	return code
}
