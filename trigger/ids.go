package trigger

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"

	"github.com/visutility/visutility"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// A place is where in the log something was decided.
type place struct {
	partition int
	position  visutility.Position
	index     int // of the record or control in the entry; len(Records) for the clock
}

// id derives an identity from what decided, about what, and where in the log: a
// replay gives the same. kind is "d" for decisions and "r" for runs.
func (p place) id(kind, model, policy string) string {
	h := sha256.New()
	for _, s := range []string{model, policy, strconv.Itoa(p.partition), strconv.FormatUint(uint64(p.position), 10), strconv.Itoa(p.index)} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return kind + idEncoding.EncodeToString(h.Sum(nil)[:10])
}
