package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// minTokenBytes keeps tokens from being guessed.
const minTokenBytes = 16

// gate decides who may ask what. It may be used from many goroutines.
type gate struct {
	cfg   HTTPConfig
	name  string             // of this host
	token *watched[[32]byte] // digest of the token; nil: there is none
}

func newGate(cfg HTTPConfig, log *slog.Logger) (*gate, error) {
	g := &gate{cfg: cfg}
	g.name, _ = os.Hostname()
	if cfg.TokenFile == "" {
		return g, nil
	}
	g.token = &watched[[32]byte]{what: "http.token_file", files: []string{cfg.TokenFile}, log: log, load: func() ([32]byte, error) {
		data, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return [32]byte{}, err
		}
		token := strings.TrimSpace(string(data))
		if len(token) < minTokenBytes {
			return [32]byte{}, fmt.Errorf("%s holds a token of %d bytes; write at least %d, such as of 'openssl rand -hex 32'", cfg.TokenFile, len(token), minTokenBytes)
		}
		return sha256.Sum256([]byte(token)), nil
	}}
	if _, err := g.token.get(); err != nil {
		return nil, fmt.Errorf("http.token_file: %w", err)
	}
	return g, nil
}

// guard lets requests through to next that may be answered.
func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !slices.Contains(g.cfg.Open, strings.TrimPrefix(r.URL.Path, "/")) {
			if err := g.trusts(r); err != nil {
				code := http.StatusForbidden
				if g.cfg.hasCredentials() {
					w.Header().Set("WWW-Authenticate", "Bearer")
					code = http.StatusUnauthorized
				}
				http.Error(w, err.Error(), code)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// trusts says why a request may not ask everything; nil: it may.
func (g *gate) trusts(r *http.Request) error {
	switch {
	case g.cfg.Insecure:
		return nil
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && g.cfg.TLS.ClientCAFile != "":
		return nil
	case g.token != nil && g.hasToken(r):
		return nil
	case g.cfg.hasCredentials():
		return errors.New("show the agent's token as a bearer (--token-file), or a certificate that it trusts (--cert-file)")
	case !fromThisHost(r):
		return errors.New("only this host may ask; set http.tls with http.token_file or http.tls.client_ca_file to let others ask, or name what they may have in http.open")
	}
	return g.namesThisHost(r)
}

func (g *gate) hasToken(r *http.Request) bool {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, err := g.token.get()
	sum := sha256.Sum256([]byte(strings.TrimSpace(shown)))
	return ok && err == nil && subtle.ConstantTimeCompare(sum[:], want[:]) == 1
}

// namesThisHost refuses other names than those of this host, or a page in
// somebody's browser could ask under a name of its own that leads here.
func (g *gate) namesThisHost(r *http.Request) error {
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip == nil && name != "localhost" && !strings.EqualFold(name, g.name) {
		return fmt.Errorf("ask under an address or as localhost, not as %q", name)
	}
	return nil
}

// fromThisHost reports whether both ends of the connection are here.
func fromThisHost(r *http.Request) bool {
	remote, local := addresses(r)
	return remote != nil && (remote.IP.IsLoopback() || local != nil && remote.IP.Equal(local.IP))
}

// addresses are those of the two ends of the connection; nil: not known.
func addresses(r *http.Request) (remote, local *net.TCPAddr) {
	if a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil && a.IP != nil { // always numbers: nothing is looked up
		remote = a
	}
	local, _ = r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return remote, local
}

// mayTap refuses whoever is not on this host, whatever the configuration says:
// records are nobody else's business. Without a token or certificate they are
// shown to root and the agent's own user only, as others may not read all logs.
func (g *gate) mayTap(r *http.Request) error {
	if !fromThisHost(r) {
		return errors.New("records are shown to this agent's host only; run 'logferry tap' there, or forward a local port to it")
	}
	if err := g.namesThisHost(r); err != nil {
		return err
	}
	if g.cfg.hasCredentials() {
		return nil
	}
	remote, local := addresses(r)
	uid, err := peerUser(remote, local)
	switch {
	case err != nil:
		return fmt.Errorf("records are shown to root and the agent's user only, and who asks cannot be told: %w; set http.token_file", err)
	case uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("records are shown to root and the agent's user (uid %d) only, not to uid %d; ask as one of them, or set http.token_file and show the token", os.Geteuid(), uid)
	}
	return nil
}
