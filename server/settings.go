package server

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility/dispatch"
)

// Settings are what the server was started with, but for secrets.
type Settings struct {
	TokenRequired  bool     `json:"token_required"`
	AllowedHosts   []string `json:"allowed_hosts" nullable:"false" doc:"Names, beside loopback and the address, that the server goes by."`
	AllowedOrigins []string `json:"allowed_origins" nullable:"false" doc:"Other sites whose pages may change state here."`
	Limits         Limits   `json:"limits"`
}

// Limits are the bounds that the server keeps to.
type Limits struct {
	Partitions        int    `json:"partitions" doc:"Of the log."`
	Series            int    `json:"series" doc:"Distinct series accepted so far."`
	MaxSeries         int    `json:"max_series"`
	MaxRuns           int    `json:"max_runs" doc:"Trainings under way at once."`
	Streams           int    `json:"streams" doc:"Event and log streams open now."`
	MaxStreams        int    `json:"max_streams"`
	MaxBody           int64  `json:"max_body" doc:"Of a body of metrics, in bytes after decompression."`
	IngestMemory      int64  `json:"ingest_memory" doc:"Of all such bodies at once, in bytes."`
	MaxLogBytes       int64  `json:"max_log_bytes" doc:"Of the log on disk."`
	Retention         string `json:"retention" doc:"Of the log."`
	HistoryRetention  string `json:"history_retention"`
	DecisionRetention string `json:"decision_retention" doc:"Of decisions and ended runs."`
}

func (s *server) settingsRoutes(api huma.API) {
	register(s, api, get("list-observers", "/observers", "List the observers of the log, and how they do"), s.listObservers)
	register(s, api, get("get-version-of-server", "/version", "Get the version of the server"), s.programVersion)
	register(s, api, get("get-settings", "/settings", "Get what the server was started with, and its limits"), s.settings)
}

func (s *server) listObservers(context.Context, *struct{}) (*reply[pageOf[dispatch.Status]], error) {
	return page(s.Engine.Observers(), ""), nil
}

func (s *server) settings(context.Context, *struct{}) (*reply[Settings], error) {
	l := s.Engine.Limits()
	return &reply[Settings]{Settings{
		TokenRequired: s.Token != "", AllowedHosts: append([]string{}, s.AllowedHosts...), AllowedOrigins: append([]string{}, s.AllowedOrigins...),
		Limits: Limits{
			Partitions: l.Partitions, Series: l.Series, MaxSeries: l.MaxSeries, MaxRuns: l.MaxRuns,
			Streams: len(s.streams), MaxStreams: s.MaxStreams, MaxBody: s.MaxBody, IngestMemory: s.IngestMemory, MaxLogBytes: l.MaxLogBytes,
			Retention: l.Retention.String(), HistoryRetention: l.HistoryRetention.String(), DecisionRetention: l.DecisionRetention.String(),
		},
	}}, nil
}
