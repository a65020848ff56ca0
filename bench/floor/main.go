// Command floor does the least that any agent has to do: it reads files in
// blocks, compresses what it read in pieces as large as a Kafka batch, and
// writes that to a socket. It finds no lines, builds no records, waits for no
// answer. What an agent costs more than this is its own.
//
// The compressor is the library that Kafka clients in Go use, with the settings
// of the Kafka client in use, or with -own that of logferry.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	library "github.com/pierrec/lz4/v4"

	"logferry/internal/lz4"
)

const (
	blockBytes = 256 << 10 // one read
	pieceBytes = 1_000_000 // one batch
)

func main() {
	dir := flag.String("dir", "", "directory of the files *.log")
	addr := flag.String("addr", "", "host:port of somebody who discards")
	own := flag.Bool("own", false, "compress with logferry's lz4")
	flag.Parse()
	if err := run(*dir, *addr, *own); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(dir, addr string, own bool) (err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("find files in %s: %w", dir, errors.Join(err, os.ErrNotExist))
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	s := &sender{to: conn, compress: lz4.AppendFrame, piece: make([]byte, 0, pieceBytes)}
	if !own {
		if s.compress, err = newLibrary(); err != nil {
			return err
		}
	}
	for _, path := range paths {
		if err := s.file(path); err != nil {
			return fmt.Errorf("ship %s: %w", path, err)
		}
	}
	return s.flush()
}

// sender gathers pieces.
type sender struct {
	to       io.Writer
	compress func(dst, src []byte) []byte
	piece    []byte // gathered, uncompressed
	out      []byte
}

func newLibrary() (func(dst, src []byte) []byte, error) {
	w := library.NewWriter(nil)
	if err := w.Apply(library.BlockSizeOption(library.Block64Kb)); err != nil {
		return nil, err
	}
	return func(dst, src []byte) []byte {
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		_, _ = w.Write(src) // into memory: neither fails
		_ = w.Close()
		return out.Bytes()
	}, nil
}

func (s *sender) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for offset := int64(0); ; {
		room := s.piece[len(s.piece):min(cap(s.piece), len(s.piece)+blockBytes)]
		n, err := f.ReadAt(room, offset)
		s.piece = s.piece[:len(s.piece)+n]
		offset += int64(n)
		if len(s.piece) == cap(s.piece) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (s *sender) flush() error {
	s.out = s.compress(s.out[:0], s.piece)
	s.piece = s.piece[:0]
	_, err := s.to.Write(s.out)
	return err
}
