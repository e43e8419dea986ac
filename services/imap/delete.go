package imap

import (
	"context"

	"waypost/internal/fault"
)

// deleteFolder answers DELETE (RFC 9051 section 6.3.5). A mailbox with others
// below it is refused, which leaves nothing that cannot be selected.
func (c *conn) deleteFolder(ctx context.Context) error {
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return err
	}
	f, err := c.folder(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case f.path == "INBOX":
		return no("CANNOT", "INBOX cannot be deleted")
	case f.children:
		return no("HASCHILDREN", "There are mailboxes below it")
	}
	err = c.server.mail.DeleteFolder(ctx, c.who, c.box, f.ID, false)
	switch fault.Of(err) {
	case fault.Conflict:
		return no("HASCHILDREN", "There are folders below it")
	case fault.Denied:
		return no("CANNOT", "A standard mailbox cannot be deleted")
	}
	if err == nil && c.view != nil && c.view.folder.ID == f.ID {
		c.leaveFolder()
	}
	return err
}
