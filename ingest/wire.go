package ingest

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxMessages bounds the messages inside a protobuf body: an empty one takes two bytes on
	// the wire and a hundred in memory.
	maxMessages = 400_000
	// maxNesting bounds how deep they lie in each other.
	maxNesting = 32
)

// A shape says which fields of a protobuf message are messages, or other things that cost memory of their own.
type shape map[protowire.Number]shape

// checkWire looks over a body before it is decoded: it is well-formed, and what it would
// become in memory is in proportion to its size. It fails with [ErrSyntax] or [ErrTooLarge].
func checkWire(body []byte, s shape) error {
	left := maxMessages
	return walkWire(body, s, maxNesting, &left)
}

func walkWire(b []byte, s shape, depth int, left *int) error {
	if depth == 0 {
		return fmt.Errorf("%w: messages are nested more than %d deep", ErrTooLarge, maxNesting)
	}
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: it is not the protobuf message that was announced: %w", ErrSyntax, protowire.ParseError(n))
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, kind, b); n < 0 {
			return fmt.Errorf("%w: it is not the protobuf message that was announced: field %d: %w", ErrSyntax, num, protowire.ParseError(n))
		}
		if inner, ok := s[num]; ok && kind == protowire.BytesType {
			if *left--; *left < 0 {
				return fmt.Errorf("%w: over %d messages inside; send smaller batches", ErrTooLarge, maxMessages)
			}
			value, _ := protowire.ConsumeBytes(b)
			if len(inner) > 0 {
				if err := walkWire(value, inner, depth-1, left); err != nil {
					return err
				}
			}
		}
		b = b[n:]
	}
	return nil
}

// checkBraces does for JSON what checkWire does for protobuf. It counts what opens an object or a list,
// in strings too: what is refused for that alone would be strange enough.
func checkBraces(body []byte) error {
	depth, left := 0, maxMessages
	for _, c := range body {
		switch c {
		case '{', '[':
			depth++
			left--
		case '}', ']':
			depth = max(0, depth-1)
		}
		if depth > 8*maxNesting || left < 0 {
			return fmt.Errorf("%w: over %d objects inside, or nested too deep; send smaller batches", ErrTooLarge, maxMessages)
		}
	}
	return nil
}
