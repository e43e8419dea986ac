package imap

import "context"

// capability answers CAPABILITY (RFC 9051 section 6.1.1).
func (c *conn) capability(context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.untagged("CAPABILITY ")
	c.e.Raw(c.capabilities())
	c.e.CRLF()
	return nil
}
