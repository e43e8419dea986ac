package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Server is the IMAP door. One Server may serve several listeners.
type Server struct {
	cfg      Config
	mail     Mailboxes
	accounts Accounts
	metrics  *metrics
	views    *viewCache

	// Capabilities by state, rendered once from the table of commands.
	capsPlain, capsDisabled, capsTLS, capsSignedIn string

	mu     sync.Mutex
	conns  int
	guests map[netip.Addr]int // connections that have not signed in
}

// New makes a Server. It fails only when the metrics cannot be registered.
func New(cfg Config, mail Mailboxes, accounts Accounts) (*Server, error) {
	s := &Server{
		cfg:      cfg.withDefaults(),
		mail:     mail,
		accounts: accounts,
		guests:   make(map[netip.Addr]int),
	}
	s.views = newViewCache(s.cfg.ViewCache)
	s.renderCapabilities()
	var err error
	if s.metrics, err = newMetrics(s.cfg.Metrics); err != nil {
		return nil, fmt.Errorf("imap: metrics: %w", err)
	}
	return s, nil
}

// Serve answers connections of l, on which TLS begins with STARTTLS if at all.
// It closes l when ctx ends, lets running commands finish (Config.Grace), says
// BYE, and returns when the last connection has ended: nil when ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.serve(ctx, l, false) }

// ServeTLS is Serve for a listener on which TLS begins at once (port 993).
func (s *Server) ServeTLS(ctx context.Context, l net.Listener) error {
	if s.cfg.TLS == nil {
		return errors.New("imap: ServeTLS without Config.TLS")
	}
	return s.serve(ctx, l, true)
}

func (s *Server) serve(ctx context.Context, l net.Listener, implicit bool) error {
	var all sync.WaitGroup
	defer all.Wait()
	stopListening := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stopListening()

	// Commands outlive ctx by the grace period.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if ctx.Err() == nil {
			cancel() // the listener failed: end the connections at once
			return
		}
		t := time.AfterFunc(s.cfg.Grace, cancel)
		all.Wait()
		t.Stop()
		cancel()
	}()

	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && !errors.Is(err, net.ErrClosed) {
				// Out of descriptors, most likely: connections end, try again.
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				s.cfg.Log.Error("accept", "proto", "imap", "err", err)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
				continue
			}
			return fmt.Errorf("imap: accept: %w", err)
		}
		pause = 0
		all.Add(1)
		go func() {
			defer all.Done()
			s.serveConn(ctx, work, nc, implicit)
		}()
	}
}

// admit counts a new connection; ok is false when there are too many.
func (s *Server) admit(from netip.Addr) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns >= s.cfg.MaxConns || s.guests[from] >= s.cfg.MaxUnauthenticated {
		return false
	}
	s.conns++
	s.guests[from]++
	return true
}

// known takes a connection out of the count of those that have not signed in.
func (s *Server) known(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests[from]--; s.guests[from] <= 0 {
		delete(s.guests, from)
	}
}

func (s *Server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
}

func remoteAddr(nc net.Conn) netip.Addr {
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// serveConn serves one connection from greeting to end. stop asks it to end
// politely, work bounds what its commands do.
func (s *Server) serveConn(stop, work context.Context, nc net.Conn, implicit bool) {
	from := remoteAddr(nc)
	defer nc.Close() //nolint:errcheck // nothing is left to be done about it
	if !s.admit(from) {
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		if !implicit {
			_, _ = nc.Write([]byte("* BYE [UNAVAILABLE] Too many connections\r\n"))
		}
		s.metrics.refused.Inc()
		return
	}
	defer s.left()
	s.metrics.connections.Inc()
	defer s.metrics.connections.Dec()

	c := newConn(s, stop, work, nc, from)
	defer c.close()
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.cfg.Log.Error("panic", "proto", "imap", "user", c.who.Address, "cmd", c.cmd,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	if implicit {
		tc := tls.Server(nc, s.cfg.TLS)
		hctx, cancel := context.WithTimeout(work, 30*time.Second)
		err := tc.HandshakeContext(hctx)
		cancel()
		if err != nil {
			return // scanners and probes: not worth a line each
		}
		c.setTransport(tc, true)
	}
	c.serve()
}
