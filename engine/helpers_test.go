package engine_test

import (
	"os"
	"path/filepath"
	"testing"
)

func removeAll(tb testing.TB, elem ...string) {
	tb.Helper()
	if err := os.RemoveAll(filepath.Join(elem...)); err != nil {
		tb.Fatal(err)
	}
}
