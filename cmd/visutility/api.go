package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"
)

// A listing is a page of things and the cursor of the next page, "" on the last.
type listing[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
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

// actor is who asks, as far as the system tells: it goes into the records.
func actor() string {
	if s := os.Getenv("USER"); s != "" {
		return s
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}
