package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
)

const (
	pullEvery   = time.Second      // how often it is looked what is due
	pullTimeout = 20 * time.Second // of one query
	pullAtOnce  = 8                // queries under way
	pullBytes   = 4 << 20          // of an answer
)

// A puller asks the queries of policies, each when it is due.
type puller struct {
	e      *Engine
	source *ingest.Source
	client *http.Client
	total  *prometheus.CounterVec
	next   map[string]time.Time // by query: when it is due
	slots  chan struct{}
}

// pull asks the queries of all policies until ctx ends.
func (e *Engine) pull(ctx context.Context) error {
	names := e.o.Mapping
	names.Metrics, names.OthersIgnored = nil, false // the policy names the metric
	p := &puller{
		e: e, source: ingest.NewSource(names, time.Now()), next: map[string]time.Time{}, slots: make(chan struct{}, pullAtOnce), total: e.pulls,
		client: &http.Client{Transport: limitedTransport{http.DefaultTransport.(*http.Transport).Clone()}, Timeout: pullTimeout},
	}
	defer p.client.CloseIdleConnections()
	t := time.NewTicker(pullEvery)
	defer t.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		for _, d := range p.due(time.Now()) {
			select {
			case p.slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			wg.Go(func() {
				defer func() { <-p.slots }()
				p.ask(ctx, d)
			})
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// A due query of a metric, and the time that it is asked for: a multiple of its interval, so that whoever asks again asks
// for the same.
type due struct {
	policy *policy.Policy
	metric string
	query  policy.Query
	at     time.Time
}

func (d due) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", d.policy.Name, d.metric, d.query.URL, d.query.PromQL))
	return hex.EncodeToString(sum[:16])
}

func (p *puller) due(now time.Time) []due {
	var all []due
	next := make(map[string]time.Time, len(p.next)) // what no policy asks for any more is forgotten
	for _, pol := range p.e.Policies() {
		for name, m := range pol.Metrics {
			if m.Source == nil {
				continue
			}
			d := due{pol, name, *m.Source, now.Truncate(m.Source.Every)}
			d.query.URL = cmp.Or(d.query.URL, p.e.o.PrometheusURL)
			key := d.key()
			if next[key] = p.next[key]; !next[key].After(now) {
				next[key] = d.at.Add(m.Source.Every)
				all = append(all, d)
			}
		}
	}
	p.next = next
	return all
}

// ask asks a query and publishes its answer. What goes wrong is logged and counted; it is asked again when it is due.
func (p *puller) ask(ctx context.Context, d due) {
	result := "ok"
	if err := p.answer(ctx, d); err != nil {
		if ctx.Err() != nil {
			return
		}
		result = "failed"
		if errors.Is(err, visutility.ErrInvalid) {
			result = "refused"
		}
		p.e.log.Warn("a query of a policy came to nothing", "policy", d.policy.Name, "metric", d.metric, "error", err)
	}
	p.total.WithLabelValues(d.policy.Name, result).Inc()
}

func (p *puller) answer(ctx context.Context, d due) error {
	if d.query.URL == "" {
		return visutility.Invalidf("metrics."+d.metric+".source.prometheus.url", "empty", "is missing; give one, or start the server with --prometheus http://…")
	}
	var rt http.RoundTripper = p.client.Transport
	if d.query.TokenEnv != "" {
		token := os.Getenv(d.query.TokenEnv)
		if token == "" {
			return fmt.Errorf("%w: the environment variable %s of the query's token is not set", visutility.ErrNotFound, d.query.TokenEnv)
		}
		rt = bearer{rt, token}
	}
	client, err := api.NewClient(api.Config{Address: d.query.URL, Client: &http.Client{Transport: rt, Timeout: p.client.Timeout}})
	if err != nil {
		return fmt.Errorf("%w: %w", visutility.ErrInvalid, err)
	}
	value, _, _, err := promapi.NewAPI(client).Query(ctx, d.query.PromQL, d.at)
	if err != nil {
		return err
	}
	b, err := ingest.ReadQuery(p.source, value, d.metric, d.policy.Only(), time.Now())
	if err != nil {
		return err
	}
	if len(b.Events) > 0 {
		if err := p.e.Publish(ctx, fmt.Sprintf("promql:%s:%d", d.key(), d.at.UnixMilli()), b.Events); err != nil {
			return err
		}
	}
	if b.RefusedCount() > 0 {
		return &visutility.InvalidError{Fields: b.Faults}
	}
	return nil
}

// A bearer adds a token to requests.
type bearer struct {
	next  http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// A limitedTransport bounds what is read of an answer.
type limitedTransport struct{ *http.Transport }

func (t limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, pullBytes), res.Body}
	return res, nil
}
