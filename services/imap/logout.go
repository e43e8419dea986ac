package imap

import "context"

// logout answers LOGOUT (RFC 9051 section 6.1.3).
func (c *conn) logout(context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.untagged("BYE Goodbye\r\n")
	c.leaveFolder()
	c.state, c.bye = loggedOut, "bye"
	return nil
}
