package bus

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestPort: who has the token may publish to the intake and be answered, and may neither read nor write the log.
func TestPort(t *testing.T) {
	const token = "correct horse battery staple"
	l, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := own.Subscribe(IntakeSubject+".>", func(m *nats.Msg) { _ = m.Respond(append([]byte("got "), m.Data...)) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	url := "nats://" + l.ListenAddr().String()
	for _, bad := range [][]nats.Option{nil, {nats.Token("no")}, {nats.UserInfo("visutility", "")}, {nats.UserInfo("visutility", "no")}} {
		if nc, err := nats.Connect(url, bad...); err == nil {
			nc.Close()
			t.Errorf("%d options let in", len(bad))
		}
	}
	for _, good := range []nats.Option{nats.Token(token), nats.UserInfo("anybody", token)} {
		refused := make(chan error, 10)
		nc, err := nats.Connect(url, good, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if m, err := nc.Request(IntakeSubject+".fraud", []byte("x"), 5*time.Second); err != nil || string(m.Data) != "got x" {
			t.Errorf("%v %v", m, err)
		}
		for _, subject := range []string{"events.0", "$JS.API.STREAM.PURGE.EVENTS", "$SYS.REQ.SERVER.PING", "other"} {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, subject)
		}
		for _, subject := range []string{">", "events.>", IntakeSubject + ".>"} {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, subject)
		}
	}
	if last, err := l.Last(t.Context(), 0); err != nil || last != 0 {
		t.Errorf("position %d, %v", last, err)
	}
}

func wantRefusal(t *testing.T, refused <-chan error, subject string) {
	t.Helper()
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", subject, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s is allowed", subject)
	}
}

// TestConnectionFollowsTheServer: when the server was started anew, what was subscribed to is again.
func TestConnectionFollowsTheServer(t *testing.T) {
	l, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := own.Subscribe(IntakeSubject, func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	s, _, err := l.current()
	if err != nil {
		t.Fatal(err)
	}
	l.fail(s, errors.New("broken by the test"))
	if _, err := l.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		other, err := l.Connect()
		if err == nil {
			_, err = other.Request(IntakeSubject, nil, 100*time.Millisecond)
			other.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if l.Stats().Restarts != 1 {
		t.Errorf("%d restarts", l.Stats().Restarts)
	}
}
