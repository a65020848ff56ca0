package kafka

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/require"

	"logferry/test/kafkatest"
)

// ccache writes a ticket cache (MIT's file format, version 4) for a client with
// tickets for services whose key is given, as a KDC would have made them.
func ccache(t *testing.T, path, client string, key *keytab.Keytab, end time.Time, services ...string) {
	t.Helper()
	u32 := binary.BigEndian.AppendUint32
	data := func(b, d []byte) []byte { return append(u32(b, uint32(len(d))), d...) }
	name := func(b []byte, n types.PrincipalName) []byte {
		b = data(u32(u32(b, uint32(n.NameType)), uint32(len(n.NameString))), []byte(kafkatest.TicketRealm))
		for _, part := range n.NameString {
			b = data(b, []byte(part))
		}
		return b
	}
	who := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, client)
	out := name([]byte{5, 4, 0, 12, 0, 1, 0, 8, 255, 255, 255, 255, 0, 0, 0, 0}, who)
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, s := range append([]string{"krbtgt/" + kafkatest.TicketRealm}, services...) {
		service := types.NewPrincipalName(nametype.KRB_NT_SRV_INST, s)
		flags := asn1.BitString{Bytes: []byte{0, 0, 0, 0}, BitLength: 32}
		keys := keytab.New()
		require.NoError(t, keys.AddEntry(s, kafkatest.TicketRealm, kafkatest.TicketPassword, time.Unix(1, 0), 1, etypeID.AES256_CTS_HMAC_SHA1_96))
		if s == kafkatest.TicketService {
			keys = key
		}
		ticket, session, err := messages.NewTicket(who, kafkatest.TicketRealm, service, kafkatest.TicketRealm, flags, keys,
			etypeID.AES256_CTS_HMAC_SHA1_96, 1, begin, begin, end, end)
		require.NoError(t, err)
		raw, err := ticket.Marshal()
		require.NoError(t, err)
		out = name(name(out, who), service)
		out = data(binary.BigEndian.AppendUint16(out, uint16(session.KeyType)), session.KeyValue)
		for _, at := range []time.Time{begin, begin, end, end} {
			out = u32(out, uint32(at.Unix()))
		}
		out = u32(append(out, 0), 0)    // no session key of another user, no flags
		out = u32(u32(out, 0), 0)       // no addresses, no authorization data
		out = data(data(out, raw), nil) // no second ticket
	}
	put(t, path, string(out))
}

// ticket logs in with a ticket that a KDC might have given; there is none.
func (w *secureWorld) ticket(t *testing.T, cfg Config) {
	dir := t.TempDir()
	cache, config := filepath.Join(dir, "ccache"), filepath.Join(dir, "krb5.conf")
	put(t, config, "[libdefaults]\n default_realm = "+kafkatest.TicketRealm+"\n dns_lookup_kdc = false\n")
	put(t, cache, "") // as while it is renewed
	right, err := kafkatest.TicketKeytab()
	require.NoError(t, err)
	cfg.SASL = &SASL{Mechanism: "GSSAPI", Kerberos: &Kerberos{CCacheFile: cache, ConfigFile: config}}
	w.mended(t, cfg, kafkatest.Tickets, w.allowed(t, "agent"), []string{"sasl.kerberos.ccache_file: " + cache + " is cut off or of another kind; write it anew"},
		func() { ccache(t, cache, "agent", right, time.Now().Add(time.Hour), kafkatest.TicketService) })

	wrong := keytab.New()
	require.NoError(t, wrong.AddEntry(kafkatest.TicketService, kafkatest.TicketRealm, "another", time.Unix(1, 0), 1, etypeID.AES256_CTS_HMAC_SHA1_96))
	ccache(t, cache, "agent", wrong, time.Now().Add(time.Hour), kafkatest.TicketService)
	w.mended(t, cfg, kafkatest.Tickets, w.allowed(t, "agent"), []string{"refuse the login with GSSAPI; check the principal and sasl.kerberos.service_name"},
		func() { ccache(t, cache, "agent", right, time.Now().Add(time.Hour), kafkatest.TicketService) })
}

func TestKerberosFilesThatAreOfNoUseAreNamed(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "krb5.conf")
	put(t, good, "[libdefaults]\n default_realm = R\n")
	right, err := kafkatest.TicketKeytab()
	require.NoError(t, err)
	cache := filepath.Join(dir, "ccache")
	ccache(t, cache, "agent", right, time.Now().Add(time.Hour), kafkatest.TicketService)
	whole, err := os.ReadFile(cache)
	require.NoError(t, err)
	require.NoError(t, (&Kerberos{CCacheFile: cache, ConfigFile: good}).check())
	for n := range len(whole) { // torn anywhere it ends nothing but the attempt
		put(t, cache, string(whole[:n]))
		if err := (&Kerberos{CCacheFile: cache, ConfigFile: good}).check(); err != nil {
			require.ErrorContains(t, err, "sasl.kerberos.ccache_file: ")
		}
	}
	keys := filepath.Join(dir, "keytab")
	b, err := right.Marshal()
	require.NoError(t, err)
	for n := range len(b) {
		put(t, keys, string(b[:n]))
		if err := (&Kerberos{KeytabFile: keys, ConfigFile: good}).check(); err != nil {
			require.ErrorContains(t, err, "sasl.kerberos.keytab_file: ")
		}
	}
	require.ErrorContains(t, (&Kerberos{KeytabFile: "/nowhere", ConfigFile: good}).check(), "check the name, mode and content of /nowhere")
	put(t, keys, string(b))
	require.ErrorContains(t, (&Kerberos{KeytabFile: keys, ConfigFile: "/nowhere"}).check(), "sasl.kerberos.config_file: ")
}

// noKDC wants tickets where nobody gives any.
func (w *secureWorld) noKDC(t *testing.T, cfg Config) {
	dir := t.TempDir()
	config, keys := filepath.Join(dir, "krb5.conf"), filepath.Join(dir, "keytab")
	put(t, config, "[libdefaults]\n default_realm = R\n dns_lookup_kdc = false\n udp_preference_limit = 1\n[realms]\n R = {\n  kdc = 127.0.0.1:1\n }\n")
	k := keytab.New()
	require.NoError(t, k.AddEntry("agent", "R", "agent-Pa55word", time.Unix(1, 0), 1, etypeID.AES256_CTS_HMAC_SHA1_96))
	b, err := k.Marshal()
	require.NoError(t, err)
	put(t, keys, string(b))
	cfg.SASL = &SASL{Mechanism: "GSSAPI", Username: "agent", Kerberos: &Kerberos{Realm: "R", KeytabFile: keys, ConfigFile: config}}
	v := w.visit(t, cfg, kafkatest.Tickets, w.allowed(t, "agent"))
	v.send(v.batchOf(source("/a"), lines("/a", 0, 50)...))
	v.held(t, 0, "no Kerberos login: ", "; see that the KDC answers, and sasl.kerberos.config_file")
}
