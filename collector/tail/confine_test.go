package tail

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/internal/record"
)

// jail is a directory that a task may read, with one log in it, and a file
// beside it that it may not.
type jail struct {
	t             testing.TB
	inside        string
	log, spare    string
	link          string // leads to secret
	secret        string
	swapped       bool
	before, after func() // called before a file is opened, and before its descriptor is asked what it is
	Kernel
}

const hidden = "forbidden\n"

func newJail(t testing.TB) *jail {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	j := &jail{t: t, inside: filepath.Join(dir, "log"), secret: filepath.Join(dir, "shadow"), before: func() {}, after: func() {}}
	j.log, j.spare, j.link = filepath.Join(j.inside, "a.log"), filepath.Join(j.inside, "spare"), filepath.Join(j.inside, "link")
	require.NoError(t, os.Mkdir(j.inside, 0o700))
	write(t, j.secret, hidden)
	write(t, j.log, "allowed\n")
	require.NoError(t, os.Symlink(j.secret, j.link))
	return j
}

// swap puts the link in the log's place, and back, in one step each.
func (j *jail) swap() {
	require.NoError(j.t, unix.Renameat2(unix.AT_FDCWD, j.log, unix.AT_FDCWD, j.link, unix.RENAME_EXCHANGE))
	j.swapped = !j.swapped
}

// deps are those of a task that may read what is inside.
func (j *jail) deps(t testing.TB) *desk {
	d := newDesk(t, plain)
	d.FS, d.Links = j, LinksOfFiles
	d.Allow = func(_, resolved string) error {
		if strings.HasPrefix(resolved, j.inside+"/") {
			return nil
		}
		return errors.New("outside")
	}
	return d
}

func (j *jail) Open(path string, links Links) (int, error) {
	j.before()
	return j.Kernel.Open(path, links)
}

func (j *jail) Inspect(fd int) (Info, error) {
	j.after()
	return j.Kernel.Inspect(fd)
}

// delivered opens the log and reads all of it.
func (j *jail) delivered(d *desk) ([]string, error) {
	f, err := Open(j.log, d.Deps)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	f.SetSource(&record.Source{Task: "web", Path: j.log})
	return readAll(j.t, f), nil
}

func TestALogThatIsSwappedForALinkAroundItsCheckNeverYieldsAForbiddenByte(t *testing.T) {
	const times = 5000
	for name, c := range map[string]struct {
		moment      func(j *jail) *func()
		begins, got bool // the link stands there at first; the log's own lines are read
	}{
		"a link comes between look and open":  {func(j *jail) *func() { return &j.before }, false, false},
		"a link goes between look and open":   {func(j *jail) *func() { return &j.before }, true, true},
		"a link comes between open and check": {func(j *jail) *func() { return &j.after }, false, true},
		"a link goes between open and check":  {func(j *jail) *func() { return &j.after }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJail(t)
			d := j.deps(t)
			*c.moment(j) = j.swap
			for range times {
				if j.swapped != c.begins {
					j.swap()
				}
				lines, err := j.delivered(d)
				if c.got {
					require.NoError(t, err)
					require.Equal(t, []string{"allowed"}, lines)
					continue
				}
				require.Error(t, err)
				require.True(t, errors.Is(err, ErrNotAllowed) || errors.Is(err, ErrOther), "%v", err)
			}
		})
	}
}

