package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/imap/imapwire"
	"waypost/store"
)

// conn is one client's connection. Only its own goroutine touches it, and while
// it idles the two agree by the field idling.
type conn struct {
	server *Server
	stop   context.Context // ends when the server stops or the sign-in is void
	work   context.Context // bounds the commands
	cancel context.CancelFunc
	from   netip.Addr
	nc     net.Conn
	secure bool
	t      transport
	d      *imapwire.Decoder
	e      *imapwire.Encoder

	state    states
	guest    bool // still counted as not signed in
	signInBy time.Time
	who      directory.Principal
	box      store.MailboxID
	unwatch  context.CancelFunc // of the epoch
	failures int                // wrong passwords
	mistakes int                // commands refused with BAD, in a row, before sign-in

	rev2      bool // ENABLE IMAP4rev2
	utf8      bool // ENABLE UTF8=ACCEPT
	condstore bool // the client has shown that it knows CONDSTORE

	view    *view // the selected folder; nil unless selected
	watcher store.Watcher
	saved   savedResult // SEARCHRES
	dirty   bool        // the watcher has woken and the store was not asked yet

	refreshed time.Time // when it was asked last
	idling    bool
	poked     atomic.Bool // interrupt was called

	// of the present command
	tag, cmd string
	okCode   string // response code of the tagged OK, without brackets
	okText   string
	bye      string // end the connection after this command, with this text
}

func newConn(s *Server, stop, work context.Context, nc net.Conn, from netip.Addr) *conn {
	c := &conn{server: s, stop: stop, from: from, guest: true, state: notAuthenticated}
	c.signInBy = time.Now().Add(s.cfg.SignInTimeout)
	c.work, c.cancel = context.WithCancel(work)
	c.setTransport(nc, false)
	return c
}

// setTransport begins to speak on nc; whatever was read ahead on an earlier
// connection is forgotten (RFC 9051 section 6.2.1).
func (c *conn) setTransport(nc net.Conn, secure bool) {
	c.nc, c.secure = nc, secure
	c.t = transport{c: c, nc: nc}
	c.d = imapwire.NewDecoder(&c.t, imapwire.Limits{})
	c.e = imapwire.NewEncoder(&c.t)
	c.d.Continue = func() error {
		c.e.Raw("+ Ready\r\n")
		return c.e.Flush()
	}
}

func (c *conn) close() {
	c.leaveFolder()
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.guest {
		c.server.known(c.from)
	}
	c.cancel()
	if tc, ok := c.nc.(*tls.Conn); ok {
		_ = tc.SetWriteDeadline(time.Now().Add(time.Second))
		_ = tc.Close()
	}
}

func (c *conn) signedIn() bool { return c.state != notAuthenticated }

// ending tells whether the connection shall end: between commands as soon as
// it is asked to, within one when that is cut off.
func (c *conn) ending(between bool) bool {
	return c.work.Err() != nil || between && c.stop.Err() != nil || c.poked.Load()
}

