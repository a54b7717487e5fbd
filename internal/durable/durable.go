// Package durable replaces files so that neither a reader nor a loss of power ever sees a part.
//
// A file system may keep the new name of a file and lose what was written to it, or the other way round, unless it is told in
// order: the content first, then the name, then the directory (see rename(2) and fsync(2)). [WriteFile] does that; everything
// in this module that replaces a small file of its own goes through it.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path, or makes it, with the given permission. When it returns nil, the content is on disk.
// After an error the old content stands, whole; after a crash the old or the new. A crash may leave a file beside it whose name
// begins with a dot. It is safe for concurrent use: one of the writers is the last.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory durable: what was made, renamed or removed in it.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
