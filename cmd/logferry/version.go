package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

func buildVersion() string { return readBuildInfo().Version }

func (a *app) versionCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version and how the binary was built", Args: needs()}
	output := outputVar(cmd, "text", "json")
	cmd.RunE = a.body(func(*cobra.Command, []string) error {
		b := readBuildInfo()
		return a.show(output, b, func(t *table) {
			t.row("logferry", b.Version)
			if b.Revision != "" {
				revision := b.Revision
				if b.Modified {
					revision += " (modified)"
				}
				t.row("revision", revision)
				t.row("committed", b.Time)
			}
			t.row("go", b.Go)
			t.row("platform", b.Platform)
		})
	})
	return cmd
}
