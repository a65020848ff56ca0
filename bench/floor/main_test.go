package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

func TestTheFloorSendsEveryByteOfEveryFile(t *testing.T) {
	dir := t.TempDir()
	var want bytes.Buffer
	for i, name := range []string{"a.log", "b.log", "empty.log"} {
		var b bytes.Buffer
		if name != "empty.log" {
			_, err := gen.New(uint16(i), 1).Write(&b, 0, 9000)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600))
		want.Write(b.Bytes())
	}
	for _, own := range []bool{false, true} {
		require.True(t, bytes.Equal(want.Bytes(), sent(t, dir, own)))
	}
	require.ErrorIs(t, run(t.TempDir(), "", false), os.ErrNotExist)
}

// sent returns, unpacked, what the floor writes to its socket.
func sent(t *testing.T, dir string, own bool) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	got := make(chan []byte, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer conn.Close()
		b, _ := io.ReadAll(lz4.NewReader(conn)) // one frame after the other
		got <- b
	}()
	require.NoError(t, run(dir, ln.Addr().String(), own))
	return <-got
}
