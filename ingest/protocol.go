package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// A Request is a body in the format of another system, decompressed, with the headers it came with.
type Request struct {
	Header http.Header
	Body   []byte
	Now    time.Time // the clock that the times of events are held against
}

// A Reply is what a protocol has its sender told.
type Reply struct {
	Status      int // of HTTP
	ContentType string
	Header      map[string]string
	Body        []byte
}

// A Protocol is a format of another system: where its senders send, how it is read, what they are
// told. Its functions are safe for concurrent use.
type Protocol struct {
	// Name is what it is counted under on /metrics, and the beginning of its idempotency keys.
	Name string
	// Paths are where its senders post.
	Paths []string
	// GRPC is the service whose Export method takes the same bodies, as protobuf. Defaults to none.
	GRPC string
	// Busy is the status for "try again later" when senders take 429 for "give up". Defaults to 429.
	Busy int
	// Read turns a body into a batch. It fails as a [Decoder] does when nothing of the body can be used.
	Read func(*Source, Request) (*Batch, error)
	// Answer is what the sender of a batch is told once its events are on disk.
	Answer func(Request, *Batch) Reply
	// Refuse is what the sender is told when nothing was taken in. Defaults to nil: a problem, as of all routes.
	Refuse func(r Request, status int, text string) Reply
}

// Protocols is the table of formats of other systems. It is not changed after start-up.
var Protocols = []Protocol{
	RemoteWrite,
	OTLPMetrics,
	OTLPLogs,
	CloudEvents,
	Alertmanager,
}

// MaxProtocolBody bounds a body in the format of another system, in bytes after decompression:
// decoded it takes far more memory than an event does.
const MaxProtocolBody = 4 << 20

// contentKey is an idempotency key for protocols that have none: their senders repeat what was
// not acknowledged byte by byte, and every measurement has its time.
func contentKey(format string, body []byte) string {
	sum := sha256.Sum256(body)
	return format + ":" + hex.EncodeToString(sum[:16])
}

// malformed is [ErrSyntax] with what the decoder of a library had to say.
func malformed(err error) error { return fmt.Errorf("%w: %w", ErrSyntax, err) }
