package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// conn is one client's connection.
type conn struct {
	server *Server
	work   context.Context // bounds the operations
	from   netip.Addr
	socket net.Conn  // beneath TLS
	nc     net.Conn  // what is spoken on
	tls    *tls.Conn // nil without TLS
	door   Door
	number uint64
	out    output

	// Only the reading goroutine touches these, and it changes what operations
	// look at only while none is under way.
	in       []byte // in[r:w] was read and not understood yet
	r, w     int
	asked    bool // a request has come
	who      directory.Principal
	unwatch  context.CancelFunc // of the epoch
	failures int                // wrong passwords
	places   chan struct{}      // of operations under way
	jobs     chan func()        // to workers that linger
	quit     chan struct{}      // tells them to go
	workers  sync.WaitGroup
	written  chan struct{} // closed when the last write is done

	mu      sync.Mutex
	ops     map[int32]*op
	watches int
	quiet   time.Time      // when the last operation ended
	running sync.WaitGroup // operations
	ended   bool           // the connection shall end:
	bye     code           // with this notice
	byeText string
	byeSay  bool // send the notice at all
	gentle  bool // operations under way may finish
}

// smallRead is the buffer of a connection that is sent small requests.
const smallRead = 1 << 10

func newConn(s *Server, work context.Context, nc net.Conn, from netip.Addr, door Door) *conn {
	c := &conn{
		server: s, work: work, from: from, socket: nc, nc: nc, door: door, number: s.serial.Add(1),
		in: make([]byte, smallRead), places: make(chan struct{}, s.cfg.MaxOperations),
		jobs: make(chan func()), quit: make(chan struct{}),
		ops: make(map[int32]*op), quiet: time.Now(),
	}
	c.out.init(s.cfg.WriteTimeout)
	return c
}

// name tells connections apart in the log.
func (c *conn) name() string { return strconv.FormatUint(c.number, 10) }

func (c *conn) close() {
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.tls != nil {
		_ = c.tls.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.tls.Close()
	}
}

// private tells whether secrets may be sent on this connection (RFC 4513 §6.3:
// not in clear text over a network).
func (c *conn) private() bool {
	return c.tls != nil || c.server.cfg.PlainSignIn || c.from.IsLoopback() || !c.from.IsValid()
}

