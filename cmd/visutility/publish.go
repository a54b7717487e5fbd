package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/visutility/visutility"
)

const (
	batchEvents = 1000
	batchBytes  = 1 << 20
	// barBytes is from what size on a file is worth a progress bar.
	barBytes = 1 << 20
)

// publication is what `publish -o json` prints.
type publication struct {
	Accepted int `json:"accepted"`
	Batches  int `json:"batches"`
}

func publishCommand() *cobra.Command {
	var (
		r         remote
		file      string
		at, model string
		count     uint64
		labels    map[string]string
		measured  string
	)
	cmd := &cobra.Command{
		Use:   "publish [MODEL METRIC VALUE]",
		Short: "Send measurements: one from the command line, or a file of them",
		Long: `Send one measurement, or those of a file: JSON objects one a line, a JSON array
of objects, CSV with the header model,metric,value and, where wanted,
time,count,version,label_<name>, or Parquet with columns of these names. "-" is
the standard input.

An event has a model, a metric and a value, and may have a time (RFC 3339; the
time of receipt when there is none), a count of samples behind the value, the
version that was measured, and labels.

A file is sent in batches. Each is taken as a whole or refused as a whole, and
has an idempotency key made of what it says and where in the file it stands:
when the same file is sent again within ten minutes, because the first attempt
was interrupted, what had been accepted is not counted twice. Events without a
time are told apart by the file's name and date of change too; on the standard
input they are counted every time.`,
		Example: `visutility publish bike-demand wmape 0.34 --count 168
visutility publish fraud recall 0.91 --time 2026-11-23T10:00:00Z --label country=DE
visutility publish -f scores.csv
psql -c "copy (…) to stdout csv header" | visutility publish -f -
visutility publish -- fraud margin -0.2`,
		Args: needs("[MODEL]", "[METRIC]", "[VALUE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") != (len(args) == 3) {
				return usagef(cmd, "publish needs either MODEL METRIC VALUE or -f FILE")
			}
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			var done publication
			if file != "" {
				done, err = publishFile(cmd, c, file)
			} else {
				var e visutility.Event
				if e, err = singleEvent(cmd, args, at, count, measured, labels); err == nil {
					done, err = publishOne(cmd.Context(), c, e)
				}
				model = e.Model
			}
			if err != nil {
				return err
			}
			return r.print(cmd, done, func(p *page) {
				p.line("accepted %s", plural(done.Accepted, "event"))
				if model != "" {
					p.next("visutility explain %s", model)
				} else {
					p.next("visutility models")
				}
			})
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if negative.MatchString(err.Error()) {
			err = withHint(err, "a negative value goes behind two dashes: visutility publish -- MODEL METRIC -0.2")
		}
		return usageError{err: err, command: cmd.CommandPath()}
	})
	r.printing(cmd)
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "send the events of this file, - for the standard input")
	f.StringVar(&at, "time", "", "when it was measured (default: now)")
	f.Uint64Var(&count, "count", 0, "how many samples are behind the value (default 1)")
	f.StringVar(&measured, "version", "", "the model version that was measured")
	f.StringToStringVarP(&labels, "label", "l", nil, "a label, name=value (repeatable)")
	return cmd
}

// negative matches what is said when a negative number is taken for a flag.
var negative = regexp.MustCompile(`unknown shorthand flag: '[0-9.]'`)

func singleEvent(cmd *cobra.Command, args []string, at string, count uint64, version string, labels map[string]string) (visutility.Event, error) {
	e := visutility.Event{Model: args[0], Metric: args[1], Count: count, Version: version, Labels: labels}
	var err error
	if e.Value, err = finite(args[2]); err != nil {
		return e, usagef(cmd, "value: %w", err)
	}
	if at != "" {
		if e.Time, err = parseTime(at); err != nil {
			return e, usagef(cmd, "--time: %w", err)
		}
	}
	return e, nil
}

// publishOne sends one event. Its key is random: the same command typed again is another measurement.
func publishOne(ctx context.Context, c *client, e visutility.Event) (publication, error) {
	body, err := json.Marshal([]visutility.Event{e})
	if err != nil {
		return publication{}, fmt.Errorf("writing the event: %w", err)
	}
	n, err := c.publish(ctx, rand.Text(), body)
	return publication{Accepted: n, Batches: 1}, err
}

