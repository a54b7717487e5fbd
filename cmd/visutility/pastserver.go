package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/server"
	"github.com/visutility/visutility/store"
)

const (
	// pageEvents is how many events are asked for at once: with the longest of labels, they fit into maxAnswer.
	pageEvents = 5000
	// maxQuery bounds the address of a call, in bytes: servers and proxies have limits.
	maxQuery = 4 << 10
)

// An askedServer is what a server said before it is read.
type askedServer struct {
	*client
	models []string // to be replayed
	caveat string
}

// ask finds the models of the server that are to be replayed, once.
func (f *pastFlags) ask(cmd *cobra.Command, policies []*policy.Policy) (*askedServer, error) {
	if f.asked != nil {
		return f.asked, nil
	}
	c, err := f.remote.client(cmd)
	if err != nil {
		return nil, err
	}
	var known []string
	q := url.Values{"limit": {strconv.Itoa(store.MaxLimit)}}
	for more := true; more; more = q.Get("cursor") != "" {
		list, err := listed[struct{ Name string }](cmd.Context(), c, "/models", q)
		if err != nil {
			return nil, err
		}
		for _, m := range list.Items {
			known = append(known, m.Name)
		}
		q.Set("cursor", list.Next)
	}
	models, err := backtest.Watched(known, policies, f.models)
	if err != nil {
		return nil, withHint(err, "list the models with: visutility models")
	}
	f.asked = &askedServer{client: c, models: models}
	return f.asked, nil
}

// listed is a page of a list of the API.
func listed[T any](ctx context.Context, c *client, path string, q url.Values) (listing[T], error) {
	raw, err := c.get(ctx, path, q)
	if err != nil {
		return listing[T]{}, err
	}
	return decode[listing[T]](raw)
}

// running are the policies that the server runs today for the models that are to be replayed.
func (f *pastFlags) running(cmd *cobra.Command, policies []*policy.Policy) ([]*policy.Policy, error) {
	s, err := f.ask(cmd, policies)
	if err != nil {
		return nil, err
	}
	list, err := listed[server.Policy](cmd.Context(), s.client, "/policies", nil)
	if err != nil {
		return nil, err
	}
	var inForce []*policy.Policy
	for _, x := range list.Items {
		if x.Source == "" {
			continue // a file that was refused
		}
		p, err := policy.Parse(cmp.Or(x.File, x.Name+".yaml"), []byte(x.Source))
		if err != nil {
			return nil, fmt.Errorf("a policy that the server runs is not understood here (are client and server of the same version?): %w", err)
		}
		p.Name = x.Name
		inForce = append(inForce, p)
	}
	var ours []*policy.Policy
	ours, s.caveat = backtest.Running(inForce, s.models)
	return ours, nil
}

// readServer reads the past of a server.
func (f *pastFlags) readServer(cmd *cobra.Command, policies, beside []*policy.Policy) (*backtest.Data, error) {
	s, err := f.ask(cmd, policies)
	if err != nil {
		return nil, err
	}
	x := backtest.Excerpt{Policies: slices.Concat(policies, beside), Models: s.models, From: f.from.Time, To: f.to.Time}
	done := watchModels(cmd, &x)
	data, err := x.Read(cmd.Context(), s)
	done(err == nil)
	if err != nil {
		return nil, err
	}
	if s.caveat != "" {
		data.Caveat(s.caveat)
	}
	return data, nil
}

// watchModels draws a progress bar of what is read of a server, where somebody looks on. The caller calls end afterwards.
func watchModels(cmd *cobra.Command, x *backtest.Excerpt) (end func(complete bool)) {
	if !isTerminal(cmd.ErrOrStderr()) {
		return func(bool) {}
	}
	var events atomic.Int64
	bars := mpb.New(mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(64))
	bar := bars.AddBar(int64(len(x.Models)),
		mpb.PrependDecorators(decor.Name("reading "), decor.CountersNoUnit("%d / %d models")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return plural(int(events.Load()), "event") })))
	x.Progress = func(models, n int) {
		events.Store(int64(n))
		bar.SetCurrent(int64(models))
	}
	return func(complete bool) {
		if complete {
			bar.SetCurrent(int64(len(x.Models)))
		}
		bar.Abort(false) // does nothing when it is complete
		bars.Wait()
	}
}

// Events asks for a page of the history of a model.
func (s *askedServer) Events(ctx context.Context, q history.EventQuery) ([]visutility.Event, string, error) {
	v := url.Values{"limit": {strconv.Itoa(pageEvents)}, "metric": q.Metrics}
	if len(v.Encode()) > maxQuery {
		v.Del("metric") // all then; what nobody asked for is left out below
	}
	if !q.From.IsZero() {
		v.Set("from", q.From.UTC().Format(time.RFC3339Nano))
	}
	if !q.To.IsZero() {
		v.Set("to", q.To.UTC().Format(time.RFC3339Nano))
	}
	set(v, "cursor", q.Cursor)
	page, err := listed[visutility.Event](ctx, s.client, endpoint("models", q.Model, "history", "events"), v)
	if len(q.Metrics) > 0 {
		page.Items = slices.DeleteFunc(page.Items, func(e visutility.Event) bool { return !slices.Contains(q.Metrics, e.Metric) })
	}
	return page.Items, page.Next, err
}
