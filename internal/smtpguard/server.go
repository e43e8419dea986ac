package smtpguard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// Options of a door.
type Options struct {
	Proto      string // for logs and metrics: "smtp", "submission", "lmtp"
	Hostname   string // our name in the greeting
	Postmaster string // domain of "RCPT TO:<Postmaster>"; Hostname when empty
	LMTP       bool

	TLS      *tls.Config // offered as STARTTLS; nil for none
	Implicit bool        // TLS from the first byte instead
	// TrustLoopback takes clients on loopback for our own processes.
	TrustLoopback bool

	MaxSize       int64 // bytes of a message; 0: no limit
	MaxRecipients int   // of a transaction; 1,000 when 0

	MaxErrors       int // bad commands of a connection; 10 when 0
	MaxAuthFailures int // 3 when 0
	MaxConns        int // 1,000 when 0
	MaxPerAddress   int // of an IPv4 address or IPv6 /64, loopback excepted; 20 when 0

	Idle         time.Duration // between commands; 5 minutes when 0 (RFC 5321 section 4.5.3.2.7)
	DataIdle     time.Duration // within a message; 3 minutes when 0
	WriteTimeout time.Duration // 1 minute when 0
	Grace        time.Duration // for messages under way at the end; 8 s when 0

	// Refuse tells why an address may not connect, or "".
	Refuse func(netip.Addr) string
	// Session makes the session of a conversation. A session that offers AUTH
	// implements the library's AuthSession.
	Session func(*Conn) (gosmtp.Session, error)

	Log     *slog.Logger // slog.Default when nil
	Metrics *Metrics     // nil for none
}

const handshakeTimeout = 30 * time.Second

type server struct {
	Options
	front   *front
	closing atomic.Bool
	base    context.Context

	mu    sync.Mutex
	links map[*link]struct{}
	per   map[netip.Prefix]int
	empty chan struct{} // closed when closing and no link is left
}

// Serve accepts connections until ctx ends. Then idle clients are sent away
// with 421, messages under way are finished within Grace, and it returns when
// the last connection has ended.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	o.defaults()
	base, hard := context.WithCancel(context.WithoutCancel(ctx))
	defer hard()
	s := &server{
		Options: o, base: base,
		front: &front{conns: make(chan net.Conn), done: make(chan struct{}), addr: l.Addr()},
		links: make(map[*link]struct{}), per: make(map[netip.Prefix]int), empty: make(chan struct{}),
	}
	lib := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return o.Session(c.Conn().(*Conn))
	}))
	lib.LMTP = o.LMTP
	lib.Domain = o.Hostname
	lib.MaxRecipients = o.MaxRecipients
	lib.MaxMessageBytes = o.MaxSize
	lib.MaxLineLength = 0 // the guard's; in a message any length is kept
	lib.AllowInsecureAuth = true
	lib.EnableSMTPUTF8 = true
	lib.ErrorLog = libraryLog{o.Log, o.Proto}

	var wg sync.WaitGroup
	wg.Go(func() { lib.Serve(s.front) })
	accepted := make(chan error, 1)
	var shaking sync.WaitGroup
	wg.Go(func() { accepted <- s.accept(l, &shaking) })

	var err error
	select {
	case <-ctx.Done():
		l.Close()
		<-accepted
	case err = <-accepted:
		l.Close()
	}
	s.stop(hard)
	shaking.Wait()
	// All connections have ended, so this waits only for the library's goroutines.
	lib.Shutdown(context.WithoutCancel(ctx))
	wg.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return err
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Postmaster == "" {
		o.Postmaster = o.Hostname
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	for _, d := range []struct {
		v *int
		n int
	}{{&o.MaxRecipients, 1000}, {&o.MaxErrors, 10}, {&o.MaxAuthFailures, 3}, {&o.MaxConns, 1000}, {&o.MaxPerAddress, 20}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	for _, d := range []struct{ v, n *time.Duration }{
		{&o.Idle, new(5 * time.Minute)},
		{&o.DataIdle, new(3 * time.Minute)},
		{&o.WriteTimeout, new(time.Minute)},
		{&o.Grace, new(8 * time.Second)},
	} {
		if *d.v == 0 {
			*d.v = *d.n
		}
	}
}

func (s *server) accept(l net.Listener, shaking *sync.WaitGroup) error {
	for wait := 5 * time.Millisecond; ; {
		raw, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of descriptors, most likely: it passes.
			s.Log.Warn("accept", "proto", s.Proto, "err", err)
			time.Sleep(wait)
			if wait = min(2*wait, time.Second); s.closing.Load() {
				return err
			}
			continue
		}
		wait = 5 * time.Millisecond
		k, why := s.take(raw)
		if why != "" {
			shaking.Go(func() { s.refuse(raw, why) })
			continue
		}
		if s.TLS == nil || !s.Implicit {
			if !s.front.give(newConn(k, nil, false)) {
				k.close()
			}
			continue
		}
		shaking.Go(func() {
			t := tls.Server(raw, s.TLS)
			state, err := s.handshake(k.ctx, t)
			if err != nil {
				level := slog.LevelInfo
				if errors.Is(err, io.EOF) {
					level = slog.LevelDebug // somebody looked whether the door is open
				}
				s.Log.Log(k.ctx, level, "TLS failed", "proto", s.Proto, "remote", k.remote, "err", err)
				k.close()
				return
			}
			k.net = t
			if !s.front.give(newConn(k, &state, false)) {
				k.close()
			}
		})
	}
}

