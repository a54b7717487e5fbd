package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

const (
	positionName   = "position.json"
	positionFormat = 1

	saveEvery = time.Second // positions are saved no more often
	markEvery = time.Hour
	maxMarks  = 24
)

// A positionFile is what position.json holds.
type positionFile struct {
	Version   int                         `json:"version"`
	Positions map[int]visutility.Position `json:"positions"` // by partition
	Marks     []mark                      `json:"marks"`     // oldest first, never empty
}

// A mark is where the positions were.
type mark struct {
	Time      time.Time                   `json:"time"`
	Positions map[int]visutility.Position `json:"positions"`
}

func newPositionFile(now time.Time) positionFile {
	return positionFile{
		Version:   positionFormat,
		Positions: map[int]visutility.Position{},
		Marks:     []mark{{Time: now.UTC(), Positions: map[int]visutility.Position{}}},
	}
}

// rewound goes back to the oldest mark.
func (f positionFile) rewound() positionFile {
	f.Marks = f.Marks[:1:1]
	f.Positions = maps.Clone(f.Marks[0].Positions)
	return f
}

// advanced returns a file with new positions, and a mark if it is time for one.
func (f positionFile) advanced(positions map[int]visutility.Position, now time.Time) positionFile {
	f.Positions = positions
	if now.Sub(f.Marks[len(f.Marks)-1].Time) >= markEvery {
		keep := f.Marks[max(0, len(f.Marks)+1-maxMarks):]
		f.Marks = append(append([]mark{}, keep...), mark{now.UTC(), maps.Clone(positions)})
	}
	return f
}

// errUnreadable says that position.json is there and makes no sense.
var errUnreadable = errors.New("position file cannot be read")

// readPositions returns fs.ErrNotExist when there is no file and errUnreadable when it is damaged.
func readPositions(dir string) (positionFile, error) {
	var f positionFile
	b, err := os.ReadFile(filepath.Join(dir, positionName))
	if err != nil {
		return f, fmt.Errorf("read positions: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if f.Version > positionFormat {
		return f, fmt.Errorf("%s has version %d, written by a newer release; this one knows %d: %w", positionName, f.Version, positionFormat, visutility.ErrInvalid)
	}
	if f.Version < 1 || f.Positions == nil || len(f.Marks) == 0 {
		return f, errUnreadable
	}
	return f, nil
}

// writePositions replaces the file, whole or not at all.
func writePositions(dir string, f positionFile) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("save positions: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, positionName), append(bytes.TrimSpace(b), '\n'), 0o644); err != nil {
		return fmt.Errorf("save positions: %w", err)
	}
	return nil
}

// syncFile makes durable what has been written to a file, by whomever.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// freeze keeps positions as they are on record until the next start. After a failed commit, the database may know
// series in memory that its own log lacks, so that what is appended to them would not
// survive; reading all of it again at the next start is the cure.
func (h *History) freeze(ctx context.Context) {
	if !h.frozen.Swap(true) {
		h.options.Logger.LogAttrs(ctx, slog.LevelWarn, "history could not be written; it goes on, and reads again from here at the next start")
	}
}

// savePositions saves how far the partitions have come, unless that was done less than an interval ago.
func (h *History) savePositions(interval time.Duration) error {
	if !h.saving.TryLock() {
		return nil // somebody is at it
	}
	defer h.saving.Unlock()
	now := time.Now()
	if now.Sub(h.savedAt) < interval || h.frozen.Load() {
		return nil
	}
	positions := make(map[int]visutility.Position)
	h.mu.RLock()
	for number, p := range h.partitions {
		if at := visutility.Position(p.durable.Load()); at > 0 {
			positions[number] = at
		}
	}
	h.mu.RUnlock()
	if maps.Equal(positions, h.saved.Positions) {
		return nil
	}
	// The database syncs its log only when a segment is full. Rows must not be on record before they are on disk.
	for _, dir := range []string{"wal", "wbl"} {
		if err := h.syncSegments(filepath.Join(h.options.Dir, databaseName, dir)); err != nil {
			return fmt.Errorf("sync history: %w", err)
		}
	}
	next := h.saved.advanced(positions, now)
	if err := writePositions(h.options.Dir, next); err != nil {
		return err
	}
	h.saved, h.savedAt = next, now
	return nil
}

// syncSegments syncs the newest segments of one of the database's logs, from the newest synced before.
func (h *History) syncSegments(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	newest := h.syncedWAL[dir]
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n < h.syncedWAL[dir] {
			continue
		}
		// A segment may be cut off just now: then it has become a block.
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		newest = max(newest, n)
	}
	h.syncedWAL[dir] = newest
	return nil
}
