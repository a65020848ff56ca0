package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"logferry/bench/proc"
)

// floor times the least that any agent has to do (bench/floor) on the files of
// one directory. The far end of its socket is this process, whose work does
// not count. With own it compresses as logferry does.
func (b *bench) floor(ctx context.Context, d *dataset, own bool) (res result, err error) {
	if err := d.warm(); err != nil {
		return result{}, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	discarded := make(chan error, 1)
	go func() { discarded <- discardOne(ln) }()
	defer func() { err = errors.Join(err, ln.Close(), <-discarded) }()

	begin := time.Now()
	p, err := proc.Start(proc.Command{Args: []string{b.floorBinary, "-dir", d.dirs[0], "-addr", ln.Addr().String(), "-own=" + strconv.FormatBool(own)}}, nil)
	if err != nil {
		return result{}, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return result{}, errors.Join(ctx.Err(), p.Stop(0))
	}
	if p.ExitCode() != 0 {
		return result{}, fmt.Errorf("floor ended with code %d: %s", p.ExitCode(), p.Output())
	}
	return result{wall: time.Since(begin), cpu: p.Spent(), lines: d.total(), bytes: d.bytes, mallocs: -1}, nil
}

// discardOne reads what one client sends. A listener that was closed before
// anybody came is no error.
func discardOne(ln net.Listener) error {
	conn, err := ln.Accept()
	if err != nil {
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1<<20)
	for {
		if _, err := conn.Read(buf); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