// end asks the connection to end, with a notice when say is true. The first to
// ask is heard.
func (c *conn) end(why code, text string, say bool) {
	c.mu.Lock()
	first := !c.ended
	if first {
		c.ended, c.bye, c.byeText, c.byeSay = true, why, text, say
	}
	c.mu.Unlock()
	if first {
		// Wakes the read; the deadline of TLS is that of the socket beneath.
		_ = c.socket.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// lost ends the connection after it could not be written to.
func (c *conn) lost(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.server.cfg.Log.Info("slow client cut off", "proto", "ldap", "user", c.who.Address, "from", c.from.String(), "id", c.name())
	}
	c.end(0, "", false)
	_ = c.socket.Close()
}

// panicked ends the connection after a panic.
func (c *conn) panicked(p any, stack []byte) {
	c.server.metrics.panics.Inc()
	c.server.cfg.Log.Error("panic", "proto", "ldap", "user", c.who.Address, "id", c.name(),
		"panic", fmt.Sprint(p), "stack", string(stack))
	c.end(codeOther, "internal error", true)
}

// stop ends the connection because the server does: gently, what is under way
// may finish, and only what would last for ever is cut off.
func (c *conn) stop(gently bool) {
	c.mu.Lock()
	c.gentle = gently && (c.gentle || !c.ended)
	c.mu.Unlock()
	c.end(codeUnavailable, "the server is stopping", true)
	if !gently {
		_ = c.socket.SetWriteDeadline(time.Unix(1, 0)) // one that waits for a slow client
	}
	c.cancelOps(errStopping, func(o *op) bool { return o.watch || !gently })
}

// serve speaks with the client until the end.
func (c *conn) serve() {
	// Whatever happens, no operation outlives its connection.
	defer func() {
		c.mu.Lock()
		gentle := c.gentle
		c.mu.Unlock()
		if !gentle {
			c.cancelOps(errAbandoned, func(o *op) bool { return !o.kind.write })
		}
		c.running.Wait()
		close(c.quit)
		c.workers.Wait()
		c.out.flush()
		c.mu.Lock()
		say, why, text := c.byeSay, c.bye, c.byeText
		c.mu.Unlock()
		if say {
			_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = c.nc.Write(notice(why, text))
			c.drain()
		}
	}()
	for {
		msg, err := c.next()
		if err == nil {
			err = c.handle(msg)
		}
		if err != nil {
			c.farewell(err)
			return
		}
	}
}

// drain reads for a moment what the client has sent already: a socket closed
// with unread bytes is reset, and the notice might never arrive.
func (c *conn) drain() {
	tc, ok := c.socket.(*net.TCPConn)
	if !ok || c.tls != nil {
		return
	}
	_ = tc.CloseWrite()
	_ = tc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	for left := 1 << 20; left > 0; {
		n, err := tc.Read(c.in)
		if err != nil {
			return
		}
		left -= n
	}
}

var (
	errUnbind  = errors.New("unbind")
	errTooBig  = errors.New("the request is too large")
	errNotLDAP = errors.New("this is not LDAP")
	errEnding  = errors.New("the connection is asked to end")
	errIdle    = errors.New("nothing was asked for too long")
	errTooSlow = errors.New("the request did not arrive in time")
)

// farewell chooses the notice for an error of the stream.
func (c *conn) farewell(err error) {
	switch {
	case errors.Is(err, errEnding):
	case errors.Is(err, errUnbind), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		c.end(0, "", false)
	case errors.Is(err, errIdle):
		c.end(codeUnavailable, err.Error(), true) // AD does the same silently
	case errors.Is(err, errTooBig), errors.Is(err, errNotLDAP), errors.Is(err, errTooSlow), malformed(err):
		c.end(codeProtocolError, err.Error(), true)
	default:
		c.end(0, "", false)
		c.server.cfg.Log.Debug("connection lost", "proto", "ldap", "user", c.who.Address, "id", c.name(), "err", err)
	}
}

// next reads a message. What arrives is kept in a small buffer, which grows as
// the bytes of a longer message come, never by what its length claims.
func (c *conn) next() (string, error) {
	limit := c.server.cfg.MaxMessage
	if c.who.ID == 0 {
		limit = c.server.cfg.MaxGuestMessage
	}
	var began time.Time // of the wait for the rest
	if c.ending() {
		return "", errEnding // whatever has been read already
	}
	for {
		size, err := ber.Frame(c.in[c.r:c.w], ber.Sequence)
		switch {
		case errors.Is(err, ber.ErrTag):
			return "", errNotLDAP
		case err != nil:
			return "", err
		case size > limit:
			return "", errTooBig
		case size > 0 && size <= c.w-c.r:
			msg := string(c.in[c.r : c.r+size])
			c.r += size
			c.shrink()
			return msg, nil
		}
		if c.w > c.r && began.IsZero() {
			began = time.Now()
		}
		if err := c.fill(size, began); err != nil {
			return "", err
		}
	}
}

// shrink gives the buffer of a long message back.
func (c *conn) shrink() {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if left := c.w - c.r; len(c.in) > smallRead && left <= smallRead {
		small := make([]byte, smallRead)
		copy(small, c.in[c.r:c.w])
		c.in, c.r, c.w = small, 0, left
	}
}

// fill reads more; size is what the message takes, 0 when that is not known.
func (c *conn) fill(size int, began time.Time) error {
	if c.r > 0 {
		copy(c.in, c.in[c.r:c.w])
		c.w -= c.r
		c.r = 0
	}
	if c.w == len(c.in) {
		grown := make([]byte, max(min(2*len(c.in), size), len(c.in)+smallRead))
		copy(grown, c.in[:c.w])
		c.in = grown
	}
	for {
		until := c.readUntil(began)
		if err := c.nc.SetReadDeadline(until); err != nil {
			return err
		}
		// end sets a deadline in the past after it has set ended; had it come
		// before ours, ended tells.
		if c.ending() {
			return errEnding
		}
		n, err := c.nc.Read(c.in[c.w:])
		c.w += n
		switch {
		case n > 0:
			return nil
		case err == nil:
			continue
		case c.ending():
			return errEnding
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case !began.IsZero() || !c.asked:
			return errTooSlow
		case c.idleSince() >= c.server.cfg.IdleTimeout:
			return errIdle
		}
	}
}

func (c *conn) readUntil(began time.Time) time.Time {
	switch {
	case !began.IsZero():
		return began.Add(c.server.cfg.ReadTimeout)
	case !c.asked:
		return time.Now().Add(c.server.cfg.ReadTimeout)
	}
	return time.Now().Add(max(c.server.cfg.IdleTimeout-c.idleSince(), 10*time.Millisecond))
}

// idleSince tells how long nothing has been under way.
func (c *conn) idleSince() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ops) > 0 {
		return 0
	}
	return time.Since(c.quiet)
}

