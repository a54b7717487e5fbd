package calibrate_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	// A check is a whole calibration. Before the command line is parsed, so that -rapid.checks still counts.
	if err := flag.Set("rapid.checks", propertyChecks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
