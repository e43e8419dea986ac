package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

// PeerClient hands messages over to the transport's inner door. It does what
// the queue's Enqueue does, over the network: asked again under the same id it
// changes nothing.
type PeerClient struct {
	Hostname string
	Servers  []string      // host:port of the inner doors; tried in turn
	TLS      *tls.Config   // from the first byte, with our client certificate; nil on loopback
	Timeout  time.Duration // of a whole hand-over; 2 minutes when 0
}

// Enqueue hands a message over and returns once the transport has committed it.
func (p *PeerClient) Enqueue(ctx context.Context, s envelope.Submission, body envelope.Body) (err error) {
	defer fault.Wrap(&err, "hand message %s over", s.ID)
	if p.Timeout == 0 {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		return p.enqueue(ctx, s, body)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	return p.enqueue(ctx, s, body)
}

func (p *PeerClient) enqueue(ctx context.Context, s envelope.Submission, body envelope.Body) error {
	last := error(fault.New(fault.Unavailable, "no transport is known"))
	for _, addr := range p.Servers {
		if last = p.to(ctx, addr, s, body); last == nil {
			return nil
		}
	}
	return fault.From(fault.Unavailable, last, "transport not available")
}

func (p *PeerClient) to(ctx context.Context, addr string, s envelope.Submission, body envelope.Body) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if p.TLS != nil {
		cfg := p.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = t
	}
	trace := s.Headers("")
	c := gosmtp.NewClient(&smtpguard.Outgoing{Conn: conn, Params: fmt.Sprintf(" XID=%s XTRACE=%d", s.ID, len(trace))})
	if err := c.Hello(p.Hostname); err != nil {
		return err
	}
	utf8 := s.UTF8 || !envelope.ASCII(s.From)
	for _, to := range s.To {
		utf8 = utf8 || !envelope.ASCII(to)
	}
	if err := c.Mail(s.From, &gosmtp.MailOptions{UTF8: utf8, Size: int64(len(trace)) + body.Size()}); err != nil {
		return err
	}
	for _, to := range s.To {
		if err := c.Rcpt(to, nil); err != nil {
			return fmt.Errorf("recipient %s: %w", to, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(trace); err != nil {
		return err
	}
	if _, err := io.Copy(w, envelope.CRLF(body.Reader())); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.CommandTimeout = time.Second // nothing depends on the answer
	c.Quit()
	return nil
}
