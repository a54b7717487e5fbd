package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/bus"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/server"
	"github.com/visutility/visutility/ui"
)

const (
	minTokenBytes = 16
	// minLogBytes is what the largest batch may take.
	minLogBytes = 16 << 20
	// drainTime is how long requests under way may take once the server is asked to stop.
	drainTime = 10 * time.Second
	// makeToken is the command that makes a token file.
	makeToken = "(umask 077; head -c 24 /dev/urandom | base64 > visutility.token)"
)

// serving is the flags of `visutility serve`.
type serving struct {
	dir, policies, listen, addrFile, tokenFile  string
	partitions, maxSeries, maxRuns              int
	retention, historyRetention                 spanValue
	maxLogBytes                                 bytesValue
	webhookAllow                                prefixesValue
	callbackURL, natsListen, ingest, prometheus string
	allowHosts                                  []string
	logFormat, logLevel                         choiceValue
}

func serveCommand() *cobra.Command {
	s := serving{
		logFormat: choiceValue{"text", []string{"text", "json"}},
		logLevel:  choiceValue{"info", []string{"debug", "info", "warn", "error"}},
	}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: it takes measurements, decides by the policies, and sees
trainings through. It needs nothing else installed and writes to its data
directory alone. Interrupting it is safe at any moment: trainings go on, and it
takes them up again at the next start.`,
		Example: `visutility serve --policies ./policies
visutility serve --listen 0.0.0.0:8080 --token-file visutility.token`,
		Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&s.dir, "data", "./visutility-data", "the data directory, made when it does not exist")
	f.StringVar(&s.policies, "policies", "", "the directory of policy files, watched for changes (default ./policies if there is one)")
	f.StringVar(&s.listen, "listen", defaultServer, "the address to listen on; with port 0 a free one is chosen")
	f.StringVar(&s.addrFile, "addr-file", "", "write the address listened on to this file, for scripts")
	f.StringVar(&s.tokenFile, "token-file", "", "file with the token that callers must show; needed to listen beyond this machine")
	f.IntVar(&s.partitions, "partitions", 0, "partitions of the log, fixed when the data directory is made (default 8)")
	f.Var(&s.retention, "retention", "how long the log keeps events (default 7d)")
	f.Var(&s.maxLogBytes, "max-log-bytes", "how large the log may become (default 10GiB)")
	f.Var(&s.historyRetention, "history-retention", "how long metric history is kept (default 90d)")
	f.IntVar(&s.maxSeries, "max-series", 0, "how many distinct series of model, metric and labels are accepted (default 1000000)")
	f.IntVar(&s.maxRuns, "max-runs", 0, "how many trainings may be under way at once (default 4)")
	f.Var(&s.webhookAllow, "webhook-allow", "a private network that webhooks may be sent to (repeatable)")
	f.StringVar(&s.callbackURL, "callback-url", "", "the base URL under which webhook trainers reach this server (default: the address listened on, if it is a single one)")
	f.StringVar(&s.natsListen, "nats-listen", "", "open a NATS port here, where clients publish events to "+bus.IntakeSubject+" (default: no port)")
	f.StringVar(&s.ingest, "ingest", "", "a file that says what the names of other systems mean here, and how predictions are measured (see docs/ingest.md)")
	f.StringVar(&s.prometheus, "prometheus", "", "the base URL of the Prometheus that the queries of policies are asked of")
	f.StringSliceVar(&s.allowHosts, "allow-host", nil, "a host name under which this server is asked for, beside its address (repeatable)")
	f.Var(&s.logFormat, "log-format", "how the log on the standard error is written")
	f.Var(&s.logLevel, "log-level", "how much of it")
	return cmd
}

// run serves until the command's context ends.
func (s *serving) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	token, err := s.check(cmd)
	if err != nil {
		return err
	}
	mapping, err := readMapping(s.ingest)
	if err != nil {
		return err
	}
	limitMemory()
	ln, err := net.Listen("tcp", s.listen)
	if err != nil {
		return withHint(fmt.Errorf("cannot listen: %w", err), "choose another address with: visutility serve --listen 127.0.0.1:0")
	}
	defer ln.Close() // again, where the HTTP server never took it over
	logger := s.logger(cmd.ErrOrStderr())
	e, handler, err := s.open(ctx, ln.Addr(), token, mapping, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	b := buildVersion(debug.ReadBuildInfo())
	take := takeNothing
	var port net.Addr
	if s.natsListen != "" {
		var nc *nats.Conn
		if nc, port, err = e.NATS(); err != nil {
			return err
		}
		defer nc.Close()
		take = func(ctx context.Context) error { return handler.RunNATS(ctx, nc, bus.IntakeSubject) }
	}
	if err := s.announce(cmd.OutOrStdout(), b, ln.Addr(), port, e); err != nil {
		return err
	}
	return serveUntil(ctx, e, handler, take, ln, logger)
}

// open opens the data directory and makes the handler that serves it. The caller closes the engine.
func (s *serving) open(ctx context.Context, addr net.Addr, token string, mapping *ingest.Mapping, logger *slog.Logger) (*engine.Engine, *server.Server, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options, err := s.options(addr, token, mapping, logger, registry)
	if err != nil {
		return nil, nil, err
	}
	if mapping != nil {
		options.Predictions = mapping.Predictions
	}
	e, err := engine.Open(ctx, options)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the data directory: %w", err)
	}
	b := buildVersion(debug.ReadBuildInfo())
	handler, err := server.New(server.Options{
		Engine: e, Store: e.Store(), History: e.History(), Token: token, AllowedHosts: s.allowHosts, Mapping: mapping,
		Version: b.Version, Revision: b.Revision, UI: ui.FS(), Logger: logger, Registry: registry,
	})
	if err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return e, handler, nil
}

// check refuses what would be unsafe and returns the token, "" for none.
func (s *serving) check(cmd *cobra.Command) (string, error) {
	if s.policies == "" {
		if info, err := os.Stat("policies"); err == nil && info.IsDir() {
			s.policies = "policies"
		}
	} else if info, err := os.Stat(s.policies); err != nil || !info.IsDir() {
		return "", usagef(cmd, "--policies: there is no directory %s", s.policies)
	}
	var token string
	if s.tokenFile != "" {
		var err error
		if token, err = readToken(s.tokenFile); err != nil {
			return "", err
		}
	}
	addr, err := net.ResolveTCPAddr("tcp", s.listen)
	if err != nil {
		return "", usagef(cmd, "--listen: %w", err)
	}
	if token == "" && !addr.IP.IsLoopback() {
		return "", usagef(cmd, "whoever reaches %s could start trainings: a token is needed; make one with:\n  %s\nand start with: visutility serve --listen %s --token-file visutility.token",
			s.listen, makeToken, s.listen)
	}
	if s.maxLogBytes > 0 && s.maxLogBytes < minLogBytes {
		return "", usagef(cmd, "--max-log-bytes: %s is less than a batch of events may take; give at least %s", formatBytes(int64(s.maxLogBytes)), formatBytes(minLogBytes))
	}
	return token, s.checkNATS(cmd, token)
}

// checkNATS keeps a port that asks nobody who they are on this machine.
func (s *serving) checkNATS(cmd *cobra.Command, token string) error {
	if s.natsListen == "" {
		return nil
	}
	addr, err := net.ResolveTCPAddr("tcp", s.natsListen)
	if err != nil {
		return usagef(cmd, "--nats-listen: %w", err)
	}
	if token == "" && !addr.IP.IsLoopback() {
		return usagef(cmd, "--nats-listen: whoever reaches %s could send measurements: a token is needed; make one with:\n  %s\nand give it with --token-file visutility.token", s.natsListen, makeToken)
	}
	return nil
}

// readMapping reads the file of --ingest; without one the server has its defaults.
func readMapping(file string) (*ingest.Mapping, error) {
	if file == "" {
		return nil, nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the mapping of names: %w", err)
	}
	m, err := ingest.ReadMapping(file, src, os.DirFS(filepath.Dir(file)))
	return &m, err
}

// readToken reads a secret that only its owner may be able to read.
func readToken(file string) (string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", withHint(fmt.Errorf("there is no token file %s", file), "make one with: %s", makeToken)
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", withHint(fmt.Errorf("the token file %s can be read by others", file), "mend it with: chmod 600 %s", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minTokenBytes {
		return "", withHint(fmt.Errorf("the token in %s has %d bytes; at least %d are needed", file, len(token), minTokenBytes), "make one with: %s", makeToken)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the token in %s contains spaces or line breaks", file)
	}
	return token, nil
}

// limitMemory keeps bursts from taking the whole machine: the collector works
// harder from half of the memory on. GOMEMLIMIT in the environment goes before.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if n := availableMemory(os.DirFS("/")); n > 0 {
		debug.SetMemoryLimit(n / 2)
	}
}

func (s *serving) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(s.logLevel.value)) != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if s.logFormat.value == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (s *serving) options(addr net.Addr, token string, mapping *ingest.Mapping, logger *slog.Logger, registerer prometheus.Registerer) (engine.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return engine.Options{}, fmt.Errorf("finding this program, to supervise trainings with: %w", err)
	}
	callback := s.callbackURL
	if callback == "" && !everywhere(addr) { // a trainer elsewhere could not call [::]
		callback = "http://" + addr.String()
	}
	var names ingest.Mapping // the engine's default
	if mapping != nil {
		names = *mapping
	}
	return engine.Options{
		PrometheusURL: s.prometheus, Mapping: names,
		Dir: s.dir, PolicyDir: s.policies, Partitions: s.partitions,
		MaxSeries: s.maxSeries, MaxRuns: s.maxRuns,
		Retention: time.Duration(s.retention), HistoryRetention: time.Duration(s.historyRetention), MaxLogBytes: int64(s.maxLogBytes),
		Supervisor: []string{self, "supervise"}, CallbackURL: callback, TrackingURL: "http://" + reached(addr), WebhookAllow: s.webhookAllow,
		NATSListen: s.natsListen, NATSToken: token, Logger: logger, Registerer: registerer,
	}, nil
}

// announce prints where the server is and with what it runs, and writes the address file.
func (s *serving) announce(w io.Writer, b build, addr, port net.Addr, e *engine.Engine) error {
	p := &page{now: time.Now()}
	p.line("%s %s", headStyle.Render("VisuTility"), b)
	p.fact("  server", "http://"+reached(addr))
	if port != nil {
		p.fact("  nats", "nats://"+reached(port)+" "+bus.IntakeSubject)
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return err
	}
	p.fact("  data", dir)
	var names []string
	for _, pol := range e.Policies() {
		names = append(names, pol.Name)
	}
	switch {
	case s.policies == "":
		p.fact("  policies", "none: nothing will be retrained")
	case len(names) == 0:
		p.fact("  policies", "none in "+s.policies+" yet; it is watched")
	default:
		p.fact("  policies", strings.Join(names, ", ")+" in "+s.policies)
	}
	for _, bad := range e.PolicyErrors() {
		p.line("%s %s", errorStyle.Render("  bad policy"), strings.ReplaceAll(bad.Error(), "\n", "\n    "))
	}
	where := ""
	if reached(addr) != defaultServer {
		where = " --server " + reached(addr)
	}
	switch {
	case s.policies == "":
		p.next("visutility serve --policies DIR")
	case len(e.PolicyErrors()) > 0:
		p.next("visutility lint %s", s.policies)
	default:
		p.next("visutility publish MODEL METRIC VALUE%s", where)
	}
	if err := p.write(w); err != nil {
		return err
	}
	return s.writeAddr(addr)
}

// everywhere reports whether an address is that of all of this machine's networks.
func everywhere(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsUnspecified()
}

// reached is an address at which this machine reaches the server.
func reached(addr net.Addr) string {
	if everywhere(addr) {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(addr.(*net.TCPAddr).Port))
	}
	return addr.String()
}

// writeAddr writes the address file in one step: whoever sees it reads all of it.
func (s *serving) writeAddr(addr net.Addr) error {
	if s.addrFile == "" {
		return nil
	}
	temp := s.addrFile + ".tmp"
	if err := os.WriteFile(temp, []byte(reached(addr)+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the address: %w", err)
	}
	if err := os.Rename(temp, s.addrFile); err != nil {
		return fmt.Errorf("writing the address: %w", err)
	}
	return nil
}

// takeNothing is the intake of a server without a NATS port.
func takeNothing(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// serveUntil runs engine, HTTP server and the intake of NATS until ctx ends, or one of them fails.
// It stops taking requests first and the engine last, so that what was promised is kept.
func serveUntil(ctx context.Context, e *engine.Engine, handler http.Handler, take func(context.Context) error, ln net.Listener, logger *slog.Logger) error {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	engineDone := make(chan error, 1)
	go func() { engineDone <- e.Run(engineCtx) }()

	srv := server.HTTPServer(ln.Addr().String(), handler)
	srv.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	httpDone := make(chan error, 1)
	go func() { httpDone <- srv.Serve(ln) }()

	takeCtx, stopTaking := context.WithCancel(ctx)
	defer stopTaking()
	taken := make(chan error, 1)
	go func() { taken <- take(takeCtx) }()

	var err error
	select {
	case <-ctx.Done():
		logger.Info("stopping; trainings go on and are taken up at the next start")
	case err = <-engineDone:
		engineDone <- nil
		err = fmt.Errorf("the engine stopped: %w", err)
	case err = <-taken:
		taken <- nil
		err = fmt.Errorf("taking in from NATS stopped: %w", err)
	case err = <-httpDone:
		httpDone <- nil
		err = fmt.Errorf("the HTTP server stopped: %w", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if srv.Shutdown(drain) != nil {
		srv.Close() // whoever still reads has had the time
	}
	<-httpDone
	stopTaking()
	err = errors.Join(err, <-taken)
	stopEngine()
	if engineErr := <-engineDone; engineErr != nil && !errors.Is(engineErr, context.Canceled) {
		err = errors.Join(err, engineErr)
	}
	return err
}
