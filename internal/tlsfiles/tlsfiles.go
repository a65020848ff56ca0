// Package tlsfiles holds how a client speaks TLS when what it needs stands in
// files that somebody renews.
//
// It promises that each new connection uses the files as they are then, and
// that a file which is half written, gone, or of no use takes nothing away:
// what was last good stays in use, and the fault is told.
package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Config says how to speak TLS: a `tls:` section of agent.yaml.
type Config struct {
	CAFile     string `yaml:"ca_file,omitempty"`     // PEM; whom to trust; empty: the system's authorities
	CertFile   string `yaml:"cert_file,omitempty"`   // PEM; what to show to the server; empty: nothing
	KeyFile    string `yaml:"key_file,omitempty"`    // PEM; belongs to CertFile
	ServerName string `yaml:"server_name,omitempty"` // name that the server's certificate must hold; empty: the host of its address
	MinVersion string `yaml:"min_version,omitempty"` // "1.2" (default) or "1.3"
}

// Versions lists what min_version can be.
var Versions = []string{"1.2", "1.3"}

// Validate reports what cannot work, without a look at the files. The error is
// one line, "KEY: what is wrong; what to write instead".
func (c Config) Validate() error {
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		return errors.New("key_file: is missing while cert_file is set; set both or none")
	case c.KeyFile != "" && c.CertFile == "":
		return errors.New("cert_file: is missing while key_file is set; set both or none")
	case c.MinVersion != "" && !slices.Contains(Versions, c.MinVersion):
		return fmt.Errorf("min_version: %q is no version; write %q or %q", c.MinVersion, Versions[0], Versions[1])
	}
	return nil
}

// Load reads the files. Its error begins with the key of the file to mend.
func (c Config) Load() (*tls.Config, error) {
	text, err := c.read()
	if err != nil {
		return nil, err
	}
	return c.parse(text)
}

// contents is what the files hold; nil where none is named.
type contents struct{ ca, cert, key []byte }

func (a contents) equal(b contents) bool {
	return bytes.Equal(a.ca, b.ca) && bytes.Equal(a.cert, b.cert) && bytes.Equal(a.key, b.key)
}

func (c Config) read() (contents, error) {
	var text contents
	for _, f := range []struct {
		key, path string
		into      *[]byte
	}{{"tls.ca_file", c.CAFile, &text.ca}, {"tls.cert_file", c.CertFile, &text.cert}, {"tls.key_file", c.KeyFile, &text.key}} {
		if f.path == "" {
			continue
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return contents{}, fmt.Errorf("%s: %w; check its name and mode", f.key, err)
		}
		*f.into = b
	}
	return text, nil
}

func (c Config) parse(text contents) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.MinVersion == "1.3" {
		out.MinVersion = tls.VersionTLS13
	}
	if c.CAFile != "" {
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text.ca) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate; it must be in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.X509KeyPair(text.cert, text.key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w; check that %s is in PEM, can be read, and has its key in %s", err, c.CertFile, c.KeyFile)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// Files yields the TLS settings for each connection. Safe for use from several
// goroutines.
type Files struct {
	cfg Config

	mu   sync.Mutex
	good *tls.Config
	of   contents // what good was made of
	told string   // the fault that was told last
}

// New makes the Files of a configuration. It reads nothing yet.
func New(cfg Config) *Files { return &Files{cfg: cfg} }

// Get returns the settings for a new connection, which must not be changed.
// When the files are of no use the last good settings are returned, and tell
// is called with the fault, once for each fault; without last good ones the
// fault is the error.
func (f *Files) Get(tell func(error)) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := f.cfg.read()
	if err == nil && f.good != nil && text.equal(f.of) {
		f.told = ""
		return f.good, nil
	}
	var fresh *tls.Config
	if err == nil {
		fresh, err = f.cfg.parse(text)
	}
	if err == nil {
		f.good, f.of, f.told = fresh, text, ""
		return fresh, nil
	}
	if f.good == nil {
		return nil, err
	}
	if f.told != err.Error() {
		f.told = err.Error()
		tell(err)
	}
	return f.good, nil
}
