package imap

import (
	"errors"
	"net"
	"os"
	"time"
)

// transport is a connection's byte stream with deadlines. Before it waits for
// the client it flushes what was answered: so replies to pipelined commands go
// out together, and nothing the client waits for is ever kept back.
type transport struct {
	c       *conn
	nc      net.Conn
	between bool // waiting for a command, not within one
}

var errStopped = errors.New("the connection is asked to end")

func (t *transport) Read(p []byte) (int, error) {
	c := t.c
	if !c.idling {
		if err := c.e.Flush(); err != nil {
			return 0, err
		}
	}
	wait := c.server.cfg.ReadTimeout
	if t.between || c.idling {
		wait = c.server.cfg.IdleTimeout
	}
	until := time.Now().Add(wait)
	if !c.signedIn() && until.After(c.signInBy) {
		until = c.signInBy
	}
	if err := t.nc.SetReadDeadline(until); err != nil {
		return 0, err
	}
	// interrupt sets a deadline in the past after the context has ended; had it
	// come before ours, the context tells.
	if c.ending(t.between || c.idling) {
		return 0, errStopped
	}
	n, err := t.nc.Read(p)
	if n > 0 {
		t.between = false // the rest of the command must not take half an hour
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.ending(t.between || c.idling) {
		err = errStopped
	}
	return n, err
}

func (t *transport) Write(p []byte) (int, error) {
	if err := t.nc.SetWriteDeadline(time.Now().Add(t.c.server.cfg.WriteTimeout)); err != nil {
		return 0, err
	}
	return t.nc.Write(p)
}
