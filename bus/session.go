package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/visutility/visutility"
)

const (
	streamName   = "EVENTS"
	lostSubject  = "events.lost" // what takes the place of entries that were lost
	maxPayload   = 8 << 20
	maxPending   = 256 << 20 // bytes the server may owe the one connection; a slow consumer is cut off beyond
	startTimeout = 2 * time.Minute
	watchEvery   = 100 * time.Millisecond
)

func subject(partition int) string { return "events." + strconv.Itoa(partition) }

// A session is a running server with a connection to it. When it fails it is
// retired (its context ends, so that nobody waits for it) and later stopped.
type session struct {
	srv    *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	last   uint64 // sequence of the last message at the start

	ctx    context.Context // ends when the session is retired; tied to the server, not to a call
	retire context.CancelFunc
	wg     sync.WaitGroup
}

// start starts the server and examines the stream. At most one session runs at
// a time: the one that l.previous names is stopped first.
func (l *Log) start(ctx context.Context) (*session, error) {
	if l.previous != nil {
		l.previous.stop()
		l.previous = nil
	}
	s := &session{}
	s.ctx, s.retire = context.WithCancel(context.Background())
	if err := s.open(ctx, l.o, l.gate); err != nil {
		s.stop()
		return nil, err
	}
	if err := l.examine(ctx, s); err != nil {
		s.stop()
		return nil, err
	}
	l.previous = s
	s.wg.Go(func() { l.watch(s) })
	return s, nil
}

func (s *session) open(ctx context.Context, o Options, g *gate) error {
	opts := &server.Options{
		ServerName: "visutility", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: o.Dir, SyncAlways: true,
		// The stream's own bounds hold; the server's default bound, a part of
		// the free disk at the start, would refuse them on a small disk.
		JetStreamMaxStore: 1 << 60, JetStreamMaxMemory: 1 << 30,
		MaxPayload: maxPayload, MaxPending: maxPending,
		DisableJetStreamBanner: true, CustomClientAuthentication: g,
	}
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err == nil {
			opts.Port, err = strconv.Atoi(port)
		}
		if err != nil {
			return visutility.Invalidf("listen", "syntax", "%q is not host:port", o.Listen)
		}
		opts.Host, opts.DontListen = host, false
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("%w: make the embedded server: %w", visutility.ErrUnavailable, err)
	}
	s.srv = srv
	log := &serverLogger{l: o.Logger}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start() // returns when the stream is recovered
	if err := ready(ctx, srv, log); err != nil {
		return fmt.Errorf("%w: start the embedded server in %s: %w", visutility.ErrUnavailable, o.Dir, err)
	}
	if s.nc, err = g.connect(srv, nats.NoReconnect(), nats.Name("visutility")); err != nil {
		return fmt.Errorf("%w: connect to the embedded server: %w", visutility.ErrUnavailable, err)
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return fmt.Errorf("%w: %w", visutility.ErrUnavailable, err)
	}
	s.stream, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"events.>"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: o.MaxAge, MaxBytes: o.MaxBytes, Duplicates: o.DedupWindow,
		AllowAtomicPublish: true, AllowDirect: true, DenyDelete: true,
	})
	if err != nil {
		return fmt.Errorf("%w: open the stream: %w", visutility.ErrUnavailable, err)
	}
	return nil
}

// ready waits until the server takes connections.
func ready(ctx context.Context, srv *server.Server, log *serverLogger) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		up := srv.ReadyForConnections(watchEvery)
		switch {
		case log.fatal.Load() != nil:
			return errors.New(*log.fatal.Load())
		case up && srv.JetStreamEnabled():
			return nil
		case up:
			return errors.New("it runs without its store")
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// stop ends the session and waits until the server has let go of its files.
func (s *session) stop() {
	s.retire()
	s.wg.Wait()
	if s.nc != nil {
		s.nc.Close()
	}
	if s.srv != nil {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
	}
}

// watch retires the session when the server has given up its store, which it
// does on a full disk, without an answer to what was being written.
func (l *Log) watch(s *session) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if !s.srv.JetStreamEnabled() || s.nc.IsClosed() {
				l.fail(s, errors.New("the embedded server gave up its store (is the disk full?)"))
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// examine looks for entries that are missing. It is loud about them and goes
// on: what is there is still worth having, and a fold that stands behind them
// must not be told that nothing happened.
func (l *Log) examine(ctx context.Context, s *session) error {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("%w: examine the stream: %w", visutility.ErrUnavailable, err)
	}
	s.last = info.State.LastSeq
	if n := info.State.NumDeleted; n > 0 {
		l.count.corrupt.Add(uint64(n))
		l.o.Logger.Error("the log is damaged: entries are missing in its middle", "missing", n,
			"first", info.State.FirstSeq, "last", info.State.LastSeq)
	}
	acknowledged := l.high.get()
	if s.last >= acknowledged {
		return nil
	}
	missing := acknowledged - s.last
	l.count.corrupt.Add(missing)
	l.o.Logger.Error("the log is damaged: its end is missing; the positions are not used again",
		"missing", missing, "last", s.last, "acknowledged", acknowledged)
	return s.fill(ctx, acknowledged)
}

// fill appends empty messages that belong to no partition up to a sequence
// number. A reader may stand there already: entries that took the same
// positions again would be invisible to it.
func (s *session) fill(ctx context.Context, to uint64) error {
	for s.last < to {
		msgs := make([]*nats.Msg, 0, maxMessages)
		for range min(to-s.last, maxMessages) {
			msgs = append(msgs, &nats.Msg{Subject: lostSubject, Header: nats.Header{}})
		}
		ack, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs)
		if err != nil {
			return fmt.Errorf("%w: fill the place of lost entries: %w", visutility.ErrUnavailable, err)
		}
		s.last = ack.Sequence
	}
	return nil
}

// A serverLogger hands the server's log on. Its notices are of no interest to a
// user. It keeps the word with which the server gave up.
type serverLogger struct {
	l     *slog.Logger
	fatal atomic.Pointer[string]
}

func (s *serverLogger) Noticef(format string, v ...any) { s.log(slog.LevelDebug, format, v) }
func (s *serverLogger) Warnf(format string, v ...any)   { s.log(slog.LevelWarn, format, v) }
func (s *serverLogger) Errorf(format string, v ...any)  { s.log(slog.LevelError, format, v) }
func (s *serverLogger) Debugf(string, ...any)           {}
func (s *serverLogger) Tracef(string, ...any)           {}

func (s *serverLogger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.fatal.CompareAndSwap(nil, &text)
}

func (s *serverLogger) log(level slog.Level, format string, v []any) {
	if s.l.Enabled(context.Background(), level) {
		s.l.Log(context.Background(), level, "nats: "+fmt.Sprintf(format, v...))
	}
}
