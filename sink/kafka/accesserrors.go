package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/IBM/sarama"
)

// accessTrouble says what is wrong with the way to the brokers' door: files,
// TLS, the login. It returns nil for every other error.
func accessTrouble(err error, cfg Config) error {
	at := strings.Join(cfg.Brokers, ", ")
	var own *loginError
	var ours *tlsError
	switch {
	case errors.As(err, &own):
		return fmt.Errorf("no connection to the brokers at %s can be made: %w", at, oneLine(own))
	case errors.As(err, &ours) && !errors.Is(err, errAborted):
		return fmt.Errorf("no TLS with the broker at %s: %w; %s", ours.addr, oneLine(ours.err), tlsRemedy(ours.err))
	case cfg.TLS != nil && strings.Contains(err.Error(), "remote error: tls: "):
		return fmt.Errorf("a broker of %s refuses TLS: %s; %s", at, alert(err), alertRemedy(err, cfg))
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed) && cfg.SASL != nil:
		return fmt.Errorf("the brokers at %s refuse the login%s; %s", at, cfg.SASL.who(), cfg.SASL.remedy())
	case errors.Is(err, sarama.ErrUnsupportedSASLMechanism) && cfg.SASL != nil:
		return fmt.Errorf("the brokers at %s do not offer the login %s there; choose another sasl.mechanism, or the address of a listener that has it", at, cfg.SASL.Mechanism)
	case errors.Is(err, sarama.ErrIllegalSASLState) && cfg.SASL != nil:
		return fmt.Errorf("the brokers at %s ask for no login there; take sasl out, or choose the address of a listener that has it", at)
	}
	return kerberosTrouble(err, cfg)
}

// AccessTrouble says in one line with a remedy what is wrong with the way to
// the brokers, where errs, of a client with the configuration sc, are about files,
// TLS or the login; otherwise it returns nil.
func (c Config) AccessTrouble(sc *sarama.Config, errs ...error) error {
	for _, err := range errs {
		if trouble := accessTrouble(err, c); trouble != nil {
			return trouble
		}
	}
	for _, err := range errs {
		if trouble := accessTrouble(ask(c, sc, err), c); trouble != nil {
			return trouble
		}
	}
	return nil
}

// ask finds out why no broker can be used where sarama keeps it to itself, as
// it does with what brokers say about a login. All other errors it returns.
func ask(cfg Config, sc *sarama.Config, err error) error {
	if cfg.SASL == nil || !errors.Is(err, sarama.ErrOutOfBrokers) || outOfBrokers(err) != nil {
		return err
	}
	for _, addr := range cfg.Brokers {
		b := sarama.NewBroker(addr)
		if b.Open(sc) != nil {
			continue
		}
		ok, cause := b.Connected()
		_ = b.Close()
		if !ok && cause != nil {
			return sarama.Wrap(sarama.ErrOutOfBrokers, cause)
		}
	}
	return err
}

// who tells apart the logins of one message.
func (s *SASL) who() string {
	if s.Username == "" {
		return " with " + s.Mechanism
	}
	return fmt.Sprintf(" of user %q with %s", s.Username, s.Mechanism)
}

// remedy says where a refused login is corrected.
func (s *SASL) remedy() string {
	switch {
	case s.Mechanism == mechAWS:
		return "allow kafka-cluster:Connect to the AWS identity of the agent, and check sasl.aws.region and the clock"
	case s.Mechanism == mechOAuth && s.OAuth.TokenFile != "":
		return "renew the token in " + s.OAuth.TokenFile + ", and check its audience and scope"
	case s.Mechanism == mechOAuth:
		return "check audience, scope and issuer of the token against the brokers' settings"
	case s.Mechanism == mechGSSAPI:
		return "check the principal and sasl.kerberos.service_name, and the clocks"
	case s.PasswordFile != "":
		return "correct sasl.username, or the password in " + s.PasswordFile
	}
	return "correct sasl.username and sasl.password"
}

