//go:build unix

package eas

import (
	"net"
	"syscall"
)

// alive gives a test of whether the peer is still waiting on a connection that
// nobody reads: no end and no byte has arrived. A phone sends nothing while it
// waits, save the alert that closes TLS. nil when the connection hides its
// socket.
func alive(c net.Conn) func() bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func() bool {
		waiting := false
		err := raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			waiting = err == syscall.EAGAIN || err == syscall.EINTR
			return true
		})
		return err == nil && waiting
	}
}
