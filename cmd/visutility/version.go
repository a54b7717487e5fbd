package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set at release: go build -ldflags "-X main.version=1.2.3".
var version = ""

// A build says which program this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, with "+dirty" when it was changed
	Go       string `json:"go"`
}

func (b build) String() string {
	if b.Revision == "" {
		return b.Version
	}
	return fmt.Sprintf("%s (%.12s)", b.Version, b.Revision)
}

// buildVersion puts together what the linker was told and what the toolchain recorded.
func buildVersion(info *debug.BuildInfo, ok bool) build {
	b := build{Version: cmp.Or(version, "dev"), Go: runtime.Version()}
	if !ok {
		return b
	}
	// A module installed by version carries it; a build from a checkout says "(devel)" or a pseudo-version.
	if version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value + b.Revision
		case s.Key == "vcs.modified" && s.Value == "true":
			b.Revision += "+dirty"
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := buildVersion(debug.ReadBuildInfo())
			return out.print(cmd, b, func(p *page) { p.line("visutility %s, %s", b, b.Go) })
		},
	}
	out.flag(cmd)
	return cmd
}
