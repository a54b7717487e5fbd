package history

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	databaseName    = "tsdb"
	blockNameLength = 26 // of a ULID; no other directory of the database has such a name
)

// openDatabase opens the database and returns where the partitions stand in it. What is
// damaged is moved aside, and the positions are set back so that the log fills the gap.
func (h *History) openDatabase() (positionFile, error) {
	dir := filepath.Join(h.options.Dir, databaseName)
	f, err := h.openPositions(dir)
	if err != nil {
		return f, err
	}
	// A single bad block would keep the database from opening.
	moved, err := h.moveBlocksAside(dir)
	if err != nil {
		return f, err
	}
	repaired, err := h.tryDatabase(dir)
	if damaged(err) {
		h.options.Logger.Error("history cannot be read; building it again from the log", "error", err)
		if err := h.moveAside(dir, ""); err != nil {
			return f, err
		}
		f = newPositionFile(time.Now())
		if err := writePositions(h.options.Dir, f); err != nil {
			return f, err
		}
		repaired, err = h.tryDatabase(dir)
	}
	if err != nil {
		return f, err
	}
	if repaired || moved {
		f = f.rewound()
		h.options.Logger.Warn("history was damaged and has been repaired; reading the log again to fill it", "since", f.Marks[0].Time)
		err = writePositions(h.options.Dir, f)
	}
	return f, err
}

// openPositions reads position.json. It and the database have a meaning only together: rows without
// positions would be added to when they are read again, and are moved aside; positions without rows are forgotten.
func (h *History) openPositions(database string) (positionFile, error) {
	f, err := readPositions(h.options.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errUnreadable) {
		return f, err
	}
	_, statErr := os.Stat(database)
	switch {
	case err == nil && statErr == nil:
		return f, nil
	case err == nil && len(f.Positions) > 0:
		h.options.Logger.Error("history has lost its database; building it again from the log", "error", statErr)
	case err != nil && statErr == nil:
		h.options.Logger.Error("history has no positions; building it again from the log", "error", err)
		if err := h.moveAside(database, ""); err != nil {
			return f, err
		}
	}
	f = newPositionFile(time.Now())
	return f, writePositions(h.options.Dir, f)
}

// tryDatabase opens the database, and tells whether it had to cut its own log short.
func (h *History) tryDatabase(dir string) (repaired bool, err error) {
	o := tsdb.DefaultOptions()
	o.RetentionDuration = h.options.Retention.Milliseconds()
	o.MaxBytes = h.options.MaxBytes
	o.OutOfOrderTimeWindow = h.options.OutOfOrder.Milliseconds()
	// Larger blocks for longer retention, as Prometheus does it.
	o.MaxBlockDuration = max(o.MinBlockDuration, min(31*24*time.Hour, h.options.Retention/10).Milliseconds())
	o.WALCompression = compression.Snappy
	o.NoLockfile = true // Dir has its own
	// A registry of its own for each try: the database registers its metrics and never unregisters them.
	registry := prometheus.NewRegistry()
	h.db, err = tsdb.Open(dir, h.options.Logger, registry, o, nil)
	if err != nil {
		h.db = nil
		return false, fmt.Errorf("database: %w", err)
	}
	h.collectors = []prometheus.Collector{registry}
	return counted(registry, "prometheus_tsdb_wal_corruptions_total") > 0, nil
}

// counted reads one counter of a registry.
func counted(r *prometheus.Registry, name string) float64 {
	families, err := r.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

// damaged reports whether an error of the database says that its files make no
// sense, rather than that the operating system refused something (a full disk, no permission).
func damaged(err error) bool {
	if err == nil {
		return false
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	return !ok || errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.EISDIR
}

// moveBlocksAside moves the blocks aside that cannot be opened, and tells whether there were any.
func (h *History) moveBlocksAside(dir string) (moved bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for damaged blocks: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != blockNameLength {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := tsdb.OpenBlock(h.options.Logger, path, nil, nil)
		if err == nil {
			err = b.Close()
		}
		if !damaged(err) {
			continue
		}
		h.options.Logger.Error("a block of the history cannot be read", "error", err)
		if err := h.moveAside(path, e.Name()); err != nil {
			return moved, err
		}
		moved = true
	}
	return moved, nil
}

// moveAside moves a file or directory out of the history, to a directory beside it that is named for the time.
func (h *History) moveAside(path, as string) error {
	aside := h.options.Dir + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000")
	to := aside
	if as != "" {
		to = filepath.Join(aside, as)
		if err := os.MkdirAll(aside, 0o750); err != nil {
			return fmt.Errorf("move aside: %w", err)
		}
	}
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("move aside: %w", err)
	}
	h.options.Logger.Warn("moved aside", slog.String("from", path), slog.String("to", to))
	return nil
}
