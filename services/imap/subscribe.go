package imap

import "context"

// subscribe answers SUBSCRIBE (RFC 9051 section 6.3.7). Only what exists can be
// subscribed to.
func (c *conn) subscribe(ctx context.Context) error { return c.setSubscribed(ctx, true) }

// unsubscribe answers UNSUBSCRIBE (RFC 9051 section 6.3.8).
func (c *conn) unsubscribe(ctx context.Context) error { return c.setSubscribed(ctx, false) }

func (c *conn) setSubscribed(ctx context.Context, on bool) error {
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return err
	}
	f, err := c.folder(ctx, name)
	if err != nil {
		return err
	}
	if f.Subscribed == on {
		return nil
	}
	return c.server.mail.SubscribeFolder(ctx, c.who, c.box, f.ID, on)
}
