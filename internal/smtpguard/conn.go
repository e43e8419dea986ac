package smtpguard

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

const (
	// A line may have 12,288 bytes (AUTH, RFC 4954 section 4), a command 2,048:
	// the 512 of RFC 5321 and what extensions add.
	maxLine    = 12 << 10
	maxCommand = 2048
	readBuffer = 16 << 10
	maxPending = 32 << 10 // replies gathered before they are sent anyway

	bareText = "Bare CR or LF in message"
)

// Params are the parameters of the MAIL command that the guard keeps.
type Params struct {
	Size  int64  // RFC 1870; -1 when not declared
	UTF8  bool   // RFC 6531
	ID    string // XID, from peers only: the message's id
	Trace int64  // XTRACE, from peers only: bytes of trace headers in front
	Own   bool   // XOWN, from peers only: from a signed-in user or one of our mailboxes
}

type mode uint8

const (
	modeCommand mode = iota
	modeAuth         // the next line answers a 334
	modeData
	modeChunk
)

// link is a network connection, before and after STARTTLS.
type link struct {
	srv    *server
	raw    net.Conn
	remote netip.Addr
	ctx    context.Context
	cancel context.CancelFunc

	mu   sync.Mutex // guards what follows, and reply state in Conn
	net  net.Conn
	out  []byte
	gone bool

	waiting atomic.Bool // in a read between commands
	expired atomic.Bool // see Expire
}

// Conn is one conversation, as the library and the session see it. After
// STARTTLS there is another one.
type Conn struct {
	*link
	br  *bufio.Reader
	tls *tls.ConnectionState

	// Written by the library's replies, under mu.
	line    []byte // of a reply, incomplete
	silent  bool   // the greeting is not sent: this conversation follows STARTTLS
	last    int    // code of the newest reply
	replied bool   // there was a reply since begin

	// Owned by the goroutine that reads.
	mode     mode
	state    state
	scan     scanner
	chunk    int64  // bytes to come
	final    bool   // it is the last
	pending  string // rest of the line for the library
	detached bool   // STARTTLS took the link away
	dead     bool   // nothing more is read
	fatal    *gosmtp.SMTPError

	verb     string
	begun    time.Time
	open     bool // a command is being answered
	errors   int
	failures int // of sign-in
	authed   bool
	extended bool // EHLO
	helo     string
	path     string
	params   Params
}

func newConn(l *link, secure *tls.ConnectionState, silent bool) *Conn {
	c := &Conn{link: l, tls: secure, silent: silent, state: fresh}
	c.br = bufio.NewReaderSize(source{c}, readBuffer)
	return c
}

// source is the network below the buffer: it sends the gathered replies before
// it waits, and waits no longer than allowed.
type source struct{ c *Conn }

func (s source) Read(p []byte) (int, error) {
	c := s.c
	if err := c.Flush(); err != nil {
		return 0, err
	}
	between := c.mode == modeCommand || c.mode == modeAuth
	wait := c.srv.Idle
	if !between {
		wait = c.srv.DataIdle
	}
	c.net.SetReadDeadline(time.Now().Add(wait))
	if between {
		c.waiting.Store(true)
		defer c.waiting.Store(false)
		if c.srv.closing.Load() || c.expired.Load() {
			return 0, os.ErrDeadlineExceeded
		}
	}
	return c.net.Read(p)
}

// settle draws the consequences of the reply to the command before.
func (c *Conn) settle() {
	c.mu.Lock()
	code, replied := c.last, c.replied
	c.mu.Unlock()
	if !c.open || !replied {
		return
	}
	c.open = false
	ok := code/100 == 2
	switch c.verb {
	case "EHLO", "HELO", "LHLO":
		if ok {
			c.state = greeted
		}
	case "RSET":
		if ok && c.state != fresh {
			c.state = greeted
		}
	case "MAIL":
		if ok {
			c.state = hasFrom
		}
	case "RCPT":
		if ok {
			c.state = hasTo
		}
	case "DATA":
		if code == 354 {
			c.mode, c.scan = modeData, scanner{dots: true}
			c.open = true // the reply that counts is still to come
			return
		}
		if c.state == hasTo {
			c.state = greeted
		}
	case "BDAT":
		switch {
		case c.state&(hasTo|inData) == 0:
		case ok && !c.final:
			c.state = inData
		default:
			c.state = greeted
		}
	case "AUTH":
		switch code {
		case 334:
			c.mode = modeAuth
		case 235:
			c.authed = true
		case 535:
			if c.failures++; c.failures >= c.srv.MaxAuthFailures {
				c.doom(421, "4.7.0", "Too many failed sign-ins")
			}
		}
	}
	c.srv.observe(c, code)
	if code == 421 {
		c.dead = true
	}
}

// answered closes a command that the library did not see.
func (c *Conn) answered() {
	c.mu.Lock()
	code, replied := c.last, c.replied
	c.mu.Unlock()
	if c.open && replied {
		c.open = false
		c.srv.observe(c, code)
	}
}

// begin notes that a command is being answered.
func (c *Conn) begin(verb string, known bool) {
	if !known {
		verb = "?"
	}
	c.verb, c.begun, c.open = verb, time.Now(), true
	c.mu.Lock()
	c.replied = false
	c.mu.Unlock()
}

