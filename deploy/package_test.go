package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePackageHoldsTheBinaryItsUnitAndItsConfiguration(t *testing.T) {
	var file struct {
		Name, Arch, Platform, Version, Maintainer, Description, License, Section string
		VersionSchema                                                            string `yaml:"version_schema"`
		Contents                                                                 []struct {
			Src, Dst, Type string
			Expand         bool
			FileInfo       struct{ Mode int } `yaml:"file_info"`
		}
		Scripts map[string]string
	}
	decodeStrict(t, "packaging/nfpm.yaml", &file)
	placed := map[string]string{}
	for _, c := range file.Contents {
		placed[c.Dst] = c.Src
		require.NotZero(t, c.FileInfo.Mode, c.Dst)
		require.Zero(t, c.FileInfo.Mode&0o022, "%s can be written to", c.Dst)
		if c.Src != "" && !c.Expand {
			found, err := filepath.Glob(filepath.Join("..", c.Src))
			require.NoError(t, err)
			require.NotEmpty(t, found, c.Src)
		}
	}
	for _, script := range file.Scripts {
		require.FileExists(t, filepath.Join("..", script))
	}
	unit := parseUnit(t, read(t, "logferry.service"))
	binary, rest, _ := strings.Cut(unit["Service.ExecStart"][0], " ")
	require.Contains(t, placed, binary)
	_, config, _ := strings.Cut(rest, "--config ")
	require.Contains(t, placed, config)
	require.Equal(t, "deploy/logferry.service", placed["/usr/lib/systemd/system/logferry.service"])
	cfg := loadAgent(t, "../configs/agent.yaml", nil)
	rel, err := filepath.Rel("../configs", cfg.Tasks.Files[0])
	require.NoError(t, err)
	require.Contains(t, placed, filepath.Dir(filepath.Join(filepath.Dir(config), rel)), "the directory of its tasks")
}

func TestToolsOfTheReleaseArePinned(t *testing.T) {
	text := read(t, "../Makefile")
	require.GreaterOrEqual(t, len(regexp.MustCompile(`(?m)^\w+_VERSION := v\d+\.\d+\.\d+$`).FindAllString(text, -1)), 3)
	for _, m := range regexp.MustCompile(`install \S+@(\S+)`).FindAllStringSubmatch(text, -1) {
		require.Regexp(t, `^\$\(\w+_VERSION\)$`, m[1])
	}
}

func TestKnownWeaknessesFailAndAnUnreachableDatabaseIsALoudWarning(t *testing.T) {
	for name, c := range map[string]struct {
		tool, require string
		code          int
		warns         bool
	}{
		"nothing found":                     {"echo none; exit 0", "", 0, false},
		"a weakness":                        {"echo 'Vulnerability #1'; exit 3", "", 3, false},
		"no database":                       {"echo 'govulncheck: fetching vulnerabilities: dial tcp: no such host'; exit 1", "", 0, true},
		"no database where one is required": {"echo 'govulncheck: fetching vulnerabilities: dial tcp: no such host'; exit 1", "1", 1, true},
		"code that does not build":          {"echo 'govulncheck: loading packages: syntax error'; exit 1", "", 1, false},
	} {
		tool := filepath.Join(t.TempDir(), "govulncheck")
		require.NoError(t, os.WriteFile(tool, []byte("#!/bin/sh\n"+c.tool+"\n"), 0o700))
		cmd := exec.CommandContext(t.Context(), "../.ci/vuln")
		cmd.Env = append(os.Environ(), "GOVULNCHECK="+tool, "LOGFERRY_REQUIRE_VULN="+c.require)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%s: %s", name, out)
		require.Equal(t, c.warns, strings.Contains(string(out), "NOTHING WAS CHECKED"), name)
	}
}
