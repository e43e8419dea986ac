package eas

import (
	"net"
	"sync"
)

// Listener is a listener that also accepts connections which were accepted
// before and come back (Options.Rejoin). It goes around the outermost listener,
// TLS included, and is served with http.Server.Serve, not ServeTLS.
type Listener struct {
	net.Listener
	accepted chan accepted
	back     chan net.Conn
	closed   chan struct{}
	close    sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

// NewListener wraps l and begins to accept.
func NewListener(l net.Listener) *Listener {
	x := &Listener{Listener: l, accepted: make(chan accepted), back: make(chan net.Conn), closed: make(chan struct{})}
	go x.run() // ends when l is closed
	return x
}

func (l *Listener) run() {
	for {
		c, err := l.Listener.Accept()
		select {
		case l.accepted <- accepted{c, err}:
		case <-l.closed:
			if c != nil {
				c.Close()
			}
			return
		}
	}
}

// Accept gives the next connection, new or come back.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case c := <-l.back:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Rejoin hands a connection back, between two of its requests. It may wait for
// Accept; when the listener is closed it closes the connection.
func (l *Listener) Rejoin(c net.Conn) {
	select {
	case l.back <- c:
	case <-l.closed:
		c.Close()
	}
}

// Close ends the listener.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}
