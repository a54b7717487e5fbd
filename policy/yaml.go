package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The limits of a policy file: what a hostile one can cost.
const (
	maxSource = 1 << 20 // bytes
	maxNodes  = 10_000  // after aliases are resolved
	maxDepth  = 32      // of nesting
)

// A node is a piece of YAML with its place. It is all that the rest of the package sees of YAML.
type node struct {
	kind  nodeKind
	at    pos
	value string  // of a scalar
	typed any     // of a scalar: nil, bool, int64, uint64, float64 or string
	items []*node // of a list
	pairs []pair  // of a map, in order
}

type nodeKind int

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mapNode
)

func (k nodeKind) String() string { return [...]string{"nothing", "a value", "a list", "a map"}[k] }

type pair struct {
	key   string
	at    pos
	value *node
}

// get returns the value of a key of a map, nil for none.
func (n *node) get(key string) *node {
	for _, p := range n.pairs {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// readYAML parses src into a node.
func readYAML(s *source, src []byte) (root *node, fault *Error) {
	if len(src) > maxSource {
		return nil, s.errorf(pos{}, "the file has %d bytes; %d are allowed", len(src), maxSource)
	}
	if at, deep := nesting(src); deep {
		return nil, s.errorf(at, "is nested more than %d deep", maxDepth)
	}
	// The parser is not ours: what makes it panic is a bad file, not a crash.
	defer func() {
		if r := recover(); r != nil {
			root, fault = nil, s.errorf(pos{1, 1}, "is not YAML that can be read: %v", r)
		}
	}()
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, s.yamlError(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, s.errorf(place(doc.Body), "a file holds one policy; this begins a second document")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, s.errorf(pos{1, 1}, "the file is empty")
	}
	c := converter{source: s, anchors: make(map[string]ast.Node), budget: maxNodes}
	return c.convert(body, maxDepth)
}

// nesting finds the place where the text nests too deep for a recursive parser
// to be handed it. It counts brackets and runs of "- " and "? ", quotes or not.
func nesting(src []byte) (pos, bool) {
	const limit = 8 * maxDepth // what stands in quotes and comments may add up
	depth, line := 0, 1
	for rest := src; len(rest) > 0; line++ {
		row := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			row, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		marks := 0
		for col, c := range row {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			case '-', '?':
				if col+1 < len(row) && (row[col+1] == ' ' || row[col+1] == '\t') {
					marks++
				}
			}
			if depth > limit || marks > limit {
				return pos{line, col + 1}, true
			}
		}
	}
	return pos{}, false
}

func (s *source) yamlError(err error) *Error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		p := y.GetToken().Position
		hint := ""
		switch {
		case strings.Contains(y.GetMessage(), "flow map"):
			hint = "; " + quoteHint
		case strings.Contains(y.GetMessage(), "mapping value is not allowed"):
			hint = "; " + colonHint
		}
		return s.errorf(pos{p.Line, p.Column}, "is not YAML: %s%s", y.GetMessage(), hint)
	}
	return s.errorf(pos{1, 1}, "is not YAML: %v", err)
}

func place(n ast.Node) pos {
	// A map's own token is its first colon: its place is that of its first key.
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	p := n.GetToken().Position
	return pos{p.Line, p.Column}
}

// A converter makes nodes, following aliases within a budget.
type converter struct {
	source  *source
	anchors map[string]ast.Node
	budget  int
}

func (c *converter) convert(n ast.Node, depth int) (*node, *Error) {
	if c.budget--; c.budget < 0 {
		return nil, c.source.errorf(place(n), "the file holds more than %d values, aliases counted where they are used", maxNodes)
	}
	if depth == 0 {
		return nil, c.source.errorf(place(n), "is nested more than %d deep", maxDepth)
	}
	out := &node{at: place(n)}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.AnchorNode:
		v, err := c.convert(n.Value, depth-1)
		c.anchors[n.Name.GetToken().Value] = n.Value // after: an anchor does not contain itself
		return v, err
	case *ast.AliasNode:
		v, ok := c.anchors[n.Value.GetToken().Value]
		if !ok {
			return nil, c.source.errorf(out.at, "the alias *%s stands for nothing above", n.Value.GetToken().Value)
		}
		return c.convert(v, depth-1)
	case *ast.SequenceNode:
		out.kind = listNode
		for _, item := range n.Values {
			v, err := c.convert(item, depth-1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, v)
		}
	case *ast.MappingNode:
		return c.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(out, []*ast.MappingValueNode{n}, depth)
	case ast.ScalarNode:
		return c.scalar(out, n)
	default:
		return nil, c.source.errorf(out.at, "%s is more YAML than a policy may use", strings.ToLower(n.Type().String()))
	}
	return out, nil
}

func (c *converter) mapping(out *node, values []*ast.MappingValueNode, depth int) (*node, *Error) {
	out.kind = mapNode
	for _, kv := range values {
		at := place(kv.Key)
		if kv.Key.IsMergeKey() {
			return nil, c.source.errorf(at, "merge keys (<<) are not supported; write the keys out")
		}
		key, ok := kv.Key.(ast.ScalarNode)
		if !ok {
			return nil, c.source.errorf(at, "a key must be a plain word")
		}
		name := fmt.Sprint(key.GetValue())
		if out.get(name) != nil {
			return nil, c.source.errorf(at, "the key %q stands here twice", name)
		}
		v, err := c.convert(kv.Value, depth-1)
		if err != nil {
			return nil, err
		}
		if v.kind == nullNode {
			v.at = at // an absent value has no place of its own
		}
		out.pairs = append(out.pairs, pair{name, at, v})
	}
	return out, nil
}

func (c *converter) scalar(out *node, n ast.ScalarNode) (*node, *Error) {
	out.kind, out.typed = scalarNode, n.GetValue()
	switch n := n.(type) {
	case *ast.StringNode:
		out.value = n.Value
	case *ast.LiteralNode:
		out.value, out.typed = n.Value.Value, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		out.value = n.GetToken().Value
		if f, err := strconv.ParseFloat(strings.ReplaceAll(out.value, "_", ""), 64); err == nil && out.typed == nil {
			out.typed = f
		}
	default:
		return nil, c.source.errorf(out.at, "%s is more YAML than a policy may use", strings.ToLower(n.Type().String()))
	}
	return out, nil
}

// locate is the place in the source of the character at an offset in a
// scalar's value. YAML folds lines, strips indentation and quotes; so it walks the
// source beside the value, letting white space and what quotes need go by.
func (s *source) locate(n *node, offset int) pos {
	at := n.at
	if at.line > len(s.lines) {
		return at
	}
	row := []rune(s.lines[at.line-1])
	col := at.col - 1
	if col < len(row) && (row[col] == '|' || row[col] == '>') {
		col = len(row) // a block begins on the next line
	}
	line := at.line
	for i, r := range []rune(n.value) {
		if unicode.IsSpace(r) {
			continue
		}
		// Skip what is not part of the value.
		for {
			if col >= len(row) {
				if line >= len(s.lines) {
					return at
				}
				line, col = line+1, 0
				row = []rune(s.lines[line-1])
				continue
			}
			if row[col] == r {
				break
			}
			if !unicode.IsSpace(row[col]) && !strings.ContainsRune(`"'\`, row[col]) {
				return at // an escape that spells a character otherwise
			}
			col++
		}
		at = pos{line, col + 1}
		if i >= offset {
			return at
		}
		col++
	}
	if offset > 0 {
		at.col++ // behind the last character: "unexpected end"
	}
	return at
}
