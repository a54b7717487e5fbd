package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/engine"
	bikedemand "github.com/visutility/visutility/examples/bike-demand"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

const (
	demoPolicy = "bike-demand.yaml"
	demoBy     = "visutility demo"
	// demoEnd is how long a training that is under way may take to stop: longer than the trainer gives it.
	demoEnd = 20 * time.Second
	// demoHistory is how long metric history is kept: the stream may be of many years ago.
	demoHistory = 50 * 365 * 24 * time.Hour
)

// A demo is the flags of `visutility demo`, and what they come to.
type demo struct {
	csv, dir, listen string
	seed             uint64
	weeks            int
	speed            float64
	trainTime        spanValue
	once             bool

	stream *bikedemand.Stream
	source []string // the flags by which the training program finds the same stream
	root   string   // what is removed at the end
	server serving
}

func demoCommand() *cobra.Command {
	d := demo{trainTime: spanValue(3 * time.Second)}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch the loop close: a model goes wrong, and is retrained",
		Long: `Play two years of a city's bike rentals, whose demand changes, to a server in this
process: a forecast goes wrong, the policy notices, a real training runs, the
new model has to beat the old one. At the end it says what schedules would have
made of the same two years. Nothing is asked, nothing leaves this machine, and
nothing of it is left behind unless --data names a directory.`,
		Example: `visutility demo
visutility demo --seed 7 --speed 0 --once
visutility demo --csv hour.csv --data ./demo`,
		Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := cmd.Flags()
	d.sourceFlags(cmd)
	f.StringVar(&d.dir, "data", "", "keep everything in this directory, and go on from there the next time (default: a temporary one)")
	f.StringVar(&d.listen, "listen", defaultServer, "the address to listen on; without the flag a free port is taken where that one is not")
	f.Float64Var(&d.speed, "speed", 2, "weeks a second; 0 for as fast as it goes")
	f.Var(&d.trainTime, "train-time", "how long a training lasts at least, so that it can be watched; with --speed 0 no longer than it needs")
	f.BoolVar(&d.once, "once", false, "end after the comparison, instead of serving on")
	cmd.AddCommand(demoTrainCommand())
	return cmd
}

// sourceFlags are those that say what is played.
func (d *demo) sourceFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.csv, "csv", "", "play this file of hours, with the columns of UCI's Bike Sharing, plain or gzipped")
	cmd.Flags().Uint64Var(&d.seed, "seed", 1, "of the stream that is generated without --csv; the same seed gives the same demo")
	cmd.Flags().IntVar(&d.weeks, "weeks", 0, "play no more than this many weeks (default all)")
}

// open reads or generates the stream.
func (d *demo) open() (err error) {
	weeks := []string{"--weeks", strconv.Itoa(d.weeks)}
	if d.csv == "" {
		d.stream = bikedemand.Generate(d.seed).Cut(d.weeks)
		d.source = append(weeks, "--seed", strconv.FormatUint(d.seed, 10))
		return nil
	}
	file, err := filepath.Abs(d.csv) // trainings have another working directory
	if err != nil {
		return fmt.Errorf("--csv: %w", err)
	}
	s, err := bikedemand.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--csv: %w", err)
	}
	d.stream, d.source = s.Cut(d.weeks), append(weeks, "--csv", file)
	return nil
}

// demoTrainCommand is the training program of the demo's policy. It is not for people.
func demoTrainCommand() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:    "train",
		Short:  "Train the demo's model (started by the server)",
		Hidden: true,
		Args:   needs(),
		// A training that is canceled ends at once: without this the root's manners with signals would apply.
		PersistentPreRun: func(*cobra.Command, []string) {},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.open(); err != nil {
				return err
			}
			return bikedemand.Train(d.stream, os.Getenv, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	d.sourceFlags(cmd)
	return cmd
}