func (s *server) handshake(ctx context.Context, t *tls.Conn) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	err := t.HandshakeContext(ctx)
	return t.ConnectionState(), err
}

// take counts a connection, or says why it is one too many.
func (s *server) take(raw net.Conn) (*link, string) {
	remote := addrOf(raw.RemoteAddr())
	if s.Refuse != nil {
		if why := s.Refuse(remote); why != "" {
			return nil, why
		}
	}
	ctx, cancel := context.WithCancel(s.base)
	k := &link{srv: s, raw: raw, net: raw, remote: remote, ctx: ctx, cancel: cancel}
	key := addressKey(remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.links) >= s.MaxConns:
		cancel()
		return nil, "4.3.2 Too busy, try again later"
	case s.per[key] >= s.MaxPerAddress && !remote.IsLoopback():
		cancel()
		return nil, "4.7.0 Too many connections from your address"
	}
	s.links[k] = struct{}{}
	s.per[key]++
	s.Metrics.conns.WithLabelValues(s.Proto).Inc()
	return k, ""
}

func (s *server) drop(k *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.links[k]; !ok {
		return
	}
	delete(s.links, k)
	key := addressKey(k.remote)
	if s.per[key]--; s.per[key] == 0 {
		delete(s.per, key)
	}
	s.Metrics.conns.WithLabelValues(s.Proto).Dec()
	if len(s.links) == 0 && s.closing.Load() {
		s.closeEmpty()
	}
}

func (s *server) closeEmpty() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// stop sends idle clients away and waits for the others.
func (s *server) stop(hard context.CancelFunc) {
	s.closing.Store(true)
	s.mu.Lock()
	for k := range s.links {
		if k.waiting.Load() {
			k.raw.SetReadDeadline(time.Now())
		}
	}
	if len(s.links) == 0 {
		s.closeEmpty()
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
	case <-time.After(s.Grace):
		hard()
		s.mu.Lock()
		for k := range s.links {
			k.kill()
		}
		s.mu.Unlock()
	}
	s.front.Close()
}

func (s *server) refuse(raw net.Conn, why string) {
	s.Metrics.refused.WithLabelValues(s.Proto).Inc()
	s.Log.Info("connection refused", "proto", s.Proto, "remote", raw.RemoteAddr(), "why", why)
	if s.TLS == nil || !s.Implicit {
		raw.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprintf(raw, "421 %s\r\n", why)
	}
	raw.Close()
}

func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.IPv6Loopback() // a Unix socket or a pipe
	}
	return ap.Addr().Unmap()
}

func addressKey(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// front is the listener that the library sees: it gets conversations.
type front struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func (f *front) give(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *front) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

func (f *front) Addr() net.Addr { return f.addr }

// libraryLog takes what the library logs: panics with their stack, and
// connections that broke off.
type libraryLog struct {
	log   *slog.Logger
	proto string
}

func (l libraryLog) Printf(format string, v ...any) {
	s := fmt.Sprintf(format, v...)
	if head, stack, ok := strings.Cut(s, "\n"); ok && strings.HasPrefix(s, "panic") {
		l.log.Error("panic", "proto", l.proto, "panic", head, "stack", stack)
		return
	}
	l.log.Debug("library", "proto", l.proto, "text", s)
}

func (l libraryLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }
