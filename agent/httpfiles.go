package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// watched is what is made of some files, made again when one of them changes.
// What cannot be made leaves the last good one in use. It may be used from
// many goroutines.
type watched[T any] struct {
	what  string // for the log
	files []string
	load  func() (T, error)
	log   *slog.Logger

	mu    sync.Mutex
	seen  []stamp
	bad   error // why what is there now cannot be used; it is looked at again then
	good  bool  // value is one
	value T
}

// stamp changes when a file does.
type stamp struct {
	size     int64
	modified time.Time
	mode     os.FileMode
}

// get returns the newest value. Its error means that there is none.
func (w *watched[T]) get() (T, error) {
	now := make([]stamp, len(w.files))
	for i, path := range w.files {
		if info, err := os.Stat(path); err == nil {
			now[i] = stamp{info.Size(), info.ModTime(), info.Mode()}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.good && w.bad == nil && slices.Equal(now, w.seen) {
		return w.value, nil
	}
	value, err := w.load()
	told := w.bad
	w.seen, w.bad = now, err
	switch {
	case err == nil:
		if w.good {
			w.log.Info("files have changed and are in use", "key", w.what)
		}
		w.value, w.good = value, true
	case !w.good:
		return w.value, err
	case told == nil || told.Error() != err.Error():
		w.log.Error("changed files cannot be used, the last good ones stay; mend them", "key", w.what, "error", err)
	}
	return w.value, nil
}

// serverTLS answers each connection with the files as they are then.
func serverTLS(c HTTPTLSConfig, log *slog.Logger) (*tls.Config, error) {
	files := []string{c.CertFile, c.KeyFile}
	if c.ClientCAFile != "" {
		files = append(files, c.ClientCAFile)
	}
	w := &watched[*tls.Config]{what: "http.tls", files: files, load: c.load, log: log}
	cfg, err := w.get()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	cfg = cfg.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.get() }
	return cfg, nil
}

func (c HTTPTLSConfig) load() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if c.MinVersion == "1.3" {
		out.MinVersion = tls.VersionTLS13
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file, key_file: %w; check that %s is in PEM, can be read, and has its key in %s", err, c.CertFile, c.KeyFile)
	}
	out.Certificates = []tls.Certificate{pair}
	if c.ClientCAFile == "" {
		return out, nil
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("client_ca_file: %w; check its name and mode", err)
	}
	out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven // probes have none
	if !out.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client_ca_file: %s holds no certificate; it must be in PEM", c.ClientCAFile)
	}
	return out, nil
}
