package engine

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/quality"
)

// Options says where an engine keeps its data and what it works with. The zero
// value of every field but Dir is useful.
type Options struct {
	// Dir is the data directory; it is made when it does not exist. Required.
	Dir string
	// Partitions of the log, fixed when the data directory is made. Defaults to 8,
	// or to what the directory has; another number than that is refused.
	Partitions int
	// PolicyDir is watched for policies, which are its *.yaml and *.yml files, but for tests, *_test.yaml. Defaults to none.
	PolicyDir string
	// Policies are in force beside those of PolicyDir. Defaults to none.
	Policies []*policy.Policy
	// Trainers that policies may name with train.trainer. Defaults to none.
	Trainers map[string]visutility.Trainer
	// Strategies that policies may name with retrain.strategy; each makes one for a model. Defaults to none.
	Strategies map[string]func(model string) visutility.Strategy
	// Registry keeps the versions. Defaults to the built-in one, in Dir.
	Registry visutility.Registry
	// MaxSeries bounds the distinct series (model, metric, labels). Defaults to 1,000,000.
	MaxSeries int
	// MaxRuns bounds the trainings under way at once. Defaults to 4.
	MaxRuns int
	// MaxBacktest bounds the events that one backtest replays. Defaults to 2,000,000.
	MaxBacktest int
	// Retention is how long the log keeps events. Defaults to 7 days.
	Retention time.Duration
	// MaxLogBytes bounds the log on disk. Defaults to 10 GiB.
	MaxLogBytes int64
	// Predictions are the settings of models whose predictions and labels are joined. Defaults to none: all have the defaults.
	Predictions quality.Rules
	// HistoryRetention is how long metric history is kept. Defaults to 90 days.
	HistoryRetention time.Duration
	// DecisionRetention is how long decisions and ended runs are kept. Defaults to 365 days.
	DecisionRetention time.Duration
	// Tick is how often the log is told the time. Defaults to 10 s.
	Tick time.Duration
	// SnapshotEvery is the least time between two snapshots of the state. Defaults to 1 s.
	SnapshotEvery time.Duration
	// Supervisor is the command line that runs "trainer.Supervise" in a process of its own, so that
	// trainings outlive this one. Defaults to none: trainings are supervised in the process.
	Supervisor []string
	// CallbackURL is the base URL under which webhook trainers reach this server. Defaults to none:
	// webhook trainers are refused.
	CallbackURL string
	// TrackingURL is the base URL under which training programs on this machine reach this server by
	// MLflow's tracking protocol. Defaults to none: they are not told of it.
	TrackingURL string
	// WebhookAllow are networks that webhooks may be sent to although they are private. Defaults to none.
	WebhookAllow []netip.Prefix
	// NATSListen opens a NATS port, "127.0.0.1:4222", where clients may publish to the intake;
	// see [Engine.NATS]. Defaults to none.
	NATSListen string
	// NATSToken is what such clients must show. Defaults to none: whoever can connect may publish.
	NATSToken string
	// PrometheusURL is where the queries of policies are asked that name no URL. Defaults to none: those fail.
	PrometheusURL string
	// Mapping says how the labels of their answers name models. Defaults to ingest.DefaultMapping.
	Mapping ingest.Mapping
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

func (o *Options) fill() {
	if o.MaxSeries <= 0 {
		o.MaxSeries = 1_000_000
	}
	if o.MaxRuns <= 0 {
		o.MaxRuns = 4
	}
	if o.MaxBacktest <= 0 {
		o.MaxBacktest = 2_000_000
	}
	if o.Tick <= 0 {
		o.Tick = 10 * time.Second
	}
	if o.Retention <= 0 {
		o.Retention = 7 * 24 * time.Hour
	}
	if o.MaxLogBytes <= 0 {
		o.MaxLogBytes = 10 << 30
	}
	if o.HistoryRetention <= 0 {
		o.HistoryRetention = 90 * 24 * time.Hour
	}
	if o.DecisionRetention <= 0 {
		o.DecisionRetention = 365 * 24 * time.Hour
	}
	if len(o.Mapping.Model) == 0 {
		o.Mapping = ingest.DefaultMapping()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
}

// closeAll closes in reverse order and returns the first error.
func closeAll(cs []io.Closer) error {
	var first error
	for i := len(cs) - 1; i >= 0; i-- {
		if err := cs[i].Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
