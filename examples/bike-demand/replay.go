package bikedemand

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// longestCooldown is what the replay waits for; a longer one holds runs back.
const longestCooldown = 10 * time.Second

// A Teller is told what happens in a replay.
type Teller interface {
	// Say is for what is worth a line.
	Say(text string)
	// Measured is told of a week before what the server makes of it is known.
	Measured(end time.Time, value float64)
	// Opened is told of a run that a week's event set off, and of the decision behind it.
	Opened(run visutility.Run, d visutility.Decision)
	// Training is told, again and again, how a run gets on; idle is what is waited for where it is not the training.
	Training(run visutility.Run, idle string)
	// Week is told of a week that is over.
	Week(w Week)
}

// A Week is what a teller hears of one.
type Week struct {
	End   time.Time
	Value float64        // the error of that week's champion
	Held  string         // what held a run back, if anything
	Run   visutility.Run // the run that its event led to, at its end; the zero Run for none
}

// A Player plays the inference layer: every week it forecasts with the champion
// of the day, and when the week is over it tells the server how wrong it was.
type Player struct {
	client *client
	teller Teller
	stream *Stream
	pace   time.Duration // of a week
	weeks  int           // at most this many; 0 for all

	champion visutility.Version
	model    *Model // the champion's
	first    *Model // what would still serve had nothing been retrained
	lastRun  string // the newest run that has been told of
	tally    tally
}

// NewPlayer returns a player for the server at base, "http://127.0.0.1:8080", that wants the token, "" for none. A week
// takes pace at least; at most so many weeks are played, 0 for all.
func NewPlayer(base, token string, s *Stream, pace time.Duration, weeks int, t Teller) *Player {
	return &Player{
		client: &client{
			base: strings.TrimRight(base, "/"), token: strings.TrimSpace(token),
			http:  &http.Client{Timeout: 30 * time.Second},
			pause: 50 * time.Millisecond, patience: 30 * time.Second,
		},
		teller: t, stream: s, pace: pace, weeks: weeks,
	}
}

// A tally is what the summary is made from. live and never are sums over weeks.
type tally struct {
	weeks                      int
	live, never                float64
	promoted, rejected, failed int
}

// replay is the subcommand.
func replay(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	server := flags.String("server", cmp.Or(getenv("VISUTILITY_SERVER"), "http://127.0.0.1:8080"), "the server's address (default $VISUTILITY_SERVER)")
	tokenFile := flags.String("token-file", getenv("VISUTILITY_TOKEN_FILE"), "file with the server's token (default $VISUTILITY_TOKEN_FILE, else the token in $VISUTILITY_TOKEN)")
	data := flags.String("data", "", `the CSV file of hours, plain or gzipped; "generated" for the generated stream (default $BIKE_DATA); the server needs the same BIKE_DATA`)
	pace := flags.Duration("pace", 400*time.Millisecond, "how long a week takes")
	weeks := flags.Int("weeks", 0, "stop after this many weeks (default: play all)")
	if err := parse(flags, args); err != nil {
		return err
	}
	token := getenv("VISUTILITY_TOKEN")
	if *tokenFile != "" {
		b, err := os.ReadFile(*tokenFile)
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		token = string(b)
	}
	if !strings.Contains(*server, "://") {
		*server = "http://" + *server
	}
	stream, err := openStream(*data, getenv)
	if err != nil {
		return err
	}
	screen := NewScreen(stdout)
	return NewPlayer(*server, token, stream, *pace, *weeks, screen).show(ctx, screen)
}

// show plays all weeks and sums up. When ctx ends it sums up what there was.
func (p *Player) show(ctx context.Context, s *Screen) error {
	s.Say(s.Paint(Bold, "Bike demand, week by week") + "  " + s.Paint(Faint, p.stream.Source+" → "+p.client.base))
	err := p.Play(ctx)
	s.Clear()
	stopped := ctx.Err() != nil
	if err != nil && !stopped {
		return err
	}
	if stopped {
		s.Say("\nStopped. The same command goes on from here.")
	}
	p.tally.sumUp(s)
	return nil
}

