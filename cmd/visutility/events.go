package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/store"
)

func eventsCommand() *cobra.Command {
	var (
		r     remote
		after string
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follow what happens: decisions, runs, promotions",
		Long: `Follow what happens, line by line, until interrupted. After a lost connection it
goes on where it was. With -o json each line is an object; its "seq" may be
given to --after.`,
		Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			err = c.follow(cmd.Context(), after, func(data []byte) error {
				return printActivity(cmd.OutOrStdout(), data, r.json())
			})
			if cmd.Context().Err() != nil {
				return nil // interrupted, which is how it is meant to end
			}
			return err
		},
	}
	r.printing(cmd)
	cmd.Flags().StringVar(&after, "after", "", "begin after this seq (0: from the oldest that is kept); default: from now")
	return cmd
}

// follow hands over the data of each event of the stream, and connects again
// after the last one when the connection is lost. A server that was never reached is an error.
func (c *client) follow(ctx context.Context, after string, each func([]byte) error) error {
	for {
		q := url.Values{}
		set(q, "after", after)
		body, err := c.stream(ctx, request{
			method: http.MethodGet, path: "/events", query: q,
			header: http.Header{"Accept": {"text/event-stream"}},
		})
		if err == nil {
			err = readStream(body, &after, each)
			body.Close()
		} else if !c.reached || !c.transient(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, stop := errors.AsType[stopError](err); stop {
			return err
		}
		if err := c.wait(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// stopError is an error of the reader of a stream, not of the connection.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// readStream reads server-sent events until the stream ends, and keeps the id of the last whole one in last.
func readStream(r io.Reader, last *string, each func([]byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAnswer)
	var data []string
	var id string
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), ":")
		text = strings.TrimPrefix(text, " ")
		switch {
		case lines.Text() == "" && len(data) > 0:
			if err := each([]byte(strings.Join(data, "\n"))); err != nil {
				return stopError{err}
			}
			*last, data = id, nil
		case name == "data":
			data = append(data, text)
		case name == "id":
			id = text
		}
	}
	return lines.Err()
}

func printActivity(w io.Writer, data []byte, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(w, "%s\n", data)
		return err
	}
	var a store.Activity
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("the server's event is not understood: %w", err)
	}
	_, err := lipgloss.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s  %-8s  %s  %s  %s",
		a.Time.Local().Format(time.TimeOnly), a.Kind, a.Model, a.ID, summary(a)), " "))
	return err
}

// summary is what an activity is about, in a few words.
func summary(a store.Activity) string {
	// Of all kinds of activity, what people want to know.
	var data struct {
		State, Verdict, Outcome, Reason, Message, To, From, Revision, By string
		Progress                                                         float64
		Paused                                                           *bool
	}
	if json.Unmarshal(a.Data, &data) != nil {
		return string(a.Data)
	}
	switch a.Kind {
	case store.ActivityDecision:
		return paint(data.Verdict) + ", " + paint(data.Outcome) + ": " + data.Reason
	case store.ActivityRun:
		return paint(data.State)
	case store.ActivityProgress:
		return fmt.Sprintf("%.0f%%  %s", 100*data.Progress, data.Message)
	case store.ActivityAlias:
		return fmt.Sprintf("%s, was %s", data.To, orDash(data.From))
	case store.ActivityModel:
		if data.Paused != nil && *data.Paused {
			return paint("paused") + " by " + data.By + ": " + data.Reason
		}
		return ""
	case store.ActivityPolicy:
		return "revision " + data.Revision
	}
	return ""
}
