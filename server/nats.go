package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/visutility/visutility/ingest"
)

const (
	// natsWorkers is how many messages are on their way into the log at once.
	natsWorkers = 32
	// natsWaiting and natsWaitingBytes bound the messages that wait for that. More are dropped, and counted;
	// who asked for an answer gets none, and tries again.
	natsWaiting      = 16 << 10
	natsWaitingBytes = 64 << 20
)

// An arrival is a message and when it came.
type arrival struct {
	msg *nats.Msg
	at  time.Time
}

// RunNATS takes in what is published on a subject and below it, until ctx ends. A message that asks
// for an answer gets it once its events are on disk.
func (v *Server) RunNATS(ctx context.Context, nc *nats.Conn, subject string) error {
	work := make(chan arrival)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range natsWorkers {
		wg.Go(func() {
			for a := range work {
				v.s.takeMessage(ctx, a)
			}
		})
	}
	defer close(work)
	incoming := make(chan error, 2)
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, at := range []string{subject, subject + ".>"} {
		sub, err := nc.SubscribeSync(at)
		if err == nil {
			err = sub.SetPendingLimits(natsWaiting, natsWaitingBytes)
		}
		if err != nil {
			return fmt.Errorf("subscribing to %s: %w", at, err)
		}
		readers.Go(func() { incoming <- v.s.readMessages(ctx, sub, work) })
	}
	return <-incoming
}

// readMessages hands messages to the workers, one after the other, with the time at which each came.
func (s *server) readMessages(ctx context.Context, sub *nats.Subscription, work chan<- arrival) error {
	defer func() {
		_ = sub.Unsubscribe() // the connection may be gone already
	}()
	dropped := 0
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if n, countErr := sub.Dropped(); countErr == nil && n > dropped {
			s.refused.WithLabelValues(ingest.NATSFormat, "dropped").Add(float64(n - dropped))
			dropped = n
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			continue // counted
		case err != nil:
			return fmt.Errorf("reading from %s: %w", sub.Subject, err)
		}
		select {
		case work <- arrival{msg, time.Now()}:
		case <-ctx.Done():
			return nil
		}
	}
}

// takeMessage takes a message in, and answers.
func (s *server) takeMessage(ctx context.Context, a arrival) {
	n, err := s.acceptMessage(context.WithoutCancel(ctx), a) // what was begun is ended: it is bounded by IngestWait
	answer := ingest.NATSAccepted(n)
	if err != nil {
		s.countRefused(ingest.NATSFormat, err)
		p := s.report(ctx, http.MethodPost, err)
		text := p.Detail
		for _, e := range p.Errors {
			text += "; " + e.Location + ": " + e.Message
		}
		answer = ingest.NATSRefused(p.Status, text)
	}
	if a.msg.Reply == "" {
		return
	}
	if err := a.msg.Respond(answer); err != nil {
		s.Logger.DebugContext(ctx, "a message could not be answered", "error", err)
	}
}

func (s *server) acceptMessage(ctx context.Context, a arrival) (int, error) {
	release, err := s.budget.Reserve(ingest.DecodedBytes(len(a.msg.Data)))
	if err != nil {
		return 0, err
	}
	defer release()
	key, events, err := ingest.ReadNATS(ingest.NATSMessage{Header: a.msg.Header, Data: a.msg.Data, At: a.at})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	if err := s.publish(ctx, key, events); err != nil {
		return 0, err
	}
	s.protocols.accepted.WithLabelValues(ingest.NATSFormat).Add(float64(len(events)))
	return len(events), nil
}
