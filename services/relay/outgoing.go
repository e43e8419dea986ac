package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/internal/envelope"
)

// client is a connection to another server.
type client struct {
	*gosmtp.Client
	hop  hop
	conn net.Conn
	sent int
	stop func() bool
}

func (c *client) close() {
	c.stop()
	c.Client.Close()
}

// connect tries the hops in turn. The error is of the last that answered, or a
// temporary failure.
func (r *Relay) connect(ctx context.Context, hops []hop) (*client, error) {
	var refused *gosmtp.SMTPError
	var last error
	for _, h := range hops {
		c, err := r.dial(ctx, h, true)
		if errors.Is(err, errTLS) {
			// Opportunistic: rather in clear than not at all.
			r.o.Log.Info("TLS failed, sending in clear", "proto", "relay", "host", h.name, "err", err)
			c, err = r.dial(ctx, h, false)
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = fmt.Errorf("%s: %w", h.name, err)
		r.o.Log.Info("no connection", "proto", "relay", "cmd", "connect", "host", h.name, "addr", h.addr, "err", err)
		var reply *gosmtp.SMTPError
		if errors.As(err, &reply) && (refused == nil || refused.Code/100 == 5) {
			refused = reply // a temporary refusal by any of them counts
		}
	}
	// A server that refuses for good speaks for the domain only if no other
	// might take the mail.
	if refused != nil {
		return nil, fmt.Errorf("%w", refused)
	}
	return nil, &gosmtp.SMTPError{Code: 0, EnhancedCode: gosmtp.EnhancedCode{4, 4, 1}, Message: "No answer: " + printable(last)}
}

func printable(err error) string {
	if err == nil {
		return "no server"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, err.Error())
}

var errTLS = errors.New("TLS failed")

// dial connects and says hello, with STARTTLS if the server has it. It speaks
// the preface itself: the library would call us localhost before STARTTLS.
func (r *Relay) dial(ctx context.Context, h hop, secure bool) (_ *client, err error) {
	dctx, cancel := context.WithTimeout(ctx, r.o.DialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(dctx, "tcp", h.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if err != nil {
			stop()
			conn.Close()
		}
	}()
	raw := conn
	raw.SetDeadline(time.Now().Add(r.o.ReplyTimeout))
	smart := r.o.SmartHost.Addr == h.addr && h.addr != ""
	if smart && r.o.SmartHost.ImplicitTLS {
		if conn, err = startTLS(dctx, raw, r.tlsConfig(h, smart)); err != nil {
			return nil, err
		}
	}
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		return nil, asReply(err)
	}
	offers, err := ehlo(text, r.o.Hostname)
	if err != nil {
		return nil, err
	}
	if offers["STARTTLS"] && secure && conn == raw {
		if err := command(text, 220, "STARTTLS"); err != nil {
			return nil, fmt.Errorf("%w: %w", errTLS, err)
		}
		if text.R.Buffered() > 0 {
			// Somebody put words into the server's mouth (RFC 3207 section 6).
			return nil, fmt.Errorf("%w: server spoke before TLS", errTLS)
		}
		if conn, err = startTLS(dctx, raw, r.tlsConfig(h, smart)); err != nil {
			if smart && r.o.SmartHost.User != "" {
				return nil, err // never a password in clear
			}
			return nil, fmt.Errorf("%w: %w", errTLS, err)
		}
	}
	raw.SetDeadline(time.Time{})
	c := gosmtp.NewClient(&greeted{Conn: conn, greeting: "220 ready\r\n"})
	c.CommandTimeout, c.SubmissionTimeout = r.o.ReplyTimeout, 2*r.o.ReplyTimeout
	if err := c.Hello(r.o.Hostname); err != nil {
		return nil, err
	}
	if smart && r.o.SmartHost.User != "" {
		if conn == raw && !r.o.SmartHost.AllowClear {
			return nil, errors.New("smart host offers no TLS, so no password is sent")
		}
		if err := c.Auth(sasl.NewPlainClient("", r.o.SmartHost.User, r.o.SmartHost.Password)); err != nil {
			// Our own fault, not the message's.
			return nil, fmt.Errorf("sign-in at the smart host: %s", printable(err))
		}
	}
	return &client{Client: c, hop: h, conn: raw, stop: stop}, nil
}

func (r *Relay) tlsConfig(h hop, smart bool) *tls.Config {
	cfg := &tls.Config{}
	if r.o.TLS != nil {
		cfg = r.o.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = h.name
		if host, _, err := net.SplitHostPort(h.name); err == nil {
			cfg.ServerName = host
		}
	}
	// Without a policy that names the server, a certificate proves nothing:
	// whoever is in the way could as well take STARTTLS out (RFC 7435).
	if !smart || !r.o.SmartHost.Verify {
		cfg.InsecureSkipVerify = true
	}
	return cfg
}

func startTLS(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	t := tls.Client(conn, cfg)
	return t, t.HandshakeContext(ctx)
}

// greeted gives the library the greeting that was read already.
type greeted struct {
	net.Conn
	greeting string
}

func (g *greeted) Read(p []byte) (int, error) {
	if g.greeting != "" {
		n := copy(p, g.greeting)
		g.greeting = g.greeting[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

func ehlo(text *textproto.Conn, name string) (map[string]bool, error) {
	if err := text.PrintfLine("EHLO %s", name); err != nil {
		return nil, err
	}
	_, msg, err := text.ReadResponse(250)
	if err != nil {
		var p *textproto.Error
		if errors.As(err, &p) && p.Code/100 == 5 { // a server without extensions
			return nil, command(text, 250, "HELO "+name)
		}
		return nil, asReply(err)
	}
	offers := make(map[string]bool)
	for line := range strings.SplitSeq(msg, "\n") {
		word, _, _ := strings.Cut(line, " ")
		offers[strings.ToUpper(word)] = true
	}
	return offers, nil
}

func command(text *textproto.Conn, want int, line string) error {
	if err := text.PrintfLine("%s", line); err != nil {
		return err
	}
	_, _, err := text.ReadResponse(want)
	return asReply(err)
}

// asReply makes the library's kind of reply out of textproto's.
func asReply(err error) error {
	var p *textproto.Error
	if !errors.As(err, &p) {
		return err
	}
	r := &gosmtp.SMTPError{Code: p.Code, Message: p.Msg}
	var n int
	if _, e := fmt.Sscanf(p.Msg, "%d.%d.%d %n", &r.EnhancedCode[0], &r.EnhancedCode[1], &r.EnhancedCode[2], &n); e == nil || r.EnhancedCode[0] != 0 {
		_, r.Message, _ = strings.Cut(p.Msg, " ")
	}
	return r
}

// send hands a message to the server of c for some recipients. errs are the
// recipients'; broken means that the connection is of no more use.
func (c *client) send(env envelope.Envelope, to []string, body envelope.Body) (errs []error, broken bool) {
	errs = make([]error, len(to))
	fill := func(err error) []error {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return errs
	}
	if limit, ok := c.MaxMessageSize(); ok && limit > 0 && body.Size() > int64(limit) {
		return fill(&gosmtp.SMTPError{Code: 552, EnhancedCode: gosmtp.EnhancedCode{5, 3, 4}, Message: "Message too big for the next server"}), false
	}
	utf8, err := needsUTF8(env, to, body)
	if err != nil {
		return fill(err), false
	}
	if ok, _ := c.Extension("SMTPUTF8"); utf8 && !ok {
		return fill(&gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 6, 7}, Message: "The next server does not do SMTPUTF8"}), false
	}
	if err := c.Mail(env.From, &gosmtp.MailOptions{UTF8: utf8, Size: int64(len(env.Trace)) + body.Size()}); err != nil {
		return fill(err), c.reset(err)
	}
	accepted := 0
	for i, addr := range to {
		if errs[i] = c.Rcpt(addr, nil); errs[i] == nil {
			accepted++
		} else if lost(errs[i]) {
			return fill(errs[i]), true
		}
	}
	if accepted == 0 {
		return errs, c.reset(nil)
	}
	w, err := c.Data()
	if err != nil {
		return fill(err), c.reset(err)
	}
	if _, err := w.Write(env.Trace); err != nil {
		return fill(err), true
	}
	if _, err := io.Copy(w, envelope.CRLF(body.Reader())); err != nil {
		return fill(err), true
	}
	if err := w.Close(); err != nil {
		return fill(err), lost(err)
	}
	c.sent++
	return errs, false
}

// reset makes the connection ready for another message.
func (c *client) reset(err error) (broken bool) {
	return lost(err) || c.Reset() != nil
}

// lost tells a broken connection (or a 421) from a reply.
func lost(err error) bool {
	var reply *gosmtp.SMTPError
	return err != nil && (!errors.As(err, &reply) || reply.Code == 421)
}

// needsUTF8 tells whether a message can only go on with SMTPUTF8 (RFC 6531
// section 3.6): by its addresses, or by its header where the sender said so.
func needsUTF8(env envelope.Envelope, to []string, body envelope.Body) (bool, error) {
	if !envelope.ASCII(env.From) {
		return true, nil
	}
	for _, addr := range to {
		if !envelope.ASCII(addr) {
			return true, nil
		}
	}
	if !env.UTF8 {
		return false, nil
	}
	h, err := envelope.ReadHeader(body.Reader())
	if err != nil {
		return false, err
	}
	for _, f := range h.Fields {
		if !envelope.ASCII(string(f.Raw)) {
			return true, nil
		}
	}
	return false, nil
}
