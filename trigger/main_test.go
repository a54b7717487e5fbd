package trigger

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var rewrite = flag.Bool("rewrite-golden", false, "write testdata/golden/"+release+" anew")

func TestMain(m *testing.M) {
	// Before the command line is parsed, so that -rapid.checks still counts.
	if err := flag.Set("rapid.checks", propertyChecks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