// handle begins the operation of a message.
func (c *conn) handle(msg string) error {
	r, err := parseRequest(msg)
	if err != nil {
		return err
	}
	c.asked = true
	switch r.tag {
	case tagUnbind: // RFC 4511 §4.3
		return errUnbind
	case tagAbandon:
		c.abandon(r.body)
		return nil
	}
	kind := operations[r.tag]
	if kind == nil || r.id <= 0 || r.id > math.MaxInt32 {
		// RFC 4511 §4.1.1: neither can be answered.
		c.end(codeProtocolError, "no such request", true)
		return errEnding
	}
	o := &op{c: c, id: int32(r.id), kind: kind, body: r.body, rawControls: r.controls, who: c.who, start: time.Now()}
	if r.tag == tagExtended {
		if err := o.extended(); err != nil {
			return err
		}
	}
	return c.begin(o)
}

// begin runs an operation, on a goroutine of its own or here.
func (c *conn) begin(o *op) error {
	if !o.kind.alone && !o.kind.free {
		c.places <- struct{}{} // back pressure: the client's next request waits unread
		o.place = true
	}
	// Not below c.work, which all connections share: its end comes by stop.
	o.ctx, o.cancel = context.WithCancelCause(context.WithoutCancel(c.work))
	c.mu.Lock()
	_, twice := c.ops[o.id]
	if !twice {
		c.ops[o.id] = o
	}
	c.mu.Unlock()
	if twice {
		// RFC 4511 §4.1.1.1: answers could not be told apart.
		o.cancel(errAbandoned)
		c.leave(o)
		c.end(codeProtocolError, "the message id is in use", true)
		return errEnding
	}
	var done chan struct{}
	if o.kind.write {
		o.turn, done = c.written, make(chan struct{})
		c.written = done
	}
	job := func() {
		defer c.finished(o, done)
		defer func() {
			if p := recover(); p != nil {
				c.panicked(p, debug.Stack())
			}
		}()
		o.run()
	}
	if o.kind.alone {
		job()
		return nil
	}
	c.running.Add(1)
	select {
	case c.jobs <- job: // to one that lingers
	default:
		c.workers.Go(func() { c.worker(job) })
	}
	return nil
}

// linger is how long a goroutine waits for another operation of its connection:
// a new one would have to grow its stack first.
const linger = 500 * time.Millisecond

// worker runs an operation, and those that come soon after.
func (c *conn) worker(job func()) {
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		job()
		job = nil // and what it holds
		c.running.Done()
		idle.Reset(linger)
		select {
		case job = <-c.jobs:
		case <-idle.C:
			return
		case <-c.quit:
			return
		}
	}
}

// leave gives the operation's place to the next.
func (c *conn) leave(o *op) {
	if o.place {
		o.place = false
		<-c.places
	}
}

// forget takes an operation out of those under way. It is done before the
// result is sent: then the client may use its message id again, begin TLS, or
// be idle.
func (c *conn) forget(o *op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops[o.id] != o {
		return
	}
	delete(c.ops, o.id)
	if o.watch {
		c.watches--
	}
	if len(c.ops) == 0 {
		c.quiet = time.Now()
	}
}

// finished ends an operation whose result was sent.
func (c *conn) finished(o *op, done chan struct{}) {
	c.forget(o)
	c.leave(o)
	c.mu.Lock()
	if o.done != nil {
		close(o.done)
	}
	c.mu.Unlock()
	o.cancel(context.Canceled)
	if done != nil {
		close(done)
	}
}

// errStopping is what operations hear that the server's end cuts off.
var errStopping = fault.New(fault.Unavailable, "the server is stopping")

// cancelOps cuts off those operations that which names.
func (c *conn) cancelOps(cause error, which func(*op) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.ops {
		if which(o) {
			o.cancel(cause)
		}
	}
}

// settle ends what is under way before an operation that must be alone: writes
// finish, everything else is abandoned (RFC 4511 §4.2.1).
func (c *conn) settle(self *op) {
	c.cancelOps(errAbandoned, func(o *op) bool { return o != self && !o.kind.write })
	c.running.Wait()
}
