package imap

import (
	"context"
	"crypto/tls"
	"time"
)

// startTLS answers STARTTLS (RFC 9051 section 6.2.1). Whatever the client sent
// behind it in clear text is thrown away, for anybody could have put it there.
func (c *conn) startTLS(ctx context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	if c.secure {
		return bad("", "TLS is active already")
	}
	if c.server.cfg.TLS == nil {
		return no("", "TLS is not available")
	}
	if c.d.Buffered() > 0 {
		c.bye = "Plain text after STARTTLS"
		return bad("", "Commands must wait for TLS")
	}
	c.e.Raw(c.tag)
	c.e.Raw(" OK Begin TLS now\r\n")
	if err := c.e.Flush(); err != nil {
		return &fatalError{err}
	}
	tc := tls.Server(c.nc, c.server.cfg.TLS)
	_ = c.nc.SetDeadline(time.Time{})
	hctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		c.bye = "TLS failed"
		c.state = loggedOut // nothing more can be said
		return &fatalError{err}
	}
	c.setTransport(tc, true)
	return errAnswered
}
