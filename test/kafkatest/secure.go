package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"logferry/test/certs"
	"logferry/test/kafkatest/localkafka"
)

// The doors of a Secure cluster.
const (
	Login   = "LOGIN"   // SASL_SSL with PLAIN, SCRAM and OAUTHBEARER (tokens without signature)
	Open    = "OPEN"    // SASL_PLAINTEXT with PLAIN
	Mutual  = "MUTUAL"  // SSL that wants a certificate of Authority
	Expired = "EXPIRED" // SSL whose certificate has ended
	Tickets = "TICKETS" // SASL_PLAINTEXT with GSSAPI: tickets for TicketService, which no KDC has to give
)

// PlainPassword is the password of the user "plain", whom PLAIN knows.
const PlainPassword = "plain-Pa55word"

// What the door Tickets takes: tickets for this principal, with the key that
// the keytab makes of TicketPassword.
const (
	TicketService  = "kafka/127.0.0.1"
	TicketRealm    = "LOGFERRY.TEST"
	TicketPassword = "ticket-Pa55word"
)

const storePassword = "keystore-Pa55word"

// Secure is a cluster of one node that asks who comes in, and lets nobody write
// who may not: the doors besides Brokers, where everything is allowed.
type Secure struct {
	*Cluster
	Authority *certs.Authority // signed the brokers' certificates, and may sign clients'

	renewed string // keystore for the door Expired
}

// StartSecure starts a Secure cluster.
func StartSecure(t testing.TB) *Secure {
	t.Helper()
	s := &Secure{Authority: certs.NewAuthority(t)}
	store := s.keystore(t)
	stores := map[string]string{
		"ssl.keystore.location": store, "ssl.keystore.password": storePassword, "ssl.keystore.type": "PKCS12", "ssl.key.password": storePassword,
		"ssl.truststore.location": store, "ssl.truststore.password": storePassword, "ssl.truststore.type": "PKCS12",
	}
	with := func(more map[string]string) map[string]string {
		for k, v := range stores {
			more[k] = v
		}
		return more
	}
	plain := fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="%s";`, PlainPassword)
	var expired string
	expired, s.renewed = s.pemStore(t, "expired", time.Now().Add(-time.Hour)), s.pemStore(t, "renewed", time.Now().Add(time.Hour))
	keys, krb5 := tickets(t)
	s.Cluster = Start(t,
		WithJVM(append(slices.Clone(localkafka.DefaultJVM), "-Djava.security.krb5.conf="+krb5)...),
		WithProperty("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
		WithProperty("super.users", localkafka.Anonymous),
		WithListener(localkafka.Listener{Name: Login, Protocol: "SASL_SSL", Properties: with(map[string]string{
			"connections.max.reauth.ms":      "2500", // so long a login lasts
			"sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
			"plain.sasl.jaas.config":         plain,
			"scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
			"scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
			"oauthbearer.sasl.jaas.config":   `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
		})}),
		WithListener(localkafka.Listener{Name: Open, Protocol: "SASL_PLAINTEXT", Properties: map[string]string{
			"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": plain,
		}}),
		WithListener(localkafka.Listener{Name: Tickets, Protocol: "SASL_PLAINTEXT", Properties: map[string]string{
			"sasl.enabled.mechanisms": "GSSAPI", "sasl.kerberos.service.name": "kafka",
			"gssapi.sasl.jaas.config": fmt.Sprintf(`com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true isInitiator=false keyTab="%s" principal="%s@%s";`,
				keys, TicketService, TicketRealm),
		}}),
		WithListener(localkafka.Listener{Name: Mutual, Protocol: "SSL", Properties: with(map[string]string{"ssl.client.auth": "required"})}),
		WithListener(localkafka.Listener{Name: Expired, Protocol: "SSL", Properties: map[string]string{
			"ssl.keystore.location": expired, "ssl.keystore.type": "PEM",
		}}),
	)
	return s
}