// interrupt ends a read that waits, or the next one.
func (c *conn) interrupt() {
	c.poked.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// serve speaks with the client from the greeting to the end.
func (c *conn) serve() {
	// Contexts that end wake the read. After STARTTLS c.nc is the TLS
	// connection; its deadline is that of the socket beneath.
	socket := c.nc
	wake := func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(c.stop, wake)()
	defer context.AfterFunc(c.work, wake)()

	c.e.Raw("* OK [CAPABILITY ")
	c.e.Raw(c.capabilities())
	c.e.Raw("] Waypost ready\r\n")
	for c.bye == "" {
		c.t.between = true
		err := c.d.Next()
		c.t.between = false
		if err == nil {
			c.command()
			err = c.d.Finish()
		}
		if err != nil {
			c.farewell(err)
			break
		}
	}
	if c.bye != "" && c.state != loggedOut {
		c.e.Raw("* BYE ")
		c.e.Raw(c.bye)
		c.e.CRLF()
	}
	_ = c.e.Flush()
}

// farewell chooses the BYE for an error of the stream.
func (c *conn) farewell(err error) {
	switch {
	case c.bye != "":
	case errors.Is(err, errStopped):
		if c.who.ID != 0 && c.epochEnded() {
			c.bye = "[EXPIRED] The account has changed, please sign in again"
		} else {
			c.bye = "[UNAVAILABLE] The server is stopping"
		}
	case errors.Is(err, imapwire.ErrTooLong):
		c.bye = "[TOOBIG] Command too long"
	case errors.Is(err, imapwire.ErrDesync):
		c.bye = "[TOOBIG] Literal too large"
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.bye = "Autologout: idle for too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
	default:
		c.server.cfg.Log.Debug("connection lost", "proto", "imap", "user", c.who.Address, "err", err)
	}
}

// command reads, runs and answers one command, and writes its line in the log.
func (c *conn) command() {
	start := time.Now()
	c.okCode, c.okText, c.cmd = "", "", ""
	c.tag = c.d.Tag()
	var err error
	if c.d.SP(); c.d.Err() != nil {
		c.tag = "*"
		err = c.d.Err()
	} else {
		err = c.dispatch()
	}
	// What changed in the folder is told before the tagged reply.
	if err == nil || !isFatal(err) {
		if uerr := c.update(c.work); uerr != nil && err == nil {
			err = uerr
		}
	}
	result := "OK"
	if err != errAnswered { //nolint:errorlint // the very value
		result = c.reply(err)
	} else {
		err = nil
	}
	if result == "BAD" {
		if c.mistakes++; !c.signedIn() && c.mistakes >= maxMistakes {
			c.bye = "Too many mistakes"
		}
	} else {
		c.mistakes = 0
	}
	c.logCommand(start, result, err)
}

// maxMistakes is how many BAD in a row end a connection before sign-in: it is
// no IMAP client (a browser led to this port, a scanner).
const maxMistakes = 5

// dispatch finds the command in the table and runs it.
func (c *conn) dispatch() error {
	name := c.d.Word()
	if name == "UID" {
		c.d.SP()
		name = "UID " + c.d.Word()
	}
	if err := c.d.Err(); err != nil {
		return err
	}
	cmd, ok := commands[name]
	if !ok {
		return bad("", "Unknown command")
	}
	c.cmd = name
	if cmd.in&c.state == 0 {
		return bad("", "Command not allowed in this state")
	}
	return cmd.run(c, c.work)
}

// reply writes the tagged reply for what a command returned.
func (c *conn) reply(err error) (result string) {
	r := replyFor(err)
	code, text := r.code, r.text
	if err == nil {
		r.status = "OK"
		code, text = c.okCode, c.okText
		if text == "" {
			text = "done"
		}
	}
	if isFatal(err) {
		return "gone"
	}
	if c.state == loggedOut {
		// LOGOUT has said BYE; its OK follows.
		code = ""
	}
	c.e.Raw(c.tag)
	c.e.Byte(' ')
	c.e.Raw(r.status)
	c.e.Byte(' ')
	if code != "" {
		c.e.Byte('[')
		c.e.Raw(code)
		c.e.Raw("] ")
	}
	c.e.Raw(text)
	c.e.CRLF()
	return r.status
}

func (c *conn) logCommand(start time.Time, result string, err error) {
	cmd := c.cmd
	if cmd == "" {
		cmd = "-"
	}
	dur := time.Since(start)
	c.server.metrics.commands.WithLabelValues(cmd, result).Inc()
	if cmd != "IDLE" {
		c.server.metrics.latency.WithLabelValues(cmd).Observe(dur.Seconds())
	}
	// A line for every fetch would be most of the log: what went well and is
	// no sign-in is for those who ask for it.
	level := slog.LevelDebug
	switch {
	case err != nil && fault.Of(err) == fault.Internal && result == "NO" && !isReply(err):
		level = slog.LevelError
	case cmd == "LOGIN" || cmd == "AUTHENTICATE":
		level = slog.LevelInfo
	}
	if !c.server.cfg.Log.Enabled(c.work, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("proto", "imap"), slog.String("cmd", cmd), slog.String("user", c.who.Address),
		slog.Duration("dur", dur), slog.String("result", result), slog.String("from", c.from.String()),
	}
	if err != nil {
		attrs = append(attrs, slog.String("fault", fault.Of(err).String()), slog.String("err", err.Error()))
	}
	c.server.cfg.Log.LogAttrs(c.work, level, "command", attrs...)
}

// untagged begins an untagged response.
func (c *conn) untagged(s string) {
	c.e.Raw("* ")
	c.e.Raw(s)
}
