package imap

import "context"

// namespace answers NAMESPACE (RFC 2342): one personal namespace without a
// prefix.
func (c *conn) namespace(context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.untagged("NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
	return nil
}
