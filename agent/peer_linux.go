package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// peerUser returns the user whose process holds the other end of a connection
// within this host.
func peerUser(remote, local *net.TCPAddr) (uid int, err error) {
	if remote == nil || local == nil {
		return 0, errors.New("the connection's addresses are not known")
	}
	for _, t := range []struct {
		table string
		form  func(*net.TCPAddr) string
	}{{"/proc/self/net/tcp", hex4}, {"/proc/self/net/tcp6", hex6}} {
		from, to := t.form(remote), t.form(local)
		if from == "" || to == "" {
			continue
		}
		if uid, found, err := findSocket(t.table, from, to); err != nil || found {
			return uid, err
		}
	}
	return 0, errors.New("the connection is not among those of this host")
}

// findSocket looks through a table of proc_net(5) for a socket and its user.
func findSocket(table, from, to string) (uid int, found bool, err error) {
	f, err := os.Open(table)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("list connections: %w", err)
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid
		col := strings.Fields(sc.Text())
		if len(col) > 7 && col[1] == from && col[2] == to {
			uid, err = strconv.Atoi(col[7])
			return uid, err == nil, err
		}
	}
	return 0, false, sc.Err()
}

// hex4 and hex6 write an address as the kernel does: words of 32 bits in its
// own byte order.
func hex4(a *net.TCPAddr) string {
	ip := a.IP.To4()
	if ip == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip), a.Port)
}

func hex6(a *net.TCPAddr) string {
	ip := a.IP.To16()
	if ip == nil {
		return ""
	}
	var s strings.Builder
	for i := 0; i < len(ip); i += 4 {
		fmt.Fprintf(&s, "%08X", binary.NativeEndian.Uint32(ip[i:]))
	}
	return fmt.Sprintf("%s:%04X", s.String(), a.Port)
}