// Play plays the weeks, from the first that the server has not seen, until ctx ends.
func (p *Player) Play(ctx context.Context) error {
	if err := p.client.ready(ctx); err != nil {
		return err
	}
	start, err := p.begin(ctx)
	if err != nil {
		return err
	}
	for from := start; !from.Add(week).After(p.stream.End()); from = from.Add(week) {
		if p.weeks > 0 && p.tally.weeks >= p.weeks {
			return nil
		}
		tick := time.NewTimer(p.pace)
		if err := p.week(ctx, from); err != nil {
			tick.Stop()
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// begin sees to it that there is a champion, and returns the beginning of the
// first week that neither it nor the server has seen: a replay that was
// stopped goes on, and a model is never scored on what it was trained on.
func (p *Player) begin(ctx context.Context) (time.Time, error) {
	eight := p.stream.Start().Add(firstWeeks * week)
	var err error
	p.first, err = fit(p.stream.Digest, p.stream.Between(p.stream.Start(), eight), func(int) error { return ctx.Err() })
	if err != nil {
		return time.Time{}, err
	}
	switch err := p.reload(ctx); {
	case refused(err, http.StatusNotFound):
		if err := p.firstTraining(ctx); err != nil {
			return time.Time{}, err
		}
	case err != nil:
		return time.Time{}, err
	}
	if err := p.catchUp(ctx); err != nil {
		return time.Time{}, err
	}
	m, err := p.client.model(ctx)
	if err != nil {
		return time.Time{}, err
	}
	known := p.model.To
	if seen := m.seen(); seen.After(known) {
		known = seen
	}
	start := eight
	for start.Before(known) {
		start = start.Add(week)
	}
	if start.Add(week).After(p.stream.End()) {
		p.teller.Say("All weeks have been played on this server. To play again, start one with a new data directory:\n  visutility serve --policies . --data $(mktemp -d)")
	}
	return start, nil
}

// firstTraining asks for the first version, and waits until it is the champion.
func (p *Player) firstTraining(ctx context.Context) error {
	p.teller.Say(fmt.Sprintf("There is no champion yet: asking for a first training, on the first %d weeks", firstWeeks))
	run, err := p.client.trigger(ctx, "there is no champion yet")
	if refused(err, http.StatusConflict) { // somebody has asked already
		no := err
		if run, err = p.client.newestRun(ctx); err == nil && (run.ID == "" || !run.State.Active()) {
			err = no
		}
	}
	if refused(err, http.StatusNotFound) {
		return fmt.Errorf("%w; does the server have bike-demand.yaml? Start it with: visutility serve --policies ./", err)
	}
	if err != nil {
		return err
	}
	if run, err = p.follow(ctx, run.ID); err != nil {
		return err
	}
	if !Serves(run) {
		return fmt.Errorf("the first training ended as %s: %s (see: visutility logs %s)", run.State, Why(run), run.ID)
	}
	if err := p.settle(ctx, run); err != nil {
		return err
	}
	p.teller.Say(fmt.Sprintf("%s is the first champion; its error on two weeks held out was %.3f", p.champion.ID, p.champion.Metrics[Metric]))
	return nil
}

// catchUp takes note of what the server did before: only later runs are the
// replay's. It waits for a run that is still under way.
func (p *Player) catchUp(ctx context.Context) error {
	run, err := p.client.newestRun(ctx)
	if err != nil {
		return err
	}
	if run.State.Active() && run.ID != "" {
		if run, err = p.follow(ctx, run.ID); err != nil {
			return err
		}
		if err := p.settle(ctx, run); err != nil {
			return err
		}
	}
	p.lastRun = run.ID
	return nil
}

// week plays one week: score, publish, and see what the server makes of it.
func (p *Player) week(ctx context.Context, from time.Time) error {
	end := from.Add(week)
	hours := p.stream.Between(from, end)
	if len(hours) == 0 {
		return nil
	}
	value, err := p.model.score(hours)
	if err != nil {
		return err
	}
	never, err := p.first.score(hours)
	if err != nil {
		return err
	}
	event := visutility.Event{
		Model: ModelName, Metric: Metric, Value: value, Time: end,
		Count: uint64(len(hours)), Version: p.champion.ID,
	}
	key := fmt.Sprintf("%s/%s/%s/%s", ModelName, p.stream.Digest, end.Format(time.DateOnly), p.champion.ID)
	before, err := p.client.explain(ctx)
	if err != nil {
		return err
	}
	if err := p.client.publish(ctx, key, event); err != nil {
		return err
	}
	p.teller.Measured(end, value)
	x, err := p.folded(ctx, before.Events, end)
	if err != nil {
		return err
	}
	run, err := p.consequence(ctx, x)
	if err != nil {
		return err
	}
	p.tally.weeks++
	p.tally.live += value
	p.tally.never += never
	w := Week{End: end, Value: value, Run: run}
	if run.ID == "" {
		w.Held = x.heldBack()
	}
	p.teller.Week(w)
	return nil
}

// folded waits until the server has taken the week's event into account, and
// returns how it then sees the model. before is how many events it had counted;
// one that it knew already, from before an interruption, is not counted again.
func (p *Player) folded(ctx context.Context, before int64, end time.Time) (x explanation, err error) {
	err = p.await(ctx, "the server took the event but does not read it (see: visutility explain "+ModelName+")", func() (bool, error) {
		var err error
		if x, err = p.client.explain(ctx); err != nil || x.Events > before {
			return true, err
		}
		m, err := p.client.model(ctx)
		return !m.seen().Before(end), err
	})
	return x, err
}

// consequence finds out what the server made of the week's event, and waits for the run to end if it opened one (time
// would pass in reality, too); it returns the zero Run if it did not.
func (p *Player) consequence(ctx context.Context, x explanation) (run visutility.Run, err error) {
	err = p.await(ctx, "the server tells of a run that it does not show: "+x.ActiveRun, func() (ok bool, err error) {
		run, err = p.client.newestRun(ctx)
		return x.ActiveRun == "" || run.ID != p.lastRun, err
	})
	if err != nil || run.ID == p.lastRun {
		return visutility.Run{}, err
	}
	p.lastRun = run.ID
	d, err := p.client.decision(ctx, run.Decision)
	if err != nil {
		return run, err
	}
	p.teller.Opened(run, d)
	if run, err = p.follow(ctx, run.ID); err != nil {
		return run, err
	}
	if err := p.settle(ctx, run); err != nil {
		return run, err
	}
	switch {
	case Serves(run):
		p.tally.promoted++
	case run.State == visutility.Rejected:
		p.tally.rejected++
	default:
		p.tally.failed++
	}
	return run, nil
}

// follow waits for a run to end, however long it takes: the model is the
// server's to train. A run that is only being watched any more has done its part.
func (p *Player) follow(ctx context.Context, id string) (visutility.Run, error) {
	told := false
	for {
		run, err := p.client.run(ctx, id)
		if err != nil || !run.State.Active() {
			return run, err
		}
		if run.State == visutility.AwaitingApproval && !told {
			told = true
			p.teller.Say("waiting for a person: visutility approve " + id)
		}
		p.teller.Training(run, "")
		if err := sleep(ctx, p.client.pause); err != nil {
			return run, err
		}
	}
}

// settle waits until the server's fold knows that the run is over (only then
// may the next event open another), lets a short cooldown pass, as it would have
// in a week, and takes up the champion of now.
func (p *Player) settle(ctx context.Context, run visutility.Run) error {
	var x explanation
	err := p.await(ctx, "the server does not take notice of the end of run "+run.ID, func() (ok bool, err error) {
		x, err = p.client.explain(ctx)
		return x.ActiveRun == "" && (!Serves(run) || x.Champion == run.Version), err
	})
	if err != nil {
		return err
	}
	if left := time.Until(x.cooldown()); left > 0 && left <= longestCooldown {
		p.teller.Training(run, "cooling down")
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
	return p.reload(ctx)
}

// await asks again and again until done, for as long as the client's patience lasts.
func (p *Player) await(ctx context.Context, complaint string, done func() (bool, error)) error {
	giveUp := time.Now().Add(p.client.patience)
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(giveUp) {
			return errors.New(complaint)
		}
		if err := sleep(ctx, p.client.pause); err != nil {
			return err
		}
	}
}

// reload takes up the server's champion.
func (p *Player) reload(ctx context.Context) error {
	v, err := p.client.champion(ctx)
	if err != nil {
		return err
	}
	if v.ID == p.champion.ID {
		return nil
	}
	m, err := loadArtifact(v.Artifact)
	if err != nil {
		return fmt.Errorf("load champion %s: %w", v.ID, err)
	}
	if m.Digest != p.stream.Digest {
		return fmt.Errorf("champion %s was trained on other data than %s: give the server and the replay the same BIKE_DATA, and the server a new data directory", v.ID, p.stream.Source)
	}
	p.champion, p.model = v, m
	return nil
}
