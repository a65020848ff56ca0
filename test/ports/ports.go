// Package ports hands out TCP ports on 127.0.0.1 to servers that tests and
// benchmarks start and restart.
//
// A port stays with its holder until it is released or the process ends, also
// while no server listens on it: it lies outside the range that the kernel
// gives to outgoing connections, and every process that uses this package sees
// it as taken. So a server that was killed comes back on its old port.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

const (
	lowest   = 10000 // below it stand the well-known servers of a developer's machine
	highest  = 32768 // exclusive; where Linux begins its ephemeral range by default
	attempts = 1000
)

// Reservation is a set of ports that belong to this process. It may be used
// from several goroutines, but is released once.
type Reservation struct {
	Ports []int

	locks []net.Listener
}

// Reserve takes n ports that nothing listens on.
func Reserve(n int) (*Reservation, error) {
	r := &Reservation{}
	top := ephemeralStart()
	for try := 0; len(r.Ports) < n; try++ {
		if try == attempts {
			return nil, errors.Join(fmt.Errorf("reserve %d ports on 127.0.0.1: none free after %d attempts", n, attempts), r.Release())
		}
		port := lowest + rand.IntN(top-lowest)
		lock, err := take(port)
		if err != nil {
			continue
		}
		r.Ports = append(r.Ports, port)
		r.locks = append(r.locks, lock)
	}
	return r, nil
}

// Release gives the ports back.
func (r *Reservation) Release() error {
	var errs []error
	for _, l := range r.locks {
		errs = append(errs, l.Close())
	}
	r.locks = nil
	return errors.Join(errs...)
}

// take locks a port and looks whether it is free. The lock is an abstract unix
// socket: it is as wide as the port itself (one network namespace), and the
// kernel drops it with the process, however that ends.
func take(port int) (net.Listener, error) {
	lock, err := net.Listen("unix", fmt.Sprintf("@logferry-test-port-%d", port))
	if err != nil {
		return nil, err
	}
	probe, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return lock, probe.Close()
}

// ephemeralStart is the upper bound of the ports to choose from.
func ephemeralStart() int {
	var from, to int
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return highest
	}
	if _, err := fmt.Sscan(string(b), &from, &to); err != nil || from < lowest+1000 || from > highest {
		return highest
	}
	return from
}
