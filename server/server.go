package server

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
)

// Options says what is served and to whom.
type Options struct {
	// Engine, Store and History are what is served. Required.
	Engine  Engine
	Store   Store
	History History

	// Token is what clients must bear. Defaults to none: then everybody who can
	// connect may do everything, so listen on loopback only.
	Token string
	// AllowedHosts are names, beside loopback and the address connected to, that
	// this server goes by. Defaults to none.
	AllowedHosts []string
	// AllowedOrigins are origins ("https://example.com") whose pages may change state here. Defaults
	// to none but the server's own.
	AllowedOrigins []string

	// Version and Revision are those of the program. Default to "dev" and "".
	Version, Revision string
	// UI is the web interface, index.html and what it loads. Defaults to none.
	UI fs.FS
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Registry is served at /metrics, and takes the server's own metrics. Defaults to a new one.
	Registry *prometheus.Registry

	// MaxBody bounds a body of metrics, in bytes after decompression. Defaults to 16 MiB.
	MaxBody int64
	// Mapping says what the names of other systems mean. Defaults to ingest.DefaultMapping.
	Mapping *ingest.Mapping
	// IngestMemory bounds the memory of all such bodies at once. Defaults to 256 MiB.
	IngestMemory int64
	// IngestWait is how long metrics wait for the log before the sender is told to
	// come back. Defaults to 5 s.
	IngestWait time.Duration
	// ActionWait is how long an action (trigger, pause …) may take. Defaults to 30 s.
	ActionWait time.Duration
	// MaxStreams bounds the event and log streams at once. Defaults to 128.
	MaxStreams int
	// Heartbeat is how often a silent stream shows that it lives. Defaults to 15 s.
	Heartbeat time.Duration
	// LogPoll is how often a log that is followed is looked at. Defaults to 250 ms.
	LogPoll time.Duration
}

func (o *Options) fill() error {
	if o.Engine == nil || o.Store == nil || o.History == nil {
		return visutility.Invalidf("Options", "empty", "Engine, Store and History are needed")
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.Registry = cmp.Or(o.Registry, prometheus.NewRegistry())
	o.Version = cmp.Or(o.Version, "dev")
	if o.Mapping == nil {
		o.Mapping = new(ingest.DefaultMapping())
	}
	o.MaxBody = cmp.Or(o.MaxBody, 16<<20)
	o.IngestMemory = cmp.Or(o.IngestMemory, 256<<20)
	o.IngestWait = cmp.Or(o.IngestWait, 5*time.Second)
	o.ActionWait = cmp.Or(o.ActionWait, 30*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 128)
	o.Heartbeat = cmp.Or(o.Heartbeat, 15*time.Second)
	o.LogPoll = cmp.Or(o.LogPoll, 250*time.Millisecond)
	return nil
}

const apiPath = "/api/v1"

// A server is what the handlers share. It is not changed once made, but for what it remembers.
type server struct {
	Options
	budget   *ingest.Budget
	streams  chan struct{} // holds a token for each stream
	bodyTime time.Duration
	scores   scores
	ranking  ranking

	requests  *prometheus.CounterVec
	refused   *prometheus.CounterVec
	protocols protocolCounter
	sources   map[string]*ingest.Source // by format; not changed once the routes are made
}

// A Server is the handler for everything that VisuTility serves.
type Server struct {
	http.Handler
	s *server
}

// New makes a server. It starts no goroutines. It fails on options that cannot be.
func New(o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	mux, _, err := s.routes()
	if err != nil {
		return nil, err
	}
	h, err := s.layers(mux)
	return &Server{h, s}, err
}

func newServer(o Options) (*server, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := &server{
		Options: o, budget: ingest.NewBudget(o.IngestMemory), streams: make(chan struct{}, o.MaxStreams), bodyTime: bodyTime,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_http_requests_total", Help: "HTTP requests answered, by route and status code.",
		}, []string{"route", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_events_refused_total", Help: "Faults for which metric events, predictions and labels were refused, by format and reason.",
		}, []string{"format", "reason"}),
		protocols: newProtocolCounter(), sources: map[string]*ingest.Source{},
	}
	for _, c := range []prometheus.Collector{s.requests, s.refused, s.protocols.accepted, s.protocols.ignored} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering the server's metrics: %w", err)
		}
	}
	return s, nil
}

// layers wraps the mux, from the inside out.
func (s *server) layers(mux *http.ServeMux) (http.Handler, error) {
	crossOrigin := http.NewCrossOriginProtection()
	for _, origin := range s.AllowedOrigins {
		if err := crossOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, visutility.Invalidf("AllowedOrigins", "syntax", "%v", err)
		}
	}
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, newProblem(http.StatusForbidden, "cross_origin", "pages of other sites may not change anything here"))
	}))
	h := crossOrigin.Handler(mux)
	h = s.auth(mux, h)
	h = s.hosts(h)
	h = s.headers(h)
	return s.count(h), nil
}

type stoppingKey struct{}

// stopping is closed when the server begins to shut down, so that streams end. Nil when nobody tells.
func stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// HTTPServer returns a server for h with limits against slow and greedy clients.
// There is no write timeout, since streams are open for hours; they set
// deadlines for each write instead. Shutdown ends the streams and waits for the rest.
func HTTPServer(addr string, h http.Handler) *http.Server {
	stop, cancel := context.WithCancel(context.Background())
	s := &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, stop.Done())
		},
	}
	// gRPC comes by HTTP/2, in the clear as everything does.
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.RegisterOnShutdown(cancel)
	return s
}
