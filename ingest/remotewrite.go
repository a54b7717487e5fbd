package ingest

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// RemoteWrite is what Prometheus and its relatives send: remote write 1.0 and 2.0. A sample's value
// is a measurement; a native histogram's increase since the one before is one of its mean. What is good is
// taken in even when the rest of the request is refused with status 400, as the specification wants.
var RemoteWrite = Protocol{
	Name:   "remote_write",
	Paths:  []string{"/api/v1/write"},
	Busy:   http.StatusServiceUnavailable, // Prometheus drops what is answered 429, unless configured otherwise
	Read:   readRemoteWrite,
	Answer: answerRemoteWrite,
	Refuse: func(_ Request, status int, text string) Reply {
		return Reply{Status: status, ContentType: "text/plain; charset=utf-8", Body: []byte(text + "\n"), Header: written(0, 0)}
	},
}

var (
	shapeV1 = shape{1: {1: nil, 2: nil, 3: {1: nil}, 4: {8: nil, 11: nil}}, 3: nil}
	shapeV2 = shape{4: nil, 5: {2: nil, 3: {8: nil, 11: nil}, 4: nil, 5: nil}}
)

func readRemoteWrite(s *Source, r Request) (*Batch, error) {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/x-protobuf"
	}
	kind, err := remote.ParseProtoMsg(contentType)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	b := s.begin(r.Now)
	b.Key = contentKey("rw", r.Body)
	w := writeReader{s: s, b: b}
	if kind == remote.WriteV2MessageType {
		return b, w.v2(r.Body)
	}
	return b, w.v1(r.Body)
}

// A writeReader reads a request of remote write.
type writeReader struct {
	s     *Source
	b     *Batch
	attrs []attribute
}

func (w *writeReader) v1(body []byte) error {
	if err := checkWire(body, shapeV1); err != nil {
		return err
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(body); err != nil {
		return malformed(err)
	}
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		w.attrs = w.attrs[:0]
		metric := ""
		for _, l := range ts.Labels {
			w.label(&metric, l.Name, l.Value)
		}
		id := w.s.identify(w.attrs)
		for k := range ts.Samples {
			w.sample(i, k, metric, id, ts.Samples[k].Value, ts.Samples[k].Timestamp)
		}
		for k := range ts.Histograms {
			h := &ts.Histograms[k]
			count := h.GetCountInt()
			if f, ok := h.Count.(*prompb.Histogram_CountFloat); ok {
				count = wholeCount(f.CountFloat)
			}
			w.histogram(i, k, metric, id, h.Sum, count, 0, h.Timestamp)
		}
	}
	return nil
}

func (w *writeReader) v2(body []byte) error {
	if err := checkWire(body, shapeV2); err != nil {
		return err
	}
	var req writev2.Request
	if err := req.Unmarshal(body); err != nil {
		return malformed(err)
	}
	if len(req.Symbols) > 0 && req.Symbols[0] != "" {
		return fmt.Errorf("%w: symbols[0] is %q; remote write 2.0 wants it empty", ErrSyntax, clip(req.Symbols[0]))
	}
	for i, ts := range req.Timeseries {
		w.attrs = w.attrs[:0]
		metric := ""
		if len(ts.LabelsRefs)%2 != 0 {
			return fmt.Errorf("%w: timeseries[%d].labels_refs has an odd number of references", ErrSyntax, i)
		}
		for k := 0; k < len(ts.LabelsRefs); k += 2 {
			name, val := ts.LabelsRefs[k], ts.LabelsRefs[k+1]
			if int(max(name, val)) >= len(req.Symbols) {
				return fmt.Errorf("%w: timeseries[%d].labels_refs points at symbol %d; there are %d", ErrSyntax, i, max(name, val), len(req.Symbols))
			}
			w.label(&metric, req.Symbols[name], req.Symbols[val])
		}
		id := w.s.identify(w.attrs)
		for k, sample := range ts.Samples {
			w.sample(i, k, metric, id, sample.Value, sample.Timestamp)
		}
		for k, h := range ts.Histograms {
			count := h.GetCountInt()
			if f, ok := h.Count.(*writev2.Histogram_CountFloat); ok {
				count = wholeCount(f.CountFloat)
			}
			w.histogram(i, k, metric, id, h.Sum, count, h.StartTimestamp, h.Timestamp)
		}
	}
	return nil
}

func (w *writeReader) label(metric *string, name, val string) {
	if name == "__name__" {
		*metric = val
		return
	}
	w.attrs = append(w.attrs, attribute{name, val, true})
}

func (w *writeReader) sample(series, i int, metric string, id identity, v float64, ms int64) {
	switch {
	case value.IsStaleNaN(v):
		w.b.ignore(reasonStale)
		w.b.samples++ // understood, and nothing to keep
		return
	case w.isBucket():
		w.b.ignore(reasonBucket)
		w.b.samples++
		return
	}
	if w.s.add(w.b, id, reading{field: w.place(series, "samples", i), metric: metric, value: v, time: time.UnixMilli(ms)}) {
		w.b.samples++
	}
}

// isBucket tells the buckets of classic histograms, of which a label holds the bound.
func (w *writeReader) isBucket() bool {
	_, le := pick(w.attrs, []string{"le"})
	return le >= 0
}

func (w *writeReader) histogram(series, i int, metric string, id identity, sum float64, count uint64, start, ms int64) {
	if value.IsStaleNaN(sum) {
		w.b.ignore(reasonStale)
		w.b.histograms++
		return
	}
	key := w.s.totals.key(metric, id, w.attrs)
	sum, count, why := w.s.totals.increase(w.b, key, total{sum: sum, count: count, start: start * 1e6, at: ms * 1e6})
	if why != "" {
		w.b.ignore(why)
		w.b.histograms++
		return
	}
	r := reading{field: w.place(series, "histograms", i), metric: metric, value: sum / float64(count), time: time.UnixMilli(ms), count: count}
	if w.s.add(w.b, id, r) {
		w.b.histograms++
	}
}

func (w *writeReader) place(series int, list string, i int) func() string {
	return func() string { return fmt.Sprintf("timeseries[%d].%s[%d]", series, list, i) }
}

// wholeCount is the number of samples in a histogram that counts in fractions.
func wholeCount(f float64) uint64 {
	if !(f >= 0) || f > math.MaxInt64/2 {
		return 0
	}
	return uint64(math.Round(f))
}

func answerRemoteWrite(_ Request, b *Batch) Reply {
	r := Reply{Status: http.StatusNoContent, Header: written(b.samples, b.histograms)}
	if text := b.Summary(); text != "" {
		r.Status, r.ContentType, r.Body = http.StatusBadRequest, "text/plain; charset=utf-8", []byte(text+"\n")
	}
	return r
}

// written are the headers by which a sender of 2.0 learns what was kept. Exemplars are not.
func written(samples, histograms int) map[string]string {
	return map[string]string{
		"X-Prometheus-Remote-Write-Samples-Written":    strconv.Itoa(samples),
		"X-Prometheus-Remote-Write-Histograms-Written": strconv.Itoa(histograms),
		"X-Prometheus-Remote-Write-Exemplars-Written":  "0",
	}
}
