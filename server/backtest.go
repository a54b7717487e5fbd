package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
)

const (
	maxBacktestBody = 1 << 20 // bytes: that of the largest policy
	// maxFaults bounds the bad fields that a problem names.
	maxFaults = 20
)

// A PolicySource is the text of a policy that is not in force.
type PolicySource struct {
	Name   string `json:"name,omitempty" maxLength:"128" doc:"The name of its file, without the extension. Defaults to policy."`
	Source string `json:"source" minLength:"1" doc:"The policy, in YAML."`
}

// A BacktestRequest says which policies to try, and on what.
type BacktestRequest struct {
	Policies  []PolicySource `json:"policies,omitempty" maxItems:"64" doc:"The policies to try."`
	Source    string         `json:"source,omitempty" doc:"The policy to try, in YAML: short for policies with one."`
	Model     string         `json:"model,omitempty" maxLength:"256" doc:"Replay this model only. Defaults to all that the policies watch."`
	Models    []string       `json:"models,omitempty" maxItems:"100" doc:"Replay only models whose names match one of these globs."`
	From      time.Time      `json:"from,omitzero" doc:"Event time. Defaults to the first event."`
	To        time.Time      `json:"to,omitzero" doc:"Event time, not included. Defaults to the last event."`
	TrainTime string         `json:"train_time,omitempty" maxLength:"64" doc:"How long each run takes, such as 90m or 2h. Defaults to 1h."`
	Rejected  bool           `json:"rejected,omitempty" doc:"Have every challenger rejected. Defaults to every one being promoted."`
	Cost      float64        `json:"cost,omitempty" minimum:"0" doc:"What one run costs, in any currency."`
}

// A BacktestReport is a report under the name that it has in the document: validators write reports too.
type BacktestReport struct{ *backtest.Report }

func (s *server) backtestRoutes(api huma.API) {
	op := post("post-backtest", "/backtest", "Try policies on the history, beside those in force")
	op.Description = "Says when the policies would have retrained, as visutility backtest does, on what the history has. Nothing is changed. " +
		"At most two are under way at a time; one ends when its client goes away."
	op.MaxBodyBytes = maxBacktestBody
	register(s, api, op, s.postBacktest)
}

func (s *server) postBacktest(ctx context.Context, in *struct{ Body BacktestRequest }) (*reply[BacktestReport], error) {
	b := &in.Body
	o := backtest.Options{Rejected: b.Rejected, Cost: b.Cost}
	var err error
	if b.TrainTime != "" {
		if o.TrainTime, err = policy.ParseDuration(b.TrainTime); err != nil {
			return nil, visutility.Invalidf("body.train_time", "syntax", "%v", err)
		}
	}
	if o.Policies, err = b.policies(); err != nil {
		return nil, err
	}
	globs := b.Models
	if b.Model != "" {
		globs = append(globs, globOf.Replace(b.Model))
	}
	ctx, done := untilStopping(ctx)
	defer done()
	report, err := s.Engine.Backtest(ctx, o, globs, b.From, b.To)
	return &reply[BacktestReport]{BacktestReport{report}}, err
}

// globOf makes a glob that matches a name and no other.
var globOf = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// policies parses what the request has, and names the place of every fault.
func (b *BacktestRequest) policies() ([]*policy.Policy, error) {
	if (b.Source == "") == (len(b.Policies) == 0) {
		return nil, visutility.Invalidf("body.policies", "missing", "or source is needed, one of the two: the policies to try")
	}
	if b.Source != "" {
		p, fields := (&PolicySource{Source: b.Source}).parse("body.source")
		return []*policy.Policy{p}, policyProblem(fields)
	}
	var all []*policy.Policy
	var faults []ProblemField
	for i := range b.Policies {
		p, fields := b.Policies[i].parse(fmt.Sprintf("body.policies[%d].source", i))
		all, faults = append(all, p), append(faults, fields...)
	}
	return all, policyProblem(faults)
}

func (x *PolicySource) parse(location string) (*policy.Policy, []ProblemField) {
	name := x.Name
	if name == "" {
		name = "policy"
	}
	if strings.ContainsAny(name, `/\`) {
		return nil, []ProblemField{{Location: strings.TrimSuffix(location, "source") + "name", Message: "is the name of a policy, not a path", Reason: "syntax"}}
	}
	p, err := policy.Parse(name+".yaml", []byte(x.Source))
	if err == nil {
		return p, nil
	}
	found, ok := errors.AsType[policy.Errors](err)
	if !ok {
		return nil, []ProblemField{{Location: location, Message: err.Error(), Reason: "policy"}}
	}
	return nil, policyFaults(location, found)
}

// policyFaults are the faults of a source, with their places in it.
func policyFaults(location string, found policy.Errors) (fields []ProblemField) {
	for _, e := range found {
		f := ProblemField{Location: location, Line: e.Line, Column: e.Column, Message: e.Message, Reason: "policy"}
		if e.Suggestion != "" {
			f.Message += fmt.Sprintf("; did you mean %q?", e.Suggestion)
		}
		fields = append(fields, f)
	}
	return fields
}

// policyProblem is the problem of these faults, nil for none.
func policyProblem(faults []ProblemField) error {
	if len(faults) == 0 {
		return nil
	}
	p := newProblem(http.StatusUnprocessableEntity, "policy", seeErrors)
	p.Errors = faults[:min(len(faults), maxFaults)]
	return p
}

// untilStopping is a context that ends when the server begins to shut down, too. Call done when it is not needed any more.
func untilStopping(ctx context.Context) (_ context.Context, done func()) {
	stop := stopping(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		watch.Wait()
	}
}
