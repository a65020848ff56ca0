package filemode

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAFileIsOpenToOthersByItsMode(t *testing.T) {
	for mode, want := range map[os.FileMode]struct{ write, read bool }{
		0o600: {}, 0o640: {}, 0o660: {}, 0o644: {read: true}, 0o646: {write: true, read: true}, 0o602: {write: true, read: true},
	} {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chmod(path, mode))
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		require.Equal(t, want.write, OthersMayWrite(f), "%o", mode)
		require.Equal(t, want.read, OthersMayRead(path), "%o", mode)
	}
}

func TestWhatKeepsNothingIsNotOpenToOthers(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Chmod(pipe, 0o666))
	require.False(t, OthersMayRead(pipe), "and it is not waited for")
	require.False(t, OthersMayRead(filepath.Join(t.TempDir(), "none")))
	null, err := os.Open("/dev/null")
	require.NoError(t, err)
	defer null.Close()
	require.False(t, OthersMayWrite(null))
}

func TestNobodyWritesToAFileSystemThatIsReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("this host mounts nothing: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o666))
	open := func() *os.File {
		f, err := os.Open(path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	require.True(t, OthersMayWrite(open()))
	require.NoError(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	require.False(t, OthersMayWrite(open()))
}
