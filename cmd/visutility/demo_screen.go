package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	bikedemand "github.com/visutility/visutility/examples/bike-demand"
	"github.com/visutility/visutility/policy"
)

// A demoScreen tells of a replay what is notable: weeks in which nothing happens only pass by, on terminals.
type demoScreen struct {
	*bikedemand.Screen
	begin func()          // closes begun
	begun <-chan struct{} // a first week has been played: there is something to see
	value float64         // of the newest week
}

func newDemoScreen(w io.Writer) *demoScreen {
	begun := make(chan struct{})
	return &demoScreen{Screen: bikedemand.NewScreen(w), begun: begun, begin: sync.OnceFunc(func() { close(begun) })}
}

// Measured shows a week for the moment.
func (s *demoScreen) Measured(end time.Time, value float64) {
	s.value = value
	s.Screen.Measured(end, value)
}

// Opened says why a model is retrained.
func (s *demoScreen) Opened(_ visutility.Run, d visutility.Decision) {
	s.Say(fmt.Sprintf("%s  %s  %s %.3f, %s", day(d.EventTime), s.Paint(bikedemand.Alarm, "retraining"), bikedemand.Metric, s.value, d.Reason))
}

// Training shows how far it is.
func (s *demoScreen) Training(run visutility.Run, idle string) {
	if idle == "" {
		idle = run.Message
	}
	s.Move(fmt.Sprintf("%-12s%-11s %s %3.0f %%  %s", "", run.State, s.Bar(run.Progress), 100*run.Progress, idle))
}

// Week says what came of the run that the week led to, if any.
func (s *demoScreen) Week(w bikedemand.Week) {
	s.begin()
	run := w.Run
	switch {
	case run.ID == "" && w.Held != "":
		s.Say(fmt.Sprintf("%s  %-11s %s", day(w.End), "no run", w.Held))
		return
	case run.ID == "":
		return
	}
	if run.Artifact != nil {
		s.step("trained", fmt.Sprintf("%s %.3f on hours that it had not seen", bikedemand.Metric, run.Artifact.Metrics[bikedemand.Metric]))
	}
	if run.Report != nil {
		s.step("gate", run.Report.Reason)
	}
	switch {
	case bikedemand.Serves(run):
		s.step(s.Paint(bikedemand.Calm, fmt.Sprintf("%-11s", "promoted")), fmt.Sprintf("%s takes over from %s", run.Version, run.Champion))
	case run.State == visutility.Rejected:
		s.step("rejected", run.Champion+" goes on")
	default:
		s.step(run.State.String(), bikedemand.Why(run))
	}
}

// step is a line on something that a week led to.
func (s *demoScreen) step(what, note string) { s.Say(fmt.Sprintf("%-12s%-11s %s", "", what, note)) }

// announce says where the page is, and what is played.
func (d *demo) announce(w io.Writer, p *policy.Policy, addr net.Addr) error {
	out := &page{}
	out.line("%s %s", headStyle.Render("VisuTility demo"), faintStyle.Render(d.stream.Source))
	out.fact("  page", "http://"+addr.String())
	if d.dir == "" {
		out.fact("  data", "temporary; --data DIR keeps it")
	} else {
		out.fact("  data", d.dir)
	}
	if d.csv == "" {
		out.fact("  known drift", bikedemand.Drift())
	}
	out.fact("  policy", "retrain when "+p.Retrain.When+", promote when "+p.Promote.When)
	out.line("")
	return out.write(w)
}

// A comparing is a simulated backtest that is under way beside the replay.
type comparing struct {
	events, all, trained atomic.Int64
	done                 chan struct{} // closed at the end; then report or err is set
	report               *backtest.Report
	err                  error
}

func newComparing() *comparing { return &comparing{done: make(chan struct{})} }

// run compares, from begun on.
func (c *comparing) run(ctx context.Context, prepare func() (backtest.Options, *backtest.Data, error), begun <-chan struct{}) {
	defer close(c.done)
	select {
	case <-begun:
	case <-ctx.Done():
		c.err = ctx.Err()
		return
	}
	o, past, err := prepare()
	if err != nil {
		c.err = err
		return
	}
	o.Progress = func(done, all int64) {
		c.events.Store(done)
		c.all.Store(all)
	}
	o.Simulate.Trained = func() { c.trained.Add(1) }
	c.report, c.err = backtest.Run(ctx, o, past)
}

// await shows how far the comparison is, until it is over.
func (s *demoScreen) await(ctx context.Context, c *comparing) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			s.Clear()
			return c.err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			share := float64(c.events.Load()) / max(1, float64(c.all.Load()))
			s.Move(fmt.Sprintf("comparing with schedules  %s %3.0f %%  %s", s.Bar(share), 100*share, plural(int(c.trained.Load()), "training")))
		}
	}
}

// sumUp shows the comparison, and what to type next.
func (d *demo) sumUp(w io.Writer, s *demoScreen, r *backtest.Report, addr net.Addr) error {
	out := &page{}
	trainings := 0
	rows := make([][]string, len(r.Plans))
	for i := range r.Plans {
		l := &r.Plans[i]
		mean, did := l.Simulated.Means[bikedemand.Metric], l.Simulated
		name := l.Name
		if name == "policy" {
			name = r.Plans[i].Policies[0]
		}
		rows[i] = []string{name, fmt.Sprintf("%.1f %%", 100*mean), s.Bar(mean), strconv.Itoa(len(l.Runs)), strconv.Itoa(did.Promoted), strconv.Itoa(did.Rejected)}
		trainings += len(l.Runs)
	}
	out.line("")
	out.table([]string{"RETRAINED BY", "MEAN ERROR", "", "RUNS", "PROMOTED", "REJECTED"}, rows)
	out.line("%s", faintStyle.Render(fmt.Sprintf("each of these %s was carried out; one still under way at the end is neither promoted nor rejected", plural(trainings, "training"))))
	out.line("\n%s", headStyle.Render("next"))
	where := ""
	if addr.String() != defaultServer {
		where = " --server " + addr.String()
	}
	next := [][2]string{
		{"visutility explain bike-demand" + where, "what the policy thinks now, and why"},
		{"visutility runs --model bike-demand" + where, "every retraining, and what became of it"},
		{"visutility versions bike-demand" + where, "where the champion comes from"},
	}
	switch {
	case d.once && d.dir == "":
		next = [][2]string{{"visutility demo", "the same, and the server goes on"}}
	case d.once:
		next = [][2]string{{"visutility serve --data " + d.dir + " --policies " + d.server.policies, "the server on what the demo left"}}
	}
	next = append(next, [2]string{"visutility demo --csv FILE", "the same with your own hours"},
		[2]string{"visutility serve --policies DIR", "a server for your own models"})
	width := 0
	for _, c := range next {
		width = max(width, len(c[0]))
	}
	for _, c := range next {
		out.line("  %s  %s", c[0]+strings.Repeat(" ", width-len(c[0])), faintStyle.Render(c[1]))
	}
	if !d.once {
		out.line("\nThe server goes on at http://%s; Ctrl-C stops it.", addr)
	}
	return out.write(w)
}
