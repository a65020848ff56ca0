package agent

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// HTTPConfig says where metrics, health and the API are served, and to whom.
type HTTPConfig struct {
	Listen string `yaml:"listen,omitempty"` // host:port; port 0 picks a free one
	PProf  bool   `yaml:"pprof,omitempty"`  // serves /debug/pprof

	TLS       *HTTPTLSConfig `yaml:"tls,omitempty"`        // nil: plain text
	TokenFile string         `yaml:"token_file,omitempty"` // who shows this token as a bearer may ask anything; read again when it changes
	Open      []string       `yaml:"open,omitempty"`       // what answers everybody: healthz, readyz, metrics
	Insecure  bool           `yaml:"insecure,omitempty"`   // everything answers everybody, also in plain text
}

// HTTPTLSConfig names the files that HTTP over TLS needs, all in PEM. They are
// read again when they change.
type HTTPTLSConfig struct {
	CertFile     string `yaml:"cert_file,omitempty"`
	KeyFile      string `yaml:"key_file,omitempty"`
	ClientCAFile string `yaml:"client_ca_file,omitempty"` // who shows a certificate of these authorities may ask anything
	MinVersion   string `yaml:"min_version,omitempty"`    // "1.2" (default) or "1.3"
}

// openable are what HTTPConfig.Open can name.
var openable = []string{"healthz", "readyz", "metrics"}

// defaultOpen is what probes need. It tells nothing of the tasks.
var defaultOpen = []string{"healthz", "readyz"}

func (c *Config) validateHTTP() error {
	h := c.HTTP
	if err := checkHostPort(h.Listen, 0); err != nil {
		return c.fault("http.listen", "%v; write it as %s", err, DefaultListen)
	}
	for i, name := range h.Open {
		if !slices.Contains(openable, name) {
			return c.fault(fmt.Sprintf("http.open[%d]", i), "%q is unknown; write some of %s", name, strings.Join(openable, ", "))
		}
	}
	if t := h.TLS; t != nil {
		switch {
		case t.CertFile == "":
			return c.fault("http.tls.cert_file", "is missing; name the certificate to show, in PEM")
		case t.KeyFile == "":
			return c.fault("http.tls.key_file", "is missing; name the key of cert_file, in PEM")
		case t.MinVersion != "" && t.MinVersion != "1.2" && t.MinVersion != "1.3":
			return c.fault("http.tls.min_version", `%q is no version; write "1.2" or "1.3"`, t.MinVersion)
		}
	}
	if h.Insecure && h.hasCredentials() {
		return c.fault("http.insecure", "with it nobody is asked for a token or certificate; take it out, or token_file and tls.client_ca_file")
	}
	if h.TokenFile != "" && h.TLS == nil && !h.isLocal() {
		return c.fault("http.token_file", "the token would cross the network in plain text; set http.tls, or listen on %s", DefaultListen)
	}
	return nil
}

// hasCredentials reports whether there is something that lets strangers in.
func (h HTTPConfig) hasCredentials() bool {
	return h.TokenFile != "" || h.TLS != nil && h.TLS.ClientCAFile != ""
}

// isLocal reports whether only this host can connect.
func (h HTTPConfig) isLocal() bool {
	host, _, _ := net.SplitHostPort(h.Listen)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
