package imap

import "context"

// noop answers NOOP (RFC 9051 section 6.1.2): the update that follows every
// command is all that it is for.
func (c *conn) noop(context.Context) error { return c.d.End() }

// check answers CHECK (RFC 3501 section 6.4.1): everything is on disk already.
func (c *conn) check(context.Context) error { return c.d.End() }
