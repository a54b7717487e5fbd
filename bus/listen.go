package bus

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/visutility/visutility"
)

// IntakeSubject is where clients of the log's port publish events, and on what is below it. It is all that
// they may publish to: what they send is for somebody here to take in, who subscribes by [Log.Connect].
const IntakeSubject = "visutility.metrics"

// A gate says who may do what on the embedded server: this process everything, clients of the port
// publish to the intake and be answered.
type gate struct{ own, token string }

// Check is called by the server for each connection.
func (g *gate) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if same(o.Password, g.own) {
		c.RegisterUser(&server.User{Username: "visutility"})
		return true
	}
	if g.token != "" && !same(o.Token, g.token) && !same(o.Password, g.token) {
		return false
	}
	c.RegisterUser(&server.User{Username: "client", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{IntakeSubject, IntakeSubject + ".>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{nats.InboxPrefix + ">"}},
	}})
	return true
}

// same compares secrets in constant time; hashing makes the lengths equal.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// connect returns a connection of this process to its server.
func (g *gate) connect(server nats.InProcessConnProvider, o ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(server), nats.UserInfo("visutility", g.own)}, o...)...)
}

// Connect returns a NATS connection with all rights, which is made anew whenever the server is. The
// caller closes it.
func (l *Log) Connect(o ...nats.Option) (*nats.Conn, error) {
	nc, err := l.gate.connect(inProcess{l}, append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(repairFirst)}, o...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: connect to the embedded server: %w", visutility.ErrUnavailable, err)
	}
	return nc, nil
}

// ListenAddr is the address of the port that is open for clients, nil for none.
func (l *Log) ListenAddr() net.Addr {
	s, _, err := l.current()
	if err != nil || l.o.Listen == "" {
		return nil
	}
	return s.srv.Addr()
}

// inProcess leads a connection to the server that runs at the moment.
type inProcess struct{ l *Log }

func (p inProcess) InProcessConn() (net.Conn, error) {
	s, _, err := p.l.current()
	if err != nil {
		return nil, err
	}
	return s.srv.InProcessConn()
}
