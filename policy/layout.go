package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/visutility/visutility"
)

// A layout says what is where in a state. Its JSON is stored with snapshots,
// so that a later program can tell which parts it shares with an earlier one:
// those with the same key.
type layout struct {
	Version   int    `json:"version"`
	Words     int    `json:"words"`
	Operators []part `json:"operators"`
}

type part struct {
	Key string `json:"key"`
	At  int    `json:"at"`
	Len int    `json:"len"`
}

// layoutVersion grows when the words of an operator change their meaning.
const layoutVersion = 1

// parts are the parts of a state that mean something to another program. The values of slots do not:
// they are read anew before every use.
func (p *Program) parts() []part {
	parts := []part{{"head", 0, headWords}}
	for _, m := range p.machines {
		kind := "when"
		if m.rollback {
			kind = "rollback"
		}
		parts = append(parts, part{fmt.Sprintf("%s(%q %s)", kind, p.policyOf(m).Name, m.key()), m.at, machineWords})
	}
	for _, o := range p.operators {
		parts = append(parts, part{o.key, o.at, o.words})
	}
	return parts
}

func (p *Program) policyOf(m machine) *Policy {
	for i, pol := range p.policies {
		if m.look == 1<<i {
			return pol
		}
	}
	return nil
}

func (p *Program) describe() {
	b, _ := json.Marshal(layout{layoutVersion, p.words, p.parts()}) // numbers and strings: cannot fail
	sum := sha256.Sum256(b)
	p.layout, p.digest = b, hex.EncodeToString(sum[:8])
}

// Layout is a JSON description of a state: {"version", "words", "operators": [{"key", "at", "len"}]}.
// Two programs with equal layouts understand each other's states. Do not change the bytes.
func (p *Program) Layout() []byte { return p.layout }

// Digest is a short name of the layout: 16 hex digits.
func (p *Program) Digest() string { return p.digest }

// Migrate makes dst the state that continues src, a state of another program
// with that layout: operators and conditions that are the same in both carry on,
// the rest starts afresh. Afterwards dst is independent of src. On error, which is
// [visutility.ErrInvalid], dst is a fresh state.
func (p *Program) Migrate(dst []uint64, from []byte, src []uint64) error {
	p.Init(dst)
	var old layout
	if err := json.Unmarshal(from, &old); err != nil {
		return visutility.Invalidf("layout", "json", "is not readable: %v", err)
	}
	if old.Version != layoutVersion || old.Words != len(src) {
		return visutility.Invalidf("layout", "version", "has version %d and %d words; this program reads version %d and was given %d words", old.Version, old.Words, layoutVersion, len(src))
	}
	known := make(map[string]part, len(old.Operators))
	for _, x := range old.Operators {
		if x.At < 0 || x.Len < 0 || x.At > len(src) || x.Len > len(src)-x.At {
			return visutility.Invalidf("layout", "range", "places %q outside of the state", x.Key)
		}
		known[x.Key] = x
	}
	for _, x := range p.parts() {
		// Keys tell operators apart wherever they are; a length that differs means another version of one.
		if o, ok := known[x.Key]; ok && o.Len == x.Len {
			copy(dst[x.At:x.At+x.Len], src[o.At:o.At+o.Len])
		}
	}
	dst[headBreached], dst[headReverting] = 0, 0 // bits of another program's policies
	for _, m := range p.machines {
		if dst[m.at] != 0 {
			dst[m.active] |= m.look
		}
	}
	for _, o := range p.operators {
		if _, ok := known[o.key]; !ok && o.kind == seen {
			dst[o.at] = dst[headStored] // nobody listened for it before now: it has not been absent
		}
	}
	return nil
}
