package kafka

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// quickPair is a connection under test and its other side.
func quickPair(t *testing.T) (quick, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	far, err = ln.Accept()
	require.NoError(t, err)
	quick = quicken(near)
	require.IsType(t, &quickConn{}, quick)
	t.Cleanup(func() {
		_ = quick.Close()
		_ = far.Close()
	})
	return quick, far
}

func TestAQuickConnectionCarriesMoreThanItsBuffersHoldBothWays(t *testing.T) {
	quick, far := quickPair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	echoed := make(chan error, 1)
	go func() {
		_, err := io.Copy(far, far)
		echoed <- err
	}()
	wrote := make(chan error, 1)
	go func() {
		_, err := quick.Write(sent)
		wrote <- err
	}()
	got := make([]byte, len(sent))
	_, err := io.ReadFull(quick, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, got))
	require.NoError(t, <-wrote)
	require.NoError(t, quick.Close())
	require.NoError(t, <-echoed)
}

func TestAQuickConnectionEndsAsOthersDo(t *testing.T) {
	quick, far := quickPair(t)
	require.NoError(t, quick.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := quick.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var late net.Error
	require.ErrorAs(t, err, &late)
	require.True(t, late.Timeout())
	require.NoError(t, quick.SetReadDeadline(time.Time{}))

	require.NoError(t, far.Close())
	_, err = quick.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Eventually(t, func() bool { _, err = quick.Write([]byte("x")); return err != nil }, time.Minute, time.Millisecond)
	require.True(t, errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET), "%v", err)

	require.NoError(t, quick.Close())
	_, err = quick.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestCloseEndsAReadOfAQuickConnection(t *testing.T) {
	quick, _ := quickPair(t)
	ended := make(chan error, 1)
	go func() {
		_, err := quick.Read(make([]byte, 1))
		ended <- err
	}()
	require.NoError(t, quick.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
}
