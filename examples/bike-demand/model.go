package bikedemand

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

const (
	treeCount    = 150
	learningRate = 0.1
	// modelMagic begins a model file; the number is that of the format.
	modelMagic = "bike-demand model 1\n"
	maxModel   = 64 << 20 // bytes of a model file that are read
)

// A Model predicts the rentals of an hour.
type Model struct {
	Features []string
	Digest   string    // of the stream that it learnt from
	From, To time.Time // the hours that it learnt from: those that begin in [From, To)
	Trees    *Trees    // they predict the root of the rentals, see fit
}

// fit trains a model on hours. It learns the square root of the rentals: a busy
// hour's error then does not drown those of the quiet ones.
func fit(digest string, hours []Hour, progress func(trees int) error) (*Model, error) {
	if len(hours) < 2*minLeaf {
		return nil, fmt.Errorf("%d hours are too few to train on", len(hours))
	}
	rows := make([][]float64, len(hours))
	roots := make([]float64, len(hours))
	for i := range hours {
		rows[i] = hours[i].row()
		roots[i] = math.Sqrt(hours[i].Rentals())
	}
	trees, err := grow(rows, roots, treeCount, learningRate, progress)
	if err != nil {
		return nil, err
	}
	return &Model{
		Features: featureNames, Digest: digest, Trees: trees,
		From: hours[0].Time, To: hours[len(hours)-1].Time.Add(time.Hour),
	}, nil
}

// Predict returns the rentals to expect in the circumstances of h.
func (m *Model) Predict(h *Hour) float64 {
	root := max(0, m.Trees.Predict(h.row()))
	return root * root
}

// score is the model's WMAPE over hours: the absolute errors together, over the
// rentals together. It fails where nothing was rented, and it has no value.
func (m *Model) score(hours []Hour) (float64, error) {
	off, all := 0.0, 0.0
	for i := range hours {
		truth := hours[i].Rentals()
		off += math.Abs(truth - m.Predict(&hours[i]))
		all += truth
	}
	if all == 0 {
		return 0, fmt.Errorf("there is nothing to score on: no rentals in %d hours", len(hours))
	}
	return off / all, nil
}

// encode writes the model's file.
func (m *Model) encode() ([]byte, error) {
	b := bytes.NewBufferString(modelMagic)
	if err := gob.NewEncoder(b).Encode(m); err != nil {
		return nil, fmt.Errorf("encode the model: %w", err)
	}
	return b.Bytes(), nil
}

// decodeModel reads a model's file, and refuses one that could not be used.
func decodeModel(b []byte) (*Model, error) {
	body, ok := bytes.CutPrefix(b, []byte(modelMagic))
	if !ok {
		return nil, errors.New("this is not a model file of this version of the program")
	}
	var m Model
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&m); err != nil {
		return nil, fmt.Errorf("decode the model: %w", err)
	}
	if strings.Join(m.Features, ",") != strings.Join(featureNames, ",") {
		return nil, fmt.Errorf("the model wants other features: %s", strings.Join(m.Features, ", "))
	}
	if m.Trees == nil {
		return nil, errors.New("the model has no trees")
	}
	if err := m.Trees.check(len(m.Features)); err != nil {
		return nil, fmt.Errorf("check the model: %w", err)
	}
	return &m, nil
}

// loadArtifact reads the model that a version of the registry points at. The
// registry keeps files on the server's machine: that is where this has to run.
func loadArtifact(a visutility.Artifact) (*Model, error) {
	u, err := url.Parse(a.URI)
	if err != nil {
		return nil, fmt.Errorf("the artifact's address: %w", err)
	}
	if u.Scheme != "file" || u.Path == "" {
		return nil, fmt.Errorf("the artifact %q is not a file", a.URI)
	}
	info, err := os.Stat(u.Path)
	if err != nil {
		return nil, fmt.Errorf("the artifact (is the server on this machine?): %w", err)
	}
	if info.Size() > maxModel {
		return nil, fmt.Errorf("the artifact %s has %d bytes; a model has at most %d", u.Path, info.Size(), maxModel)
	}
	b, err := os.ReadFile(u.Path)
	if err != nil {
		return nil, fmt.Errorf("the artifact: %w", err)
	}
	if sum := sha256.Sum256(b); a.SHA256 != "" && hex.EncodeToString(sum[:]) != a.SHA256 {
		return nil, fmt.Errorf("the artifact %s is not the file that was registered: its SHA-256 differs", u.Path)
	}
	m, err := decodeModel(b)
	if err != nil {
		return nil, fmt.Errorf("the artifact %s: %w", u.Path, err)
	}
	return m, nil
}
