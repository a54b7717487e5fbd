package bus_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus"
	"github.com/visutility/visutility/visutilitytest"
)

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dirs := map[string]string{}
	visutilitytest.Bus(t, func(t *testing.T) visutility.Bus {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = filepath.Join(t.TempDir(), "bus")
		}
		return openIn(t, bus.Options{Dir: dirs[t.Name()], Partitions: 3})
	})
}

// openIn opens a log that logs to the test.
func openIn(t testing.TB, o bus.Options) *bus.Log {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	l, err := bus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
