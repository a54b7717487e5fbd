package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

const (
	markFile       = "bus.json"
	markMode       = "standalone"
	markFormat     = 1
	serverDir      = "jetstream" // made by the server inside Options.Dir
	defaultNumber  = 8
	maxPartitions  = 1024
	markPermission = 0o600
)

// A mark says what made a directory. The server deletes the files of a
// standalone stream when it is started on them as a member of a cluster, and a
// model's events are found only with the number of partitions they were written
// with; so both are compared before the server sees the directory.
type mark struct {
	Mode       string `json:"mode"`
	Partitions int    `json:"partitions"`
	Format     int    `json:"format"`
}

// claim makes dir ready for a log with that many partitions (0: what it has, or
// the default) and returns the number. A directory that was made otherwise is refused.
func claim(dir string, partitions int) (int, error) {
	if partitions < 0 || partitions > maxPartitions {
		return 0, visutility.Invalidf("partitions", "range", "is %d; 1 to %d are allowed, 0 for what the directory has", partitions, maxPartitions)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("%w: make the directory of the log: %w", visutility.ErrUnavailable, err)
	}
	file := filepath.Join(dir, markFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, serverDir)); err == nil {
			return 0, fmt.Errorf("%w: %s holds a log but no %s; restore that file, or open another directory", visutility.ErrInvalid, dir, markFile)
		}
		if partitions == 0 {
			partitions = defaultNumber
		}
		return partitions, writeMark(dir, mark{markMode, partitions, markFormat})
	}
	if err != nil {
		return 0, fmt.Errorf("%w: read the mark of the log: %w", visutility.ErrUnavailable, err)
	}
	var m mark
	if err := json.Unmarshal(data, &m); err != nil || m.Partitions < 1 || m.Partitions > maxPartitions {
		return 0, fmt.Errorf("%w: %s is not readable as the mark of a log (%s); restore it from a backup", visutility.ErrInvalid, file, data)
	}
	switch {
	case m.Format != markFormat:
		return 0, fmt.Errorf("%w: %s was written in format %d and this program knows format %d; use the program that wrote it, or a newer one", visutility.ErrInvalid, dir, m.Format, markFormat)
	case m.Mode != markMode:
		return 0, fmt.Errorf("%w: %s belongs to a log in mode %q and cannot be opened in mode %q; copy the log by a mirror, or open another directory", visutility.ErrInvalid, dir, m.Mode, markMode)
	case partitions != 0 && partitions != m.Partitions:
		return 0, fmt.Errorf("%w: %s has %d partitions, not %d, and the number cannot change; set it to %d or 0, or open another directory", visutility.ErrInvalid, dir, m.Partitions, partitions, m.Partitions)
	}
	return m.Partitions, nil
}

// writeMark writes the mark so that it is there wholly or not at all.
func writeMark(dir string, m mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, markFile), append(data, '\n'), markPermission); err != nil {
		return fmt.Errorf("%w: write the mark of the log: %w", visutility.ErrUnavailable, err)
	}
	return nil
}