func TestALogThatSomebodySwapsAllTheTimeNeverYieldsAForbiddenByte(t *testing.T) {
	j := newJail(t)
	d := j.deps(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, j.log, unix.AT_FDCWD, j.link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	read, refused := 0, 0
	for end := time.Now().Add(10 * time.Second); (read < 2000 || refused < 2000) && time.Now().Before(end); {
		lines, err := j.delivered(d)
		if err == nil {
			read++
			require.Equal(t, []string{"allowed"}, lines)
		} else {
			refused++
		}
	}
	close(stop)
	<-stopped
	require.Positive(t, read)
	require.Positive(t, refused)
}

func TestAFileThatIsRenamedWhileItIsOpenedIsNotTakenForAForbiddenOne(t *testing.T) {
	j := newJail(t)
	d := j.deps(t)
	moved := filepath.Join(filepath.Dir(j.inside), "old.log")
	j.after = func() { require.NoError(t, os.Rename(j.log, moved)) }
	_, err := j.delivered(d)
	require.ErrorIs(t, err, ErrOther)
	require.NotErrorIs(t, err, ErrNotAllowed)
}

func TestLinksAreRefusedInEveryPartOfThePath(t *testing.T) {
	j := newJail(t)
	d := j.deps(t)
	d.Links = LinksRefused
	outer := filepath.Join(filepath.Dir(j.inside), "outer")
	require.NoError(t, os.Symlink(j.inside, outer))
	require.NoError(t, os.Symlink("a.log", j.spare))
	for _, path := range []string{j.link, j.spare, filepath.Join(outer, "a.log")} {
		_, err := Open(path, d.Deps)
		require.ErrorIs(t, err, ErrNotAllowed, path)
		require.ErrorContains(t, err, "symbolic link", path)
	}
	require.Equal(t, []string{"allowed"}, readAll(t, d.open(t, j.log)))
	d.Links, d.FS = LinksRefused, Kernel{}
	d.Allow = nil
	_, err := Open(j.link, d.Deps)
	require.ErrorIs(t, err, ErrNotAllowed, "without any bound beside")
}

func TestAFileWhoseNameSaysThatItIsDeletedIsNotTakenForAnother(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log (deleted)")
	write(t, path, "one\n")
	fd, err := Kernel{}.Open(path, LinksAll)
	require.NoError(t, err)
	defer Kernel{}.Close(fd)
	resolved, err := resolvedPath(fd, path)
	require.NoError(t, err)
	require.Equal(t, "a.log (deleted)", filepath.Base(resolved))
	require.NoError(t, os.Remove(path))
	resolved, err = resolvedPath(fd, path)
	require.NoError(t, err)
	require.Equal(t, "a.log (deleted)", filepath.Base(resolved))
}

// A user who may make name spaces can mount any file under the name of a log
// there, and lead to it through /proc. Asked for the name of what was opened, the kernel
// then gives that of the log.
func TestALinkOfProcIntoAnotherProcesssFilesIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	j := newJail(t)
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" "$1" && echo mounted && read end`, j.secret, j.log)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line == "" {
		t.Skip("this host makes no mount name space")
	}
	evil := filepath.Join(j.inside, "evil.log")
	require.NoError(t, os.Symlink("/proc/"+strconv.Itoa(cmd.Process.Pid)+"/root"+j.log, evil))
	d := j.deps(t)
	_, err = Open(evil, d.Deps)
	require.ErrorIs(t, err, ErrNotAllowed)

	d.Links = LinksAll
	f, err := Open(evil, d.Deps)
	require.NoError(t, err, "the name alone does not tell")
	defer f.Close()
}

func TestADirectoryThatBecameANamedPipeIsNotWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	_, err := Kernel{}.ReadDir(pipe)
	require.ErrorIs(t, err, unix.ENOTDIR)
}

func TestANamedPipeThatTakesALogsPlaceBetweenLookAndOpenIsNotWaitedFor(t *testing.T) {
	j := newJail(t)
	d := j.deps(t)
	require.NoError(t, unix.Mkfifo(j.spare, 0o600))
	j.before = func() { require.NoError(t, os.Rename(j.spare, j.log)) }
	_, err := j.delivered(d)
	require.ErrorIs(t, err, ErrNotRegular)
	var pathErr *fs.PathError
	require.NotErrorAs(t, err, &pathErr)
}

func TestANamedPipeBehindALinkIsRefusedAsALogIs(t *testing.T) {
	for name, can := range map[string]bool{"by the kernel": canResolve(), "by the name of what was opened": false} {
		t.Run(name, func(t *testing.T) {
			was := canResolve
			canResolve = func() bool { return can }
			defer func() { canResolve = was }()
			j := newJail(t)
			require.NoError(t, unix.Mkfifo(j.spare, 0o600))
			link := filepath.Join(j.inside, "pipe")
			require.NoError(t, os.Symlink("spare", link))
			for _, allow := range []func(path, resolved string) error{nil, func(_, _ string) error { return nil }} {
				_, _, err := OpenPipe(link, LinksRefused, allow)
				require.ErrorIs(t, err, ErrNotAllowed)
				require.ErrorContains(t, err, "symlinks are refused")
				for path, links := range map[string]Links{j.spare: LinksRefused, link: LinksOfFiles} {
					fd, _, err := OpenPipe(path, links, allow)
					require.NoError(t, err)
					Kernel{}.Close(fd)
				}
			}
		})
	}
}