// reply answers a command here.
func (c *Conn) reply(code int, status, text string) {
	c.mu.Lock()
	c.out = append(c.out, replyLine(code, status, text)...)
	c.last, c.replied = code, true
	c.mu.Unlock()
}

// fail answers a command that was wrong, which is allowed only so often.
func (c *Conn) fail(code int, status, text string) {
	c.reply(code, status, text)
	if c.errors++; c.errors >= c.srv.MaxErrors {
		c.doom(421, "4.7.0", "Too many errors")
	}
}

// doom answers and ends the connection.
func (c *Conn) doom(code int, status, text string) {
	c.reply(code, status, text)
	c.dead = true
}

// Write takes the library's replies.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, net.ErrClosed
	}
	c.line = append(c.line, p...)
	for {
		i := indexLine(c.line)
		if i < 0 {
			break
		}
		c.replyFromLibrary(string(c.line[:i]))
		c.line = append(c.line[:0], c.line[i:]...)
	}
	if len(c.out) > maxPending {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func indexLine(b []byte) int {
	for i, ch := range b {
		if ch == '\n' {
			return i + 1
		}
	}
	return -1
}

// replyFromLibrary passes one line of a reply on. mu is held.
func (c *Conn) replyFromLibrary(line string) {
	code, final := 0, true
	if len(line) >= 4 {
		code, _ = strconv.Atoi(line[:3])
		final = line[3] != '-'
	}
	if c.silent {
		c.silent = !final
		return
	}
	if final && code == 250 && (c.verb == "EHLO" || c.verb == "LHLO") {
		if c.srv.TLS != nil && c.tls == nil {
			c.out = append(c.out, "250-STARTTLS\r\n"...)
		}
		if c.Peer() {
			c.out = append(c.out, "250-XID\r\n250-XTRACE\r\n250-XOWN\r\n"...)
		}
	}
	c.out = append(c.out, line...)
	if final {
		c.last, c.replied = code, true
	}
}

// Flush sends the gathered replies. A session calls it before it makes a
// client wait on purpose.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}

func (l *link) flush() error {
	if len(l.out) == 0 || l.gone {
		return nil
	}
	l.net.SetWriteDeadline(time.Now().Add(l.srv.WriteTimeout))
	_, err := l.net.Write(l.out)
	l.out = l.out[:0]
	if cap(l.out) > maxPending {
		l.out = nil
	}
	return err
}

// upgrade answers STARTTLS and begins another conversation under TLS.
func (c *Conn) upgrade() {
	c.reply(220, "2.0.0", "Ready to start TLS")
	c.srv.observe(c, 220)
	c.open = false
	if c.Flush() != nil {
		c.dead = true
		return
	}
	t := tls.Server(c.net, c.srv.TLS)
	state, err := c.srv.handshake(c.ctx, t)
	c.dead = true
	if err != nil {
		c.srv.Log.Info("TLS failed", "proto", c.srv.Proto, "remote", c.remote, "err", err)
		return
	}
	c.mu.Lock()
	c.net = t
	c.mu.Unlock()
	c.detached = true
	next := newConn(c.link, &state, true)
	next.errors, next.failures = c.errors, c.failures
	if !c.srv.front.give(next) {
		next.Close()
	}
}

// Close sends what is left and ends the connection, unless STARTTLS took it over.
func (c *Conn) Close() error {
	if c.detached {
		return nil
	}
	return c.link.close()
}

func (l *link) close() error {
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return nil
	}
	l.flush()
	l.gone = true
	l.mu.Unlock()
	l.cancel()
	err := l.net.Close()
	l.srv.drop(l)
	return err
}

// kill breaks the connection off, even under somebody who is writing to it.
func (l *link) kill() {
	l.cancel()
	l.raw.Close()
}

// Expire ends the connection before its next command: the account that signed
// in may not go on. It may be called from anywhere.
func (c *Conn) Expire() {
	c.expired.Store(true)
	if c.waiting.Load() {
		c.raw.SetReadDeadline(time.Now())
	}
}

// TLS is the state of TLS, or nil.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Addr is the address of the client.
func (c *Conn) Addr() netip.Addr { return c.remote }

// Context ends with the connection or the server.
func (c *Conn) Context() context.Context { return c.ctx }

// Peer tells whether the client is one of our own processes: by a verified
// certificate, or by loopback where the door is configured so.
func (c *Conn) Peer() bool {
	if c.tls != nil && len(c.tls.VerifiedChains) > 0 {
		return true
	}
	return c.srv.TrustLoopback && c.remote.IsLoopback()
}

// Path is the address of the MAIL or RCPT under way, canonical. (The library
// hands addresses over without their quotes.)
func (c *Conn) Path() string { return c.path }

// Params are the parameters of the MAIL command under way.
func (c *Conn) Params() Params { return c.params }

// Helo is the client's name for itself.
func (c *Conn) Helo() string { return c.helo }

// Extended tells whether the client said EHLO or LHLO.
func (c *Conn) Extended() bool { return c.extended }

// LocalAddr is the door's address.
func (c *Conn) LocalAddr() net.Addr { return c.net.LocalAddr() }

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// SetDeadline does nothing: the guard has its own.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: the guard has its own.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: the guard has its own.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
