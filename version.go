package visutility

import "time"

// The alias that names the version that serves.
const Champion = "champion"

// A Version is an immutable entry of the registry: a trained model with its
// measurements and where it came from.
type Version struct {
	// ID names the version within its model: "v1", "v2", …
	ID       string   `json:"id"`
	Model    string   `json:"model"`
	Artifact Artifact `json:"artifact"`
	// Metrics are what the version scored on the hold-out of its training.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Lineage: parent is the champion at the time, "" for none.
	Run       string    `json:"run,omitempty"`
	Decision  string    `json:"decision,omitempty"`
	Parent    string    `json:"parent,omitempty"`
	Window    Window    `json:"window"`
	CreatedAt time.Time `json:"created_at"`
	// Aliases are the movable names that point at the version now.
	Aliases []string `json:"aliases,omitempty"`
}

// An Artifact is what a training left: bytes by URI and digest, and measurements.
type Artifact struct {
	// URI says where the bytes are. A path in the run's own directory is moved to
	// the registry's store and becomes a file URI; any other URI is kept as it is
	// and never opened.
	URI    string `json:"uri"`
	SHA256 string `json:"sha256,omitempty"` // lower-case hex; "" when the bytes are elsewhere
	Size   int64  `json:"size,omitempty"`   // bytes; 0 when the bytes are elsewhere
	// Metrics are what the challenger scored on its hold-out, ChampionMetrics
	// what the champion scored on the same, where the trainer could tell.
	Metrics         map[string]float64 `json:"metrics,omitempty"`
	ChampionMetrics map[string]float64 `json:"champion_metrics,omitempty"`
}