// TicketKeytab is the key of TicketService.
func TicketKeytab() (*keytab.Keytab, error) {
	k := keytab.New()
	return k, k.AddEntry(TicketService, TicketRealm, TicketPassword, time.Unix(1, 0), 1, etypeID.AES256_CTS_HMAC_SHA1_96)
}

// tickets writes the files that a broker needs to read tickets.
func tickets(t testing.TB) (keytabFile, configFile string) {
	t.Helper()
	dir := t.TempDir()
	k, err := TicketKeytab()
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	keytabFile, configFile = filepath.Join(dir, "kafka.keytab"), filepath.Join(dir, "krb5.conf")
	config := fmt.Sprintf("[libdefaults]\n default_realm = %s\n dns_lookup_kdc = false\n[realms]\n %s = {\n  kdc = 127.0.0.1:1\n }\n", TicketRealm, TicketRealm)
	if err := errors.Join(os.WriteFile(keytabFile, b, 0o600), os.WriteFile(configFile, []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	return keytabFile, configFile
}

// Door is the address of one of the doors.
func (s *Secure) Door(t testing.TB, name string) string {
	t.Helper()
	addr, err := s.Listener(0, name)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// AddUser makes a user for SCRAM, or gives one another password.
func (s *Secure) AddUser(t testing.TB, name, password string) {
	t.Helper()
	if err := s.AddScramUser(name, password); err != nil {
		t.Fatal(err)
	}
}

// AllowUser lets a user write to a topic.
func (s *Secure) AllowUser(t testing.TB, user, topic string) {
	t.Helper()
	if err := s.Allow(topic, "User:"+user, sarama.AclOperationWrite); err != nil {
		t.Fatal(err)
	}
}

// Renew gives the door Expired a certificate that is good.
func (s *Secure) Renew(t testing.TB) {
	t.Helper()
	if err := s.Reconfigure(0, "listener.name.expired.ssl.keystore.location", s.renewed); err != nil {
		t.Fatal(err)
	}
}

// keystore makes a keystore with the JDK's keytool that holds a key, its
// certificate and the authority, so that it is a truststore too.
func (s *Secure) keystore(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	store := filepath.Join(dir, "broker.p12")
	tool := func(args ...string) []byte {
		t.Helper()
		args = append([]string{"-J-XX:TieredStopAtLevel=1", "-J-XX:-UsePerfData"}, args...)
		args = append(args, "-keystore", store, "-storetype", "PKCS12", "-storepass", storePassword, "-noprompt")
		cmd := exec.Command(keytool(t), args...)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("keytool %s: %v\n%s%s", args[2], err, out, complaints.String())
		}
		return out
	}
	san := "san=ip:127.0.0.1,dns:broker.test"
	tool("-genkeypair", "-alias", "broker", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=broker", "-validity", "2")
	request := tool("-certreq", "-alias", "broker", "-ext", san)
	tool("-importcert", "-alias", "authority", "-file", s.Authority.CAFile)
	tool("-importcert", "-alias", "broker", "-file", s.Authority.SignRequest(t, "broker", request))
	return store
}

// keytool finds the JDK's tool where localkafka finds java.
func keytool(t testing.TB) string {
	t.Helper()
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if path, err := exec.LookPath(filepath.Join(home, "bin", "keytool")); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("keytool")
	if err != nil {
		unavailable(t, fmt.Errorf("%w: no keytool in PATH or JAVA_HOME; install a JRE 17 or later", localkafka.ErrUnavailable))
	}
	return path
}

// pemStore makes a keystore in PEM: a key with a certificate that ends at a
// certain time.
func (s *Secure) pemStore(t testing.TB, name string, end time.Time) string {
	t.Helper()
	cert, key := s.Authority.IssueUntil(t, end, "broker", "127.0.0.1")
	var both []byte
	for _, f := range []string{key, cert} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	path := filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// AllowDescribe lets a user see a topic, and no more.
func (s *Secure) AllowDescribe(topic, user string) error {
	return s.Allow(topic, "User:"+user, sarama.AclOperationDescribe)
}
