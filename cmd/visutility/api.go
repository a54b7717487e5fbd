package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/visutility/visutility"
)

// The answers of the API, as far as tables show them; -o json shows all that
// the server said.

// A list is a page of things and the cursor of the next page, "" on the last.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

type model struct {
	Name      string             `json:"name"`
	Champion  string             `json:"champion"`
	Paused    bool               `json:"paused"`
	PausedBy  string             `json:"paused_by"`
	Reason    string             `json:"paused_reason"`
	Verdict   visutility.Verdict `json:"verdict"`
	Policies  []string           `json:"policies"`
	Events    int64              `json:"events"`
	Metrics   []metric           `json:"metrics"`
	LastEvent time.Time          `json:"last_event_at"`
	ActiveRun string             `json:"active_run"`
	Decision  string             `json:"last_decision"`
}

type metric struct {
	Name     string    `json:"name"`
	Last     float64   `json:"last"`
	LastTime time.Time `json:"last_time"`
	Count    int64     `json:"count"`
}

type runDetail struct {
	visutility.Run
	Transitions []visutility.Transition `json:"transitions"`
}

// paging is the flags of a command that lists.
type paging struct {
	limit  int
	cursor string
}

func (g *paging) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&g.limit, "limit", 50, "how many to list")
	cmd.Flags().StringVar(&g.cursor, "cursor", "", "where to go on: the cursor that the page before ended with")
}

func (g *paging) query() url.Values {
	q := url.Values{"limit": {strconv.Itoa(g.limit)}}
	if g.cursor != "" {
		q.Set("cursor", g.cursor)
	}
	return q
}

// decode reads the server's answer.
func decode[T any](raw json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("the server's answer is not understood (are client and server of the same version?): %w", err)
	}
	return v, nil
}

// show prints the server's answer: as it is for -o json, else as draw draws it.
func show[T any](cmd *cobra.Command, out *output, raw json.RawMessage, draw func(*page, T)) error {
	if out.json() {
		return out.print(cmd, raw, nil)
	}
	v, err := decode[T](raw)
	if err != nil {
		return err
	}
	return out.print(cmd, nil, func(p *page) { draw(p, v) })
}

// actor is who asks, as far as the environment tells: it goes into the records.
func actor() string {
	for _, name := range []string{"USER", "LOGNAME", "USERNAME"} {
		if s := os.Getenv(name); s != "" {
			return s
		}
	}
	return ""
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}
