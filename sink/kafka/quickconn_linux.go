package kafka

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quickConn is a TCP connection whose reads and writes are not announced to the
// Go runtime. Its descriptor never blocks, so the runtime has nothing to watch
// over; of an announced call it wakes its monitor thread when nothing has run
// for a while, which costs more than a small request itself.
type quickConn struct {
	*net.TCPConn
	in, out half
}

// half is one direction of a quickConn.
type half struct {
	mu   sync.Mutex
	op   string
	num  uintptr // of the system call
	wait func(func(fd uintptr) (done bool)) error
	try  func(fd uintptr) (done bool) // made once: a closure for each call would be an allocation for each

	b   []byte
	n   int
	err error
}

// quicken returns c as it is when it is no TCP connection.
func quicken(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	q := &quickConn{TCPConn: tcp}
	q.in.prepare("read", unix.SYS_READ, rc.Read)
	q.out.prepare("write", unix.SYS_WRITE, rc.Write)
	return q
}

func (h *half) prepare(op string, num uintptr, wait func(func(uintptr) bool) error) {
	h.op, h.num, h.wait, h.try = op, num, wait, h.once
}

// once makes the system call; false when it must wait for the other side.
func (h *half) once(fd uintptr) (done bool) {
	for {
		n, _, errno := unix.RawSyscall(h.num, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.b))), uintptr(len(h.b)))
		switch errno {
		case 0:
			h.n, h.err = int(n), nil
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		default:
			h.n, h.err = 0, os.NewSyscallError(h.op, errno)
			return true
		}
	}
}

// do makes one call that reads or writes at least a byte.
func (h *half) do(b []byte) (n int, err error) {
	h.b, h.n, h.err = b, 0, nil
	err = h.wait(h.try)
	n, h.b = h.n, nil
	if err == nil {
		err = h.err
	}
	return n, err
}

// Read implements net.Conn.
func (c *quickConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	n, err := c.in.do(b)
	if err != nil {
		return 0, c.explain("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *quickConn) Write(b []byte) (n int, err error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for n < len(b) {
		m, err := c.out.do(b[n:])
		if err != nil {
			return n, c.explain("write", err)
		}
		n += m
	}
	return n, nil
}

// explain wraps an error as package net does.
func (c *quickConn) explain(op string, err error) error {
	if e, ok := err.(*net.OpError); ok { //nolint:errorlint // as the poller returned it
		err = e.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

var _ syscall.Conn = (*quickConn)(nil)

// hungUp reports whether the other side of a connection, of which nothing is
// awaited, has ended it: there is something to read, if only the end.
func hungUp(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var got error
	var b [1]byte
	if err := rc.Control(func(fd uintptr) { _, _, got = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) }); err != nil {
		return true
	}
	return !errors.Is(got, unix.EAGAIN)
}
