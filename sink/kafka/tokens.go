package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// tokenSource yields the token of one login. Safe for use from several
// goroutines. Errors are in one line with a remedy, and hold no secret.
type tokenSource interface {
	token(ctx context.Context) (string, error)
	drop()                     // the brokers refused what token returned
	patience() time.Duration   // longest wait for a token
	extensions() extensionsMap // sent beside the token
}

type extensionsMap = map[string]string

// newTokenSource returns nil for mechanisms that need no token.
func newTokenSource(s *SASL, tell func(error)) tokenSource {
	switch {
	case s.Mechanism == mechAWS:
		return newKeptToken(&awsTokens{cfg: *s.AWS}, defaultTokenTimeout, nil, tell)
	case s.Mechanism != mechOAuth:
		return nil
	case s.OAuth.TokenFile != "":
		return &tokenFile{cfg: s.OAuth, tell: tell, file: &keptFile{key: "sasl.oauth.token_file", path: s.OAuth.TokenFile, check: checkToken}}
	}
	return newKeptToken(newEndpoint(s.OAuth, tell), s.OAuth.Timeout, s.OAuth.Extensions, tell)
}

// tokenProvider is a tokenSource as sarama wants it.
type tokenProvider struct {
	source tokenSource
	stop   <-chan struct{} // nil: nothing ends the wait early
}

// Token implements sarama.AccessTokenProvider.
func (p *tokenProvider) Token() (*sarama.AccessToken, error) {
	ctx, cancel := within(p.source.patience(), p.stop)
	defer cancel()
	text, err := p.source.token(ctx)
	if err != nil {
		return nil, &loginError{err}
	}
	return &sarama.AccessToken{Token: text, Extensions: p.source.extensions()}, nil
}

// tokenFile reads a token that somebody renews.
type tokenFile struct {
	cfg  *OAuth
	file *keptFile
	tell func(error)
}

func (t *tokenFile) token(context.Context) (string, error) {
	text, err := t.file.get(t.tell)
	return strings.TrimSpace(text), err
}

func (t *tokenFile) drop()                     {}
func (t *tokenFile) patience() time.Duration   { return t.cfg.Timeout }
func (t *tokenFile) extensions() extensionsMap { return t.cfg.Extensions }

// checkToken finds a token that no broker would take. What is no JWT (RFC
// 7519) is passed on as it is.
func checkToken(text string) error {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsAny(text, " \t\x01") {
		return constError("does not hold a token alone; write the token without spaces into it")
	}
	if end := expiry(text); !end.IsZero() && !end.After(time.Now()) {
		return fmt.Errorf("holds a token that expired at %s; renew it, and check the clocks", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// expiry returns when a JWT expires; the zero time when that is not known.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"` // seconds since 1970
	}
	if json.Unmarshal(body, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1e11 {
		return time.Time{}
	}
	return time.UnixMilli(int64(claims.Exp * 1000))
}

// fetcher gets a new token from somewhere else. The zero time means that its
// end is not known.
type fetcher interface {
	fetch(ctx context.Context) (text string, end time.Time, err error)
}

// keptToken fetches tokens and keeps the newest for most of its life. One
// fetch is under way at a time. When it fails, a token that is still good
// is used on.
type keptToken struct {
	from    fetcher
	wait    time.Duration
	ext     extensionsMap
	tell    func(error)
	busy    chan struct{} // holds a value while the rest is used
	dropped chan struct{} // holds a value when the kept token is not to be used again

	text       string
	renew, end time.Time
	told       string
}

func newKeptToken(from fetcher, wait time.Duration, ext extensionsMap, tell func(error)) *keptToken {
	return &keptToken{from: from, wait: wait, ext: ext, tell: tell, busy: make(chan struct{}, 1), dropped: make(chan struct{}, 1)}
}

func (k *keptToken) patience() time.Duration   { return k.wait }
func (k *keptToken) extensions() extensionsMap { return k.ext }

func (k *keptToken) drop() {
	select {
	case k.dropped <- struct{}{}:
	default:
	}
}

func (k *keptToken) token(ctx context.Context) (string, error) {
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-ctx.Done():
		return "", constError("no token came in time; see that its source answers")
	}
	select {
	case <-k.dropped:
		k.text = ""
	default:
	}
	now := time.Now()
	if k.text != "" && now.Before(k.renew) {
		return k.text, nil
	}
	text, end, err := k.from.fetch(ctx)
	if err == nil {
		k.text, k.end, k.renew, k.told = text, end, now.Add(end.Sub(now)*4/5), ""
		if end.IsZero() {
			k.text = ""
		}
		return text, nil
	}
	if k.text == "" || !now.Before(k.end) {
		return "", err
	}
	if k.told != err.Error() {
		k.told = err.Error()
		k.tell(err)
	}
	return k.text, nil
}