func publishFile(cmd *cobra.Command, c *client, name string) (publication, error) {
	p := publisher{client: c, identity: rand.Text()}
	if name == "-" {
		return p.publish(cmd.Context(), cmd.InOrStdin())
	}
	f, err := os.Open(name)
	if err != nil {
		return publication{}, fmt.Errorf("opening the file of events: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return publication{}, fmt.Errorf("opening the file of events: %w", err)
	}
	full, err := filepath.Abs(name)
	if err != nil {
		return publication{}, fmt.Errorf("opening the file of events: %w", err)
	}
	p.identity = full + "\x00" + info.ModTime().UTC().String()
	seen, end, err := watchReading(cmd, f)
	if err != nil {
		return publication{}, err
	}
	done, err := p.publish(cmd.Context(), seen)
	end(err == nil)
	return done, err
}

// watchReading draws a progress bar of how far f is read, where somebody looks on and it takes a while. The
// caller calls end afterwards.
func watchReading(cmd *cobra.Command, f *os.File) (r io.Reader, end func(complete bool), err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("opening the file of events: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() < barBytes || !isTerminal(cmd.ErrOrStderr()) {
		return f, func(bool) {}, nil
	}
	bars := mpb.New(mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(64))
	bar := bars.AddBar(info.Size(),
		mpb.PrependDecorators(decor.Name(filepath.Base(f.Name())+" "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	return &watchedFile{f, bar}, func(complete bool) {
		bar.Abort(complete) // does nothing when it is complete
		bars.Wait()
	}, nil
}

// A watchedFile draws how far it is read: in order, or as far as whoever reads it here and there says.
type watchedFile struct {
	*os.File
	bar *mpb.Bar
}

func (w *watchedFile) Read(p []byte) (int, error) {
	n, err := w.File.Read(p)
	w.bar.IncrBy(n)
	return n, err
}

func (w *watchedFile) reached(offset int64) { w.bar.SetCurrent(offset) }

// A publisher sends the events of one file, batch by batch.
type publisher struct {
	client *client
	// identity tells this file, as it is now, from others that say the same.
	identity string

	done   publication
	last   place // of the last record accepted
	places []place
	body   bytes.Buffer
	timed  bool // all events of the batch
}

func (p *publisher) publish(ctx context.Context, r io.Reader) (publication, error) {
	p.reset()
	for rec, err := range readRecords(r) {
		if err == nil {
			err = p.add(ctx, rec)
		}
		if err != nil {
			return p.done, p.so(err)
		}
	}
	if err := p.flush(ctx); err != nil {
		return p.done, p.so(err)
	}
	if p.done.Batches == 0 {
		return p.done, errors.New("there are no events in the file")
	}
	return p.done, nil
}

// so adds to an error how far it went.
func (p *publisher) so(err error) error {
	if p.done.Batches == 0 {
		return fmt.Errorf("%w\nnothing was accepted", err)
	}
	return fmt.Errorf("%w\naccepted before: %s, up to %s; run the same command again to go on, within ten minutes nothing is counted twice",
		err, plural(p.done.Accepted, "event"), p.last)
}

func (p *publisher) add(ctx context.Context, rec record) error {
	if len(p.places) == batchEvents || len(p.places) > 0 && p.body.Len()+len(rec.event) > batchBytes {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	if len(p.places) > 0 {
		p.body.WriteByte(',')
	}
	p.body.Write(rec.event)
	p.places = append(p.places, rec.at)
	p.timed = p.timed && rec.timed
	return nil
}

func (p *publisher) reset() {
	p.places, p.timed = p.places[:0], true
	p.body.Reset()
	p.body.WriteByte('[')
}

func (p *publisher) flush(ctx context.Context) error {
	if len(p.places) == 0 {
		return nil
	}
	p.body.WriteByte(']')
	n, err := p.client.publish(ctx, p.key(), p.body.Bytes())
	if err != nil {
		return p.refused(err)
	}
	p.done.Accepted += n
	p.done.Batches++
	p.last = p.places[len(p.places)-1]
	p.reset()
	return nil
}

// key is the batch's idempotency key: what it says and where it stands. Events that do not
// say when they were measured may rightly be the same in another file, so that counts then too.
func (p *publisher) key() string {
	h := sha256.New()
	if !p.timed {
		h.Write([]byte(p.identity))
	}
	fmt.Fprintf(h, "\x00%d\x00", p.places[0].n)
	h.Write(p.body.Bytes())
	return "file-" + hex.EncodeToString(h.Sum(nil)[:16])
}

var eventIndex = regexp.MustCompile(`^[a-z.]*\[(\d+)\]\.?`)

// refused names the places of the file that the server did not like.
func (p *publisher) refused(err error) error {
	problem, ok := errors.AsType[*apiError](err)
	if !ok || len(problem.Errors) == 0 {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the batch of %ss %d to %d was refused:", p.places[0].unit, p.places[0].n, p.places[len(p.places)-1].n)
	for _, f := range problem.Errors {
		where := f.Location
		if m := eventIndex.FindStringSubmatch(where); m != nil {
			if i, err := strconv.Atoi(m[1]); err == nil && i < len(p.places) {
				where = fmt.Sprintf("%s: %s", p.places[i], strings.TrimPrefix(where, m[0]))
			}
		}
		fmt.Fprintf(&b, "\n  %s: %s", strings.TrimSuffix(where, ": "), f.Message)
	}
	return quiet{b.String(), err}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
