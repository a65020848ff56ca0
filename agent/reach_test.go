package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/collector/tail"
)

func TestATaskReachesWhatItsOriginMay(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, d := range []string{"releases/7/log", "allowed"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	require.NoError(t, os.Symlink("releases/7", filepath.Join(dir, "current")))
	allow, err := task.NewAllowList([]string{dir + "/allowed"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		glob, path, resolved string
		local, remote        bool
	}{
		"a file of its own":                      {"/log/*.log", "/log/a.log", "/log/a.log", true, false},
		"the same with a needless slash":         {"/log/*.log", "/log//a.log", "/log/a.log", true, false},
		"a file that was moved out":              {"/log/*.log", "/old/a.log.1", "/old/a.log.1", true, false},
		"a link within allow_paths":              {"/log/*.log", "/log/a.log", "/allowed/b.log", true, true},
		"a link to anything else":                {"/log/*.log", "/log/a.log", "/etc/shadow", false, false},
		"a link to what begins like allow_paths": {"/log/*.log", "/log/a.log", "/allowed-not/b", false, false},
		"a link below the task's own directory":  {"/releases/**/*.log", "/releases/a.log", "/releases/7/log/x", true, false},
		"a directory of the task that is a link": {"/current/log/*.log", "/current/log/a.log", "/releases/7/log/a.log", true, false},
		"a link out of such a directory":         {"/current/log/*.log", "/current/log/a.log", "/releases/7/secret", false, false},
		"a link that the task names":             {"/log/a.log", "/log/a.log", "/etc/shadow", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, remote := range []bool{false, true} {
				err := reach{allow, []string{dir + c.glob}, remote}.check(dir+c.path, dir+c.resolved)
				if map[bool]bool{false: c.local, true: c.remote}[remote] {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, "extend allow_paths in agent.yaml")
				}
			}
		})
	}
	require.Equal(t, tail.LinksOfFiles, (&Config{}).links())
	require.Equal(t, tail.LinksRefused, (&Config{Symlinks: SymlinksRefuse}).links())
}

func TestALinkOutOfATasksDirectoriesIsNotFollowedAndShown(t *testing.T) {
	w := newWorld(t, func(*Config, *Options) {})
	secret := filepath.Join(w.dir, "shadow")
	require.NoError(t, os.WriteFile(secret, []byte("forbidden\n"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(w.dir, "logs", "evil.log")))
	require.NoError(t, os.Symlink("web.log", filepath.Join(w.dir, "logs", "also.log")))
	w.appendLog("web.log", "one\n")
	w.putTask("web", `{paths: [DIR/logs/*.log], topic: web_log}`)
	w.waitFor("the link is refused", func() bool { return w.task("web").NotCollected == 1 })
	require.Contains(t, w.task("web").FirstRefused, "evil.log: ")
	require.Contains(t, w.task("web").FirstRefused, "a symbolic link leads to ")
	require.Equal(t, 1, w.agent.reports()[0].NotCollected, "the fleet is told")
	w.waitFor("the log is read", func() bool { return strings.Contains(w.out.String(), "one") })
	require.NotContains(t, w.out.String(), "forbidden")
}

func TestWithLinksRefusedNoneIsFollowed(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Options) { c.Symlinks = SymlinksRefuse })
	require.NoError(t, os.Symlink("web.txt", filepath.Join(w.dir, "logs", "web.log")))
	w.appendLog("web.txt", "one\n")
	w.putTask("web", `{paths: [DIR/logs/*.log], topic: web_log}`)
	w.waitFor("the link is refused", func() bool { return w.task("web").NotCollected == 1 })
	require.Contains(t, w.task("web").FirstRefused, "symlinks are refused")
	require.NotContains(t, w.out.String(), "one")
}

func TestAConfigurationThatEverybodyMayWriteToIsRefused(t *testing.T) {
	path := writeConfig(t, "id: a\n")
	require.NoError(t, os.Chmod(path, 0o646))
	_, err := LoadConfig(path, noEnv)
	require.ErrorContains(t, err, path+": every user of this host may write to it; take that right away with chmod o-w")
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = LoadConfig(path, noEnv)
	require.NoError(t, err)
}

func TestSecretsThatEverybodyMayReadAreNamed(t *testing.T) {
	dir := t.TempDir()
	in := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	cfg, err := LoadConfig(writeConfig(t, `
tasks:
  etcd:
    endpoints: [e:1]
    username: u
    password_file: `+in("password", 0o644)+`
    tls:
      ca_file: `+in("ca", 0o644)+`
      cert_file: `+in("cert", 0o644)+`
      key_file: `+in("key", 0o604)+`
`), noEnv)
	require.NoError(t, err)
	require.Equal(t, []string{"tasks.etcd.password_file: " + dir + "/password", "tasks.etcd.tls.key_file: " + dir + "/key"}, cfg.OpenSecrets())
	require.NoError(t, os.Chmod(dir+"/password", 0o640))
	require.NoError(t, os.Chmod(dir+"/key", 0o600))
	require.Empty(t, cfg.OpenSecrets())
}
