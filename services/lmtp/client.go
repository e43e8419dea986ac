package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

// ClientOptions say how to reach the mailbox servers.
type ClientOptions struct {
	Hostname string // what we call ourselves
	// Servers gives the addresses (host:port) of the servers of a mailbox
	// database. Any of them will do; they are tried in turn.
	Servers func(homeMDB string) []string
	TLS     *tls.Config   // from the first byte, with our client certificate; nil on loopback
	Dial    time.Duration // 5 s when 0
	Reply   time.Duration // wait for a reply; 2 minutes when 0
	Idle    int           // connections kept for each server; 8 when 0
	Log     *slog.Logger
}

// Client delivers to mailboxes on other servers. It does what
// delivery.Service.Deliver does, over the network.
type Client struct {
	o    ClientOptions
	mu   sync.Mutex
	idle map[string][]*link
	turn int
}

// link is a connection to a server.
type link struct {
	c    *gosmtp.Client
	out  *smtpguard.Outgoing
	conn net.Conn
	used time.Time
	old  bool // it has carried a message before, so it may be gone by now
}

// maxIdle is below the server's own patience.
const maxIdle = time.Minute

// NewClient makes a client. Close ends its connections.
func NewClient(o ClientOptions) *Client {
	if o.Dial == 0 {
		o.Dial = 5 * time.Second
	}
	if o.Reply == 0 {
		o.Reply = 2 * time.Minute
	}
	if o.Idle == 0 {
		o.Idle = 8
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Client{o: o, idle: make(map[string][]*link)}
}

// Deliver hands a message to the servers of its targets and returns the
// targets' errors in the same order: replies of the servers, or Unavailable
// where none could be reached or the outcome is unknown.
func (c *Client) Deliver(ctx context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error {
	errs := make([]error, len(to))
	groups := make(map[string][]int)
	for i, t := range to {
		groups[t.HomeMDB] = append(groups[t.HomeMDB], i)
	}
	var wg sync.WaitGroup
	for mdb, members := range groups {
		wg.Go(func() {
			some := make([]directory.Target, len(members))
			for i, m := range members {
				some[i] = to[m]
			}
			for i, err := range c.group(ctx, env, mdb, some, body) {
				errs[members[i]] = err
			}
		})
	}
	wg.Wait()
	return errs
}

// batch is the most recipients of one transaction.
const batch = 500

func (c *Client) group(ctx context.Context, env envelope.Envelope, mdb string, to []directory.Target, body envelope.Body) []error {
	var errs []error
	for len(to) > 0 {
		n := min(batch, len(to))
		errs = append(errs, c.transaction(ctx, env, mdb, to[:n], body)...)
		to = to[n:]
	}
	return errs
}

// transaction tries the servers of a database in turn until one has answered.
// Since the message has an id, trying again after a lost answer is harmless.
func (c *Client) transaction(ctx context.Context, env envelope.Envelope, mdb string, to []directory.Target, body envelope.Body) []error {
	servers := c.o.Servers(mdb)
	c.mu.Lock()
	c.turn++
	turn := c.turn
	c.mu.Unlock()
	last := fmt.Errorf("no server for mailbox database %q", mdb)
	for i := range servers {
		addr := servers[(turn+i)%len(servers)]
		errs, err := c.try(ctx, addr, env, to, body)
		if err == nil {
			return errs
		}
		last = fmt.Errorf("%s: %w", addr, err)
		c.o.Log.Warn("mailbox server", "proto", "lmtp", "cmd", "deliver", "id", env.ID, "server", addr, "err", err)
		if ctx.Err() != nil {
			break
		}
	}
	errs := make([]error, len(to))
	for i := range errs {
		errs[i] = fault.From(fault.Unavailable, last, "mailbox server not available")
	}
	return errs
}

// try is one transaction with one server, on a kept connection if there is one.
// An error means that the server did not answer to the end.
func (c *Client) try(ctx context.Context, addr string, env envelope.Envelope, to []directory.Target, body envelope.Body) ([]error, error) {
	for {
		l, err := c.get(ctx, addr)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { l.conn.Close() })
		errs, err := l.send(env, to, body)
		stop()
		if err == nil {
			c.put(addr, l)
			return errs, nil
		}
		l.c.Close()
		if !l.old || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (c *Client) get(ctx context.Context, addr string) (*link, error) {
	c.mu.Lock()
	for n := len(c.idle[addr]); n > 0; n-- {
		l := c.idle[addr][n-1]
		c.idle[addr] = c.idle[addr][:n-1]
		if time.Since(l.used) < maxIdle {
			c.mu.Unlock()
			return l, nil
		}
		l.c.Close()
	}
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, c.o.Dial)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if c.o.TLS != nil {
		cfg := c.o.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = t
	}
	out := &smtpguard.Outgoing{Conn: conn}
	l := &link{c: gosmtp.NewClientLMTP(out), out: out, conn: conn}
	l.c.CommandTimeout, l.c.SubmissionTimeout = c.o.Reply, c.o.Reply
	if err := l.c.Hello(c.o.Hostname); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func (c *Client) put(addr string, l *link) {
	l.old, l.used = true, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle[addr]) >= c.o.Idle {
		l.c.Close()
		return
	}
	c.idle[addr] = append(c.idle[addr], l)
}

// Close ends the kept connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for addr, ls := range c.idle {
		for _, l := range ls {
			l.c.Close()
		}
		delete(c.idle, addr)
	}
}

