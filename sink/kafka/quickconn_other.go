//go:build !linux

package kafka

import "net"

func quicken(c net.Conn) net.Conn { return c }

func hungUp(net.Conn) bool { return false }
