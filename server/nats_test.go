package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus"
)

// listen makes a server that takes in what is published on a NATS port, and a client of that port.
func listen(t *testing.T) (*site, *nats.Conn) {
	t.Helper()
	s := serve(t)
	l, err := bus.Open(t.Context(), bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	own, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.handler.RunNATS(ctx, own, bus.IntakeSubject) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	nc, err := nats.Connect("nats://"+l.ListenAddr().String(), nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	await(t, "the subscription", func() bool {
		_, err := nc.Request(bus.IntakeSubject, []byte("[]"), time.Second)
		return err == nil
	})
	return s, nc
}

func TestNATS(t *testing.T) {
	s, nc := listen(t)
	one := []byte(`{"model":"fraud","metric":"accuracy","value":0.91}`)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "visutility.metrics", one, jetstream.WithMsgID("1")); err != nil {
		t.Error(err)
	}
	if _, err := js.Publish(t.Context(), "visutility.metrics", []byte(`{"model":"fraud"}`)); err == nil || !strings.Contains(err.Error(), "value: is missing") {
		t.Errorf("a bad event: %v", err)
	}
	m, err := nc.Request("visutility.metrics.fraud", []byte("["+string(one)+","+string(one)+"]"), patience)
	if err != nil || !strings.Contains(string(m.Data), `"accepted":2`) {
		t.Errorf("%v %v", m, err)
	}
	if err := nc.Publish("visutility.metrics", one); err != nil {
		t.Fatal(err)
	}
	await(t, "the last event", func() bool { return len(s.events()) == 4 })
	for _, e := range s.events() {
		if e.Model != "fraud" || e.Value != 0.91 || time.Since(e.Time) > patience {
			t.Errorf("%+v", e)
		}
	}
	if s.keys[0] != "nats:1" || s.keys[1] != "" {
		t.Errorf("%q", s.keys)
	}
	if a, r := s.counter(`visutility_ingest_accepted_total{format="nats"}`), s.counter(`visutility_events_refused_total{format="nats",reason="empty"}`); a != "4" || r != "2" {
		t.Errorf("%s accepted, %s refused", a, r)
	}
	s.mu.Lock()
	s.publish = func(context.Context, []visutility.Event) error { return visutility.ErrOverloaded }
	s.mu.Unlock()
	var refused *jetstream.APIError
	if _, err := js.Publish(t.Context(), "visutility.metrics", one); !errors.As(err, &refused) || refused.Code != 429 {
		t.Errorf("when busy: %v", err)
	}
}

// What is published in order is taken in with times in order, though many are on their way at once.
func TestNATSKeepsTheOrder(t *testing.T) {
	s, nc := listen(t)
	const n = 500
	for i := range n {
		if err := nc.Publish("visutility.metrics", fmt.Appendf(nil, `{"model":"m","metric":"x","value":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all events", func() bool { return len(s.events()) == n })
	at := make([]time.Time, n)
	for _, e := range s.events() {
		at[int(e.Value)] = e.Time
	}
	for i := 1; i < n; i++ {
		if at[i].Before(at[i-1]) {
			t.Fatalf("event %d has time %v, the one before %v", i, at[i], at[i-1])
		}
	}
}
