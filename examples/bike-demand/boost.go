package bikedemand

import (
	"fmt"
	"slices"
)

// Gradient-boosted regression trees with histogram splits: every feature is cut
// into at most maxBins bins once; a tree is then grown from sums over bins, and
// each tree learns what the ones before it left over (squared error).
// There is no randomness in it: the same rows give the same model.
const (
	maxBins  = 64
	lambda   = 1.0 // shrinks the leaves that few rows reach
	minGain  = 1e-9
	minLeaf  = 20
	maxDepth = 6
)

// A Node is a split, or a leaf where Feature is negative. Children come after
// their parent in the tree.
type Node struct {
	Feature     int     // column compared, or -1
	Threshold   float64 // left when the value is at most this
	Left, Right int     // places in the tree
	Value       float64 // of a leaf
}

// A Tree is its nodes, the root first.
type Tree []Node

func (t Tree) predict(row []float64) float64 {
	i := 0
	for t[i].Feature >= 0 {
		if row[t[i].Feature] <= t[i].Threshold {
			i = t[i].Left
		} else {
			i = t[i].Right
		}
	}
	return t[i].Value
}

// Trees is a trained ensemble.
type Trees struct {
	Base  float64 // the mean of what was learnt from
	Trees []Tree
}

// Predict returns the ensemble's estimate for a row of features.
func (m *Trees) Predict(row []float64) float64 {
	y := m.Base
	for _, t := range m.Trees {
		y += t.predict(row)
	}
	return y
}

// check says whether an ensemble that was read from a file can be walked: every
// feature exists, and every child comes after its parent (so that walks end).
func (m *Trees) check(features int) error {
	for i, t := range m.Trees {
		if len(t) == 0 {
			return fmt.Errorf("tree %d is empty", i)
		}
		for j, n := range t {
			if n.Feature < 0 {
				continue
			}
			if n.Feature >= features || n.Left <= j || n.Right <= j || n.Left >= len(t) || n.Right >= len(t) {
				return fmt.Errorf("tree %d is broken at node %d", i, j)
			}
		}
	}
	return nil
}

// grow trains an ensemble of n trees. progress is told after each tree; the
// error it returns ends the training.
func grow(rows [][]float64, y []float64, n int, rate float64, progress func(trees int) error) (*Trees, error) {
	b := newBuilder(rows, y, rate)
	m := &Trees{Base: b.base}
	for len(m.Trees) < n {
		m.Trees = append(m.Trees, b.tree())
		if err := progress(len(m.Trees)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// A builder holds the binned rows and what the trees so far left over.
type builder struct {
	rate     float64
	base     float64
	edges    [][]float64 // by feature: the upper edges of its bins but the last
	bins     [][]uint8   // by feature, by row
	residual []float64   // by row
	order    []int32     // rows, kept so that those of a node are side by side
	spare    []int32
	nodes    Tree
}

func newBuilder(rows [][]float64, y []float64, rate float64) *builder {
	b := &builder{rate: rate, residual: make([]float64, len(y)), order: make([]int32, len(y)), spare: make([]int32, len(y))}
	for _, v := range y {
		b.base += v / float64(len(y))
	}
	for i, v := range y {
		b.residual[i] = v - b.base
	}
	column := make([]float64, len(rows))
	for f := range rows[0] {
		for i := range rows {
			column[i] = rows[i][f]
		}
		edges := binEdges(column)
		bins := make([]uint8, len(rows))
		for i, v := range column {
			at, _ := slices.BinarySearch(edges, v)
			bins[i] = uint8(at)
		}
		b.edges = append(b.edges, edges)
		b.bins = append(b.bins, bins)
	}
	return b
}

// binEdges cuts a column at its quantiles. A value v is in the first bin whose edge is at least v.
func binEdges(column []float64) []float64 {
	sorted := slices.Sorted(slices.Values(column))
	distinct := slices.Compact(slices.Clone(sorted))
	if len(distinct) <= maxBins {
		return distinct[:len(distinct)-1]
	}
	var edges []float64
	for i := 1; i < maxBins; i++ {
		edges = append(edges, sorted[i*len(sorted)/maxBins])
	}
	return slices.Compact(edges)
}

// tree grows one tree on the residuals and takes its predictions off them.
func (b *builder) tree() Tree {
	for i := range b.order {
		b.order[i] = int32(i)
	}
	b.nodes = nil
	b.split(b.order, maxDepth)
	return b.nodes
}

// split appends the subtree for the given rows and returns its place.
func (b *builder) split(rows []int32, depth int) int {
	at := len(b.nodes)
	b.nodes = append(b.nodes, Node{Feature: -1})
	sum := 0.0
	for _, r := range rows {
		sum += b.residual[r]
	}
	feature, bin := -1, 0
	if depth > 0 && len(rows) >= 2*minLeaf {
		feature, bin = b.best(rows, sum)
	}
	if feature < 0 {
		value := b.rate * sum / (float64(len(rows)) + lambda)
		b.nodes[at].Value = value
		for _, r := range rows {
			b.residual[r] -= value
		}
		return at
	}
	cut := b.partition(rows, feature, uint8(bin))
	left := b.split(rows[:cut], depth-1)
	right := b.split(rows[cut:], depth-1)
	b.nodes[at] = Node{Feature: feature, Threshold: b.edges[feature][bin], Left: left, Right: right}
	return at
}

// best finds the feature and the bin after which to cut, feature -1 when no cut helps.
func (b *builder) best(rows []int32, sum float64) (feature, bin int) {
	feature = -1
	total := float64(len(rows))
	gain := sum*sum/(total+lambda) + minGain
	for f, bins := range b.bins {
		var sums [maxBins]float64
		var counts [maxBins]float64
		for _, r := range rows {
			k := bins[r] % maxBins // always below; spares the bounds check
			sums[k] += b.residual[r]
			counts[k]++
		}
		left, n := 0.0, 0.0
		for k := range b.edges[f] {
			left += sums[k]
			n += counts[k]
			if n < minLeaf || total-n < minLeaf {
				continue
			}
			right := sum - left
			if g := left*left/(n+lambda) + right*right/(total-n+lambda); g > gain {
				gain, feature, bin = g, f, k
			}
		}
	}
	return feature, bin
}

// partition puts the rows of the left side first, keeping their order, and returns how many they are.
func (b *builder) partition(rows []int32, feature int, bin uint8) int {
	bins := b.bins[feature]
	spare := b.spare[:0]
	cut := 0
	for _, r := range rows {
		if bins[r] <= bin {
			rows[cut] = r
			cut++
		} else {
			spare = append(spare, r)
		}
	}
	copy(rows[cut:], spare)
	return cut
}
