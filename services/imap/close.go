package imap

import "context"

// closeFolder answers CLOSE (RFC 9051 section 6.4.1): what is marked deleted
// goes, and nobody is told.
func (c *conn) closeFolder(ctx context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	if !c.view.readOnly {
		if _, err := c.removeMarked(ctx, nil); err != nil {
			return err
		}
	}
	c.leaveFolder()
	return nil
}

// unselect answers UNSELECT (RFC 9051 section 6.4.2).
func (c *conn) unselect(context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.leaveFolder()
	return nil
}
