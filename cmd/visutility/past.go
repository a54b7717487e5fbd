package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
)

// pastFlags say where the past comes from: a file, or the history of a server.
type pastFlags struct {
	file     string
	server   bool
	remote   remote
	models   []string
	from, to timeValue
	pick     bool // --model picks one of a file's models too

	asked *askedServer // once it was
}

func (f *pastFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "data", "d", "", "the file of events, - for the standard input")
	flags.BoolVar(&f.server, "from-server", false, "take the events from the history of a server")
	f.remote.address(cmd)
	flags.StringSliceVarP(&f.models, "model", "m", nil, "only models whose names match, such as fraud-* (repeatable; with --from-server)")
	flags.Var(&f.from, "from", "from when on, or how long ago, such as 30d (with --from-server)")
	flags.Var(&f.to, "to", "until when, or how long ago (with --from-server)")
	// It fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("model", func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return f.remote.values(cmd, "/models", url.Values{"limit": {maxCompletions}, "q": {begun}}, begun), cobra.ShellCompDirectiveNoFileComp
	})
}

// check is for the arguments of a command: it needs one source, and flags that fit it.
func (f *pastFlags) check(cmd *cobra.Command) error {
	if (f.file == "") == !f.server {
		return usagef(cmd, "%s needs --data FILE or --from-server, one of the two: the old events", cmd.Name())
	}
	for _, name := range []string{"server", "token-file", "model", "from", "to"} {
		if !f.server && cmd.Flags().Changed(name) && !(f.pick && name == "model") {
			return usagef(cmd, "--%s goes with --from-server: of a file, all events are taken", name)
		}
	}
	if f.server && !f.from.IsZero() && !f.to.IsZero() && !f.from.Before(f.to.Time) {
		return usagef(cmd, "--to is not after --from")
	}
	return nil
}

// read reads the past, with a progress bar where that takes a while. A file is read wholly; of a server, the
// models that the policies watch, and the metrics that they or those beside them read.
func (f *pastFlags) read(cmd *cobra.Command, policies []*policy.Policy, beside ...*policy.Policy) (*backtest.Data, error) {
	if f.server {
		return f.readServer(cmd, policies, beside)
	}
	return readPast(cmd, f.file)
}

// readPast reads the events of a file for a backtest, with a progress bar where that takes a while.
func readPast(cmd *cobra.Command, name string) (*backtest.Data, error) {
	r := pastReader{past: backtest.NewData(), now: time.Now()}
	if name == "-" {
		return r.past, r.read(cmd.InOrStdin())
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the file of events: %w", err)
	}
	defer f.Close()
	watched, done, err := watchReading(cmd, f)
	if err != nil {
		return nil, err
	}
	err = r.read(watched)
	done(err == nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r.past, nil
}

// A pastReader collects the events of a file, in batches, which are judged as the server would.
type pastReader struct {
	past      *backtest.Data
	now       time.Time
	body      bytes.Buffer
	places    []place
	incidents []bool
}

func (r *pastReader) read(from io.Reader) error {
	for rec, err := range readRecords(from, "incident") {
		if err != nil {
			return err
		}
		if !rec.timed {
			return placeError{rec.at, errors.New("has no time: its place in the past is not known")}
		}
		event, incident, err := splitIncident(rec.event)
		if err != nil {
			return placeError{rec.at, err}
		}
		r.body.Write(event)
		r.body.WriteByte('\n')
		r.places, r.incidents = append(r.places, rec.at), append(r.incidents, incident)
		if len(r.places) == batchEvents {
			if err := r.flush(); err != nil {
				return err
			}
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.past.Events() == 0 {
		return errors.New("there are no events in the file")
	}
	return nil
}

// splitIncident takes the mark out of an event: the server knows no such field.
func splitIncident(event json.RawMessage) (json.RawMessage, bool, error) {
	if !bytes.Contains(event, []byte(`"incident"`)) {
		return event, false, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(event, &fields); err != nil {
		return nil, false, err
	}
	var incident bool
	if mark, ok := fields["incident"]; ok && json.Unmarshal(mark, &incident) != nil {
		return nil, false, fmt.Errorf("incident: %s is neither true nor false", mark)
	}
	delete(fields, "incident")
	rest, err := json.Marshal(fields)
	return rest, incident, err
}

func (r *pastReader) flush() error {
	if len(r.places) == 0 {
		return nil
	}
	events, err := ingest.NDJSON(r.body.Bytes(), r.now)
	if err != nil {
		return r.refused(err)
	}
	for i, e := range events {
		if err := r.past.Add(e, r.incidents[i]); err != nil {
			return placeError{r.places[i], err}
		}
	}
	r.body.Reset()
	r.places, r.incidents = r.places[:0], r.incidents[:0]
	return nil
}

// refused names the place of the first event that is no good.
func (r *pastReader) refused(err error) error {
	faults, ok := errors.AsType[*visutility.InvalidError](err)
	if !ok || len(faults.Fields) == 0 {
		return fmt.Errorf("%ss %d to %d: %w", r.places[0].unit, r.places[0].n, r.places[len(r.places)-1].n, err)
	}
	f := faults.Fields[0]
	place := f.Field
	at := r.places[0] // a batch of one is not numbered
	if m := eventIndex.FindStringSubmatch(place); m != nil {
		place = strings.TrimPrefix(place, m[0])
		if i, err := strconv.Atoi(m[1]); err == nil && i < len(r.places) {
			at = r.places[i]
		}
	}
	return placeError{at, fmt.Errorf("%s: %s", strings.TrimSuffix(place, ": "), f.Message)}
}
