package ingest

import (
	"fmt"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// A Decoder turns a whole body into checked events. now is the clock that the
// times of events are held against. It fails with a [visutility.InvalidError]
// when fields are wrong, or an [ErrSyntax] when the body cannot be read at all;
// it then returns no events. Events do not alias body. Events of one body may
// share a labels map: it is not to be changed.
// Decoders are safe for concurrent use.
type Decoder func(body []byte, now time.Time) ([]visutility.Event, error)

// A Format is a content type and the decoder for it.
type Format struct {
	ContentType string // lower case, without parameters
	Decode      Decoder
	Lines       bool // one object a line
}

// Formats is the table of what is understood. It is not changed after start-up.
var Formats = []Format{
	{"application/json", JSON, false},
	{"application/x-ndjson", NDJSON, true},
	{"application/jsonl", NDJSON, true},
	// What curl -d says when nobody tells it the type.
	{"application/x-www-form-urlencoded", JSON, false},
}

// Lookup returns the decoder for a Content-Type header. "" means JSON. An
// unknown type is [ErrUnsupported], with the list of what is understood.
func Lookup(contentType string) (Decoder, error) {
	f, err := lookup(contentType)
	return f.Decode, err
}

func lookup(contentType string) (Format, error) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.TrimSpace(mediaType)
	if mediaType == "" {
		return Formats[0], nil
	}
	for i := range Formats {
		if strings.EqualFold(mediaType, Formats[i].ContentType) {
			return Formats[i], nil
		}
	}
	return Format{}, fmt.Errorf("%w: content type %q is not understood; send application/json or application/x-ndjson", ErrUnsupported, clip(mediaType))
}
