package ldap

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"waypost/directory/tree"
)

// Server is the LDAP door. One Server may serve several listeners.
type Server struct {
	cfg      Config
	tree     tree.Tree
	accounts Accounts
	metrics  *metrics
	secret   [32]byte // keys the cookies; dies with the process
	sets     resultSets
	schema   subschema
	where    atomic.Pointer[contexts]
	started  time.Time
	serial   atomic.Uint64 // of connections, for the log

	mu    sync.Mutex
	conns int
	from  map[netip.Addr]int
}

// New makes a Server. It fails only when the metrics cannot be registered.
func New(cfg Config, t tree.Tree, accounts Accounts) (*Server, error) {
	s := &Server{cfg: cfg.withDefaults(), tree: t, accounts: accounts, from: make(map[netip.Addr]int), started: time.Now()}
	_, _ = rand.Read(s.secret[:])
	var err error
	if s.metrics, err = newMetrics(s.cfg.Metrics); err != nil {
		return nil, fmt.Errorf("ldap: metrics: %w", err)
	}
	return s, nil
}

// Door is what a listener is for.
type Door struct {
	// TLS begins at once (ports 636 and 3269) and not with StartTLS.
	TLS bool
	// Global is the global catalog (ports 3268 and 3269): all naming contexts,
	// read only.
	Global bool
}

// Serve answers connections of l, on which TLS begins with StartTLS if at all.
// It closes l when ctx ends, lets running operations finish (Config.Grace),
// sends a Notice of Disconnection, and returns when the last connection has
// ended: nil when ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.ServeDoor(ctx, l, Door{})
}

// ServeTLS is Serve for a listener on which TLS begins at once (port 636).
func (s *Server) ServeTLS(ctx context.Context, l net.Listener) error {
	return s.ServeDoor(ctx, l, Door{TLS: true})
}

// ServeDoor is Serve for a listener of any kind.
func (s *Server) ServeDoor(ctx context.Context, l net.Listener, door Door) error {
	if door.TLS && s.cfg.TLS == nil {
		return errors.New("ldap: a door with TLS without Config.TLS")
	}
	var all sync.WaitGroup
	defer all.Wait()
	var open conns
	stopListening := context.AfterFunc(ctx, func() { _ = l.Close(); open.stop(true) })
	defer stopListening()

	// Operations outlive ctx by the grace period.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		kill := func() { cancel(); open.stop(false) }
		if ctx.Err() == nil {
			kill() // the listener failed: end the connections at once
			return
		}
		t := time.AfterFunc(s.cfg.Grace, kill)
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
				s.cfg.Log.Error("accept", "proto", "ldap", "err", err)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
				continue
			}
			return fmt.Errorf("ldap: accept: %w", err)
		}
		pause = 0
		all.Go(func() { s.serveConn(&open, work, nc, door) })
	}
}

// admit counts a new connection; ok is false when there are too many.
func (s *Server) admit(from netip.Addr) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns >= s.cfg.MaxConns || s.from[from] >= s.cfg.MaxPerAddress && !from.IsLoopback() {
		return false
	}
	s.conns++
	s.from[from]++
	return true
}

func (s *Server) left(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	if s.from[from]--; s.from[from] <= 0 {
		delete(s.from, from)
	}
}

// remoteAddr is the client's address; the zero one for a Unix socket.
func remoteAddr(nc net.Conn) netip.Addr {
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// conns are the connections of one listener.
type conns struct {
	mu      sync.Mutex
	all     map[*conn]struct{}
	stopped bool
}

// add tells every connection of the end; one that comes later, too.
func (o *conns) add(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*conn]struct{})
	}
	o.all[c] = struct{}{}
	if o.stopped {
		c.stop(true)
	}
}

func (o *conns) remove(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, c)
}

// stop ends all, gently or at once.
func (o *conns) stop(gently bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	for c := range o.all {
		c.stop(gently)
	}
}

// serveConn serves one connection to its end. work bounds what its operations
// do.
func (s *Server) serveConn(among *conns, work context.Context, nc net.Conn, door Door) {
	from := remoteAddr(nc)
	defer nc.Close() //nolint:errcheck // nothing is left to be done about it
	if !s.admit(from) {
		s.metrics.refused.Inc()
		if !door.TLS {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write(notice(codeBusy, "too many connections"))
		}
		return
	}
	defer s.left(from)
	s.metrics.connections.Inc()
	defer s.metrics.connections.Dec()

	c := newConn(s, work, nc, from, door)
	defer c.close()
	among.add(c)
	defer among.remove(c)
	// A panic of an operation is caught at the operation (conn.run).
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p, debug.Stack())
		}
	}()
	if door.TLS {
		if err := c.handshake(work); err != nil {
			return // scanners and probes: not worth a line each
		}
	}
	c.serve()
}

// handshake begins TLS.
func (c *conn) handshake(ctx context.Context) error {
	tc := tls.Server(c.socket, c.server.cfg.TLS)
	_ = c.socket.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.tls, c.nc = tc, tc
	return nil
}