func (d *demo) run(cmd *cobra.Command) (err error) {
	// Whoever closes the terminal, or the pipe, wants nothing to be left behind either.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	cmd.SetContext(ctx)
	if err := d.check(cmd); err != nil {
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	limitMemory()
	ln, err := d.announceable(cmd)
	if err != nil {
		return err
	}
	defer ln.Close() // again, where the HTTP server never took it over
	if d.root, err = os.MkdirTemp("", "visutility-demo-*"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() {
		if err = errors.Join(err, removeAll(d.root)); err == nil && cmd.Context().Err() != nil {
			fmt.Fprintln(cmd.OutOrStdout(), "\nstopped, "+d.left())
		}
	}()
	dir := cmp.Or(d.dir, filepath.Join(d.root, "data"))
	p, err := d.writePolicy(filepath.Join(dir, "policies"))
	if err != nil {
		return err
	}
	d.server = serving{dir: dir, policies: p.Dir, historyRetention: spanValue(demoHistory), logLevel: choiceValue{value: "warn"}}
	log, err := os.OpenFile(filepath.Join(dir, "demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) // the terminal is for the story
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer log.Close()
	logger := d.server.logger(log)
	e, handler, err := d.server.open(cmd.Context(), ln.Addr(), "", nil, logger)
	if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return d.play(cmd, e, p, ln, func(ctx context.Context) error {
		return serveUntil(ctx, e, handler, takeNothing, ln, logger)
	})
}

// play shows the demo while serve serves, and ends both.
func (d *demo) play(cmd *cobra.Command, e *engine.Engine, p *policy.Policy, ln net.Listener, serve func(context.Context) error) (err error) {
	serveCtx, stopServing := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer stopServing()
	showCtx, stopShow := context.WithCancelCause(cmd.Context())
	defer stopShow(nil)
	served := make(chan error, 1)
	go func() {
		err := serve(serveCtx)
		served <- err
		stopShow(err)
	}()
	err = d.show(showCtx, cmd, e, p, ln.Addr())
	switch {
	case len(served) > 0:
		return <-served // which is why the show ended
	case cmd.Context().Err() != nil: // an interrupt is the way to end it
		err = endTrainings(e)
	case err != nil:
		err = errors.Join(err, endTrainings(e))
	}
	stopServing()
	return errors.Join(err, <-served)
}

// check refuses flags that could do harm.
func (d *demo) check(cmd *cobra.Command) error {
	if !(d.speed >= 0) { // NaN too
		return usagef(cmd, "--speed: %v is not a number of weeks a second", d.speed)
	}
	if d.weeks < 0 {
		return usagef(cmd, "--weeks: %d is not a number of weeks", d.weeks)
	}
	if d.csv != "" && cmd.Flags().Changed("seed") {
		return usagef(cmd, "--seed is for the stream that is generated; with --csv there is none")
	}
	addr, err := net.ResolveTCPAddr("tcp", d.listen)
	if err != nil {
		return usagef(cmd, "--listen: %w", err)
	}
	if !addr.IP.IsLoopback() {
		return usagef(cmd, "--listen: a demo asks for no token, so it listens on this machine only: give an address such as %s", defaultServer)
	}
	if d.dir == "" {
		return nil
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef(cmd, "--data: %w", err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "policies", demoPolicy)); err != nil && len(entries) > 0 {
		return usagef(cmd, "--data: %s has other things in it than a demo; give a new directory", d.dir)
	}
	return nil
}

// announceable listens: where the usual port is taken, on another.
func (d *demo) announceable(cmd *cobra.Command) (net.Listener, error) {
	ln, err := net.Listen("tcp", d.listen)
	if errors.Is(err, syscall.EADDRINUSE) && !cmd.Flags().Changed("listen") {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, withHint(fmt.Errorf("cannot listen: %w", err), "choose another address with: visutility demo --listen 127.0.0.1:0")
	}
	return ln, nil
}

// writePolicy writes the example's policy, which trains with this program.
func (d *demo) writePolicy(dir string) (*policy.Policy, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program, to train with: %w", err)
	}
	src, err := bikedemand.Policy(append([]string{self, "demo", "train"}, d.source...))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	file := filepath.Join(dir, demoPolicy)
	if old, err := os.ReadFile(file); err == nil && !bytes.Equal(old, src) {
		return nil, withHint(fmt.Errorf("--data: %s has a demo of another stream, program or policy", d.dir), "give the same flags again, or a new directory")
	}
	if err := writeFile(file, src); err != nil {
		return nil, err
	}
	if d.speed > 0 { // by the environment: a policy that is kept does not change with the speed
		if err := os.Setenv(bikedemand.TrainTime, time.Duration(d.trainTime).String()); err != nil {
			return nil, err
		}
	}
	return policy.Parse(file, src)
}

// show plays the weeks and compares, and goes on until ctx ends, unless it is for once.
func (d *demo) show(ctx context.Context, cmd *cobra.Command, e *engine.Engine, p *policy.Policy, addr net.Addr) error {
	screen := newDemoScreen(cmd.OutOrStdout())
	if err := d.announce(cmd.OutOrStdout(), p, addr); err != nil {
		return err
	}
	if d.dir != "" { // the one before may have been interrupted: see endTrainings
		if err := e.Resume(ctx, bikedemand.ModelName, demoBy, "the demo goes on"); err != nil {
			return err
		}
	}
	var pace time.Duration
	if d.speed > 0 {
		pace = time.Duration(float64(time.Second) / d.speed)
	}
	c := newComparing()
	compareCtx, stop := context.WithCancel(ctx)
	go c.run(compareCtx, func() (backtest.Options, *backtest.Data, error) {
		return bikedemand.Compare(d.stream, p, filepath.Join(d.root, "compare"))
	}, screen.begun)
	defer func() {
		stop()
		<-c.done
	}()
	player := bikedemand.NewPlayer("http://"+addr.String(), "", d.stream, pace, 0, screen)
	err := player.Play(ctx)
	screen.Clear()
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	screen.begin() // where all had been played before
	screen.Say("\n" + player.Summary())
	if err := screen.await(ctx, c); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if err := d.sumUp(cmd.OutOrStdout(), screen, c.report, addr); err != nil || d.once {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// left says what of the demo remains.
func (d *demo) left() string {
	if d.dir != "" {
		return "and kept in " + d.dir + ", with " + bikedemand.ModelName + " paused"
	}
	return "and nothing of it is left"
}

// endTrainings stops the training that may be under way: it would outlive this process, as trainings should but not
// those of a demo. The pause is known to the fold when it returns, and so is everything before it: no run comes after.
func endTrainings(e *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), demoEnd)
	defer cancel()
	if err := e.Pause(ctx, bikedemand.ModelName, demoBy, "the demo ends"); err != nil {
		return fmt.Errorf("stopping the trainings: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ; {
		runs, _, err := e.Store().Runs(ctx, store.RunFilter{Model: bikedemand.ModelName, Page: store.Page{Limit: 1}}) // a model has one at a time
		if err != nil || len(runs) == 0 || runs[0].State.Ended() {
			return err
		}
		if !asked {
			_, err := e.Cancel(ctx, runs[0].ID, demoBy)
			if err != nil && !errors.Is(err, visutility.ErrConflict) { // that is: about to end by itself
				return fmt.Errorf("stopping a training: %w", err)
			}
			asked = err == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the training of run %s does not stop: %w", runs[0].ID, ctx.Err())
		}
	}
}

// removeAll removes a directory in which the guardian of a canceled training may still write its last word.
func removeAll(dir string) (err error) {
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing what the demo wrote: %w", err)
}
