package kafka

import (
	"encoding/binary"
	"net"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramLogin is one SCRAM exchange. It reads user and password when it begins,
// so that a renewed password needs no new client.
type scramLogin struct {
	a *access
	*scram.ClientConversation
}

// Begin implements sarama.SCRAMClient; what sarama passes is not looked at.
func (l *scramLogin) Begin(_, _, _ string) error {
	password, err := l.a.password()
	if err != nil {
		return err
	}
	hash := scram.SHA256
	if l.a.sasl.Mechanism == mechScram512 {
		hash = scram.SHA512
	}
	client, err := hash.NewClient(l.a.sasl.Username, password, "")
	if err != nil { // RFC 4013 forbids some characters; the error would show them
		return &loginError{errUnpreparable}
	}
	l.ClientConversation = client.NewConversation()
	return nil
}

var errUnpreparable = constError("sasl.username, sasl.password: hold characters that SCRAM does not allow (RFC 4013); change them")

type constError string

func (e constError) Error() string { return string(e) }

// disguise is the mechanism under which sarama runs a PLAIN login: of SCRAM
// alone it asks for each login anew what to say. plainConn tells the broker the
// true name.
const disguise = sarama.SASLTypeSCRAMSHA256

// plainLogin is one PLAIN exchange (RFC 4616): one message, one empty answer.
type plainLogin struct {
	a        *access
	password string
	steps    int
}

// Begin implements sarama.SCRAMClient; what sarama passes is not looked at.
func (l *plainLogin) Begin(_, _, _ string) (err error) {
	l.password, err = l.a.password()
	return err
}

// Step implements sarama.SCRAMClient.
func (l *plainLogin) Step(string) (string, error) {
	if l.steps++; l.steps > 1 {
		return "", nil
	}
	return "\x00" + l.a.sasl.Username + "\x00" + l.password, nil
}

// Done implements sarama.SCRAMClient.
func (l *plainLogin) Done() bool { return l.steps > 1 }

// plainConn writes PLAIN into the request that names the mechanism. sarama
// writes each request at once and as a whole.
type plainConn struct{ net.Conn }

const saslHandshakeKey = 17

func (c *plainConn) Write(b []byte) (int, error) {
	name := len(disguise)
	if len(b) < 8+name || binary.BigEndian.Uint16(b[4:]) != saslHandshakeKey || string(b[len(b)-name:]) != string(disguise) {
		return c.Conn.Write(b)
	}
	out := append([]byte(nil), b[:len(b)-name-2]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(mechPlain)))
	out = append(out, mechPlain...)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
