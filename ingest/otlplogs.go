package ingest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// evaluationEvent is the name of the event by which OpenTelemetry tells how an answer of a generative model
// was judged. Its attributes are semantic conventions in development.
const evaluationEvent = "gen_ai.evaluation.result"

// OTLPLogs takes the evaluations of generative models out of OpenTelemetry's logs: the name of the evaluation is
// the metric, its score the value. All other records are passed over.
var OTLPLogs = Protocol{
	Name:  "otlp_logs",
	Paths: []string{"/v1/logs"},
	GRPC:  "opentelemetry.proto.collector.logs.v1.LogsService",
	Read: func(s *Source, r Request) (*Batch, error) {
		req := plogotlp.NewExportRequest()
		if err := readOTLP(r, shapeLogs, req.UnmarshalProto, req.UnmarshalJSON); err != nil {
			return nil, err
		}
		b := ReadLogs(s, req.Logs(), r.Now)
		b.Key = contentKey("otlp", r.Body)
		return b, nil
	},
	Answer: func(r Request, b *Batch) Reply { return answerOTLP(r, LogsAnswer(b)) },
	Refuse: refuseOTLP,
}

// ReadLogs turns OpenTelemetry's log records into a batch without a key.
func ReadLogs(s *Source, l plog.Logs, now time.Time) *Batch {
	b := s.begin(now)
	var attrs, rest []attribute
	for i, rl := range l.ResourceLogs().All() {
		for k, sl := range rl.ScopeLogs().All() {
			rest = appendAttributes(rest[:0], sl.Scope().Attributes(), false)
			rest = appendAttributes(rest, rl.Resource().Attributes(), false)
			for j, rec := range sl.LogRecords().All() {
				if !isEvaluation(rec) {
					b.ignore(reasonUnsupported)
					continue
				}
				attrs = append(appendAttributes(attrs[:0], rec.Attributes(), true), rest...)
				for a := range attrs { // what the conventions say is not a segment, unless it is named as one
					if strings.HasPrefix(attrs[a].name, "gen_ai.") || strings.HasPrefix(attrs[a].name, "error.") || attrs[a].name == "event.name" {
						attrs[a].own = false
					}
				}
				readEvaluation(s, b, rec, attrs, func() string {
					return fmt.Sprintf("resourceLogs[%d].scopeLogs[%d].logRecords[%d]", i, k, j)
				})
			}
		}
	}
	return b
}

func isEvaluation(rec plog.LogRecord) bool {
	if rec.EventName() == evaluationEvent {
		return true
	}
	name, ok := rec.Attributes().Get("event.name") // of SDKs before events had names
	return ok && name.AsString() == evaluationEvent
}

func readEvaluation(s *Source, b *Batch, rec plog.LogRecord, attrs []attribute, field func() string) {
	name, _ := rec.Attributes().Get("gen_ai.evaluation.name")
	score, ok := rec.Attributes().Get("gen_ai.evaluation.score.value")
	if !ok {
		b.ignore(reasonNoValue) // judged with a word only
		return
	}
	var v float64
	switch score.Type() {
	case pcommon.ValueTypeDouble:
		v = score.Double()
	case pcommon.ValueTypeInt:
		v = float64(score.Int())
	default:
		var err error
		if v, err = strconv.ParseFloat(score.AsString(), 64); err != nil {
			b.refuse(field()+".attributes.gen_ai.evaluation.score.value", "type", "is %q; send a number", clip(score.AsString()))
			return
		}
	}
	at := rec.Timestamp()
	if at == 0 {
		at = rec.ObservedTimestamp()
	}
	r := reading{field: field, metric: name.AsString(), value: v}
	if at != 0 {
		r.time = at.AsTime()
	}
	s.add(b, s.identify(attrs), r)
}

// LogsAnswer is the response to a request for logs: whole or partial success.
func LogsAnswer(b *Batch) plogotlp.ExportResponse {
	res := plogotlp.NewExportResponse()
	if n := b.RefusedCount(); n > 0 {
		res.PartialSuccess().SetRejectedLogRecords(int64(n))
		res.PartialSuccess().SetErrorMessage(b.Summary())
	}
	return res
}
