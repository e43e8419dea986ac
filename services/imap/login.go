package imap

import "context"

// login answers LOGIN (RFC 9051 section 6.2.3).
func (c *conn) login(ctx context.Context) error {
	d := c.d
	d.SP()
	user := d.AString()
	d.SP()
	password := d.AString()
	if err := d.End(); err != nil {
		return err
	}
	return c.signIn(ctx, user, password)
}