// send is one transaction. The errors are the recipients'; err means that the
// connection is of no more use.
func (l *link) send(env envelope.Envelope, to []directory.Target, body envelope.Body) (errs []error, err error) {
	errs = make([]error, len(to))
	rcpt := "" // with several recipients each would see the others
	if len(to) == 1 {
		rcpt = to[0].Address
	}
	trace := env.Headers(rcpt)
	l.out.Params = fmt.Sprintf(" XID=%s XTRACE=%d", env.ID, len(trace))
	if own, _ := l.c.Extension("XOWN"); own && env.Trusted { // a server of the version before does not know it
		l.out.Params += " XOWN"
	}
	err = l.c.Mail(env.From, &gosmtp.MailOptions{UTF8: env.UTF8 || !allASCII(env.From, to), Size: int64(len(trace)) + body.Size()})
	if err != nil {
		if answered(err) {
			return all(errs, err), l.reset()
		}
		return nil, err
	}
	index := make(map[string][]int, len(to))
	for i, t := range to {
		if len(index[t.Address]) == 0 {
			if err := l.c.Rcpt(t.Address, nil); err != nil {
				if !answered(err) {
					return nil, err
				}
				errs[i] = err
				continue
			}
		}
		index[t.Address] = append(index[t.Address], i)
	}
	if len(index) == 0 {
		return errs, l.reset()
	}
	w, err := l.c.Data()
	if err != nil {
		if answered(err) {
			return l.rest(errs, index, err), l.reset()
		}
		return nil, err
	}
	if _, err := w.Write(trace); err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, envelope.CRLF(body.Reader())); err != nil {
		return nil, err
	}
	replies, err := w.CloseWithLMTPResponse()
	var refused gosmtp.LMTPDataError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	for addr, members := range index {
		switch r, ok := refused[addr]; {
		case ok && r != nil:
			for _, i := range members {
				errs[i] = r
			}
		case replies[addr] == nil:
			for _, i := range members {
				errs[i] = fault.New(fault.Unavailable, "no reply for this recipient")
			}
		}
	}
	return errs, nil
}

func (l *link) reset() error { return l.c.Reset() }

func (l *link) rest(errs []error, index map[string][]int, err error) []error {
	for _, members := range index {
		for _, i := range members {
			errs[i] = err
		}
	}
	return errs
}

func all(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// answered tells a reply of the server from a broken connection.
func answered(err error) bool {
	var r *gosmtp.SMTPError
	return errors.As(err, &r) && r.Code != 421
}

func allASCII(from string, to []directory.Target) bool {
	ok := envelope.ASCII(from)
	for _, t := range to {
		ok = ok && envelope.ASCII(t.Address)
	}
	return ok
}