// tlsRemedy says what to do about a handshake that failed on this side.
func tlsRemedy(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return "set tls.ca_file to the authority that signed the broker's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the broker's certificate, and check the clocks"
	case errors.As(err, &invalid):
		return "mend the broker's certificate"
	case errors.As(err, &host):
		return "set tls.server_name to a name in the broker's certificate, or use such a name in brokers and advertised.listeners"
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "if it speaks plain text there, take tls out or choose the address of a listener with TLS"
	case strings.Contains(err.Error(), "protocol version"):
		return "it does not speak tls.min_version; lower that, or raise the broker's ssl.enabled.protocols"
	case errors.Is(err, errNoAnswer), isTimeout(err):
		return "see that it runs and is not overloaded, and that it speaks TLS there"
	}
	return "see the broker's log"
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// alert is what the broker said when it ended TLS.
func alert(err error) string {
	_, words, _ := strings.Cut(err.Error(), "remote error: tls: ")
	words, _, _ = strings.Cut(words, "\n")
	return words
}

// alertRemedy says what to do when the broker ended TLS: it looks at the
// client's certificate when the handshake is over on this side.
func alertRemedy(err error, cfg Config) string {
	switch {
	case strings.Contains(alert(err), "protocol version"):
		return "it does not speak tls.min_version; lower that, or raise the broker's ssl.enabled.protocols"
	case cfg.TLS.CertFile == "":
		return "it wants a certificate: set tls.cert_file and tls.key_file to one whose authority it trusts"
	}
	return "set tls.cert_file and tls.key_file to a valid certificate whose authority it trusts"
}

// closedHint says what else may be wrong when a broker closes a connection
// without a word, which is how one answers who does not speak as it expects.
func closedHint(cfg Config) string {
	switch {
	case cfg.TLS != nil && cfg.TLS.CertFile == "":
		return "; if it wants a certificate, set tls.cert_file and tls.key_file"
	case cfg.TLS == nil && cfg.SASL == nil:
		return "; if it wants TLS or a login there, set tls and sasl"
	case cfg.TLS == nil:
		return "; if it wants TLS there, set tls"
	case cfg.SASL == nil:
		return "; if it wants a login there, set sasl"
	}
	return ""
}

// kerberosTrouble finds what the Kerberos library says: it has no types of
// its own that reach here for all of it.
func kerberosTrouble(err error, cfg Config) error {
	if cfg.SASL == nil || cfg.SASL.Mechanism != mechGSSAPI {
		return nil
	}
	text := err.Error()
	for _, k := range []struct{ words, remedy string }{
		{"KDC_ERR_C_PRINCIPAL_UNKNOWN", "correct sasl.username and sasl.kerberos.realm"},
		{"KDC_ERR_S_PRINCIPAL_UNKNOWN", "correct sasl.kerberos.service_name, or give the brokers a principal of their host names"},
		{"KDC_ERR_PREAUTH_FAILED", "renew the keytab"},
		{"KRB_AP_ERR_SKEW", "set the clocks"},
		{"matching key not found in keytab", "correct sasl.username and sasl.kerberos.realm, or renew the keytab"},
		{"no KDC", "name the KDCs in sasl.kerberos.config_file"},
		{"KDC", "see that the KDC answers, and sasl.kerberos.config_file"},
		{"[Root cause: ", "see sasl.kerberos, and the KDC's log"},
		{"krb5", "see sasl.kerberos, and the KDC's log"},
		{"keytab", "see sasl.kerberos.keytab_file"},
		{"credential", "renew the tickets in sasl.kerberos.ccache_file"},
	} {
		if strings.Contains(text, k.words) {
			return fmt.Errorf("no Kerberos login: %w; %s", oneLine(err), k.remedy)
		}
	}
	for _, file := range []string{cfg.SASL.Kerberos.KeytabFile, cfg.SASL.Kerberos.CCacheFile, cfg.SASL.Kerberos.ConfigFile} {
		if file != "" && strings.Contains(text, file) {
			return fmt.Errorf("no Kerberos login: %w; check the name and mode of %s", oneLine(err), file)
		}
	}
	return nil
}
