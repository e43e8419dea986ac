package imap

import (
	"context"
	"slices"
	"strings"

	"waypost/internal/fault"
	"waypost/store"
)

// rename answers RENAME (RFC 9051 section 6.3.6).
func (c *conn) rename(ctx context.Context) error {
	d := c.d
	d.SP()
	from := d.Mailbox()
	d.SP()
	to := strings.TrimSuffix(d.Mailbox(), delimiter)
	if err := d.End(); err != nil {
		return err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	f, ok := t.find(from)
	if !ok {
		return errNoMailbox
	}
	if _, ok := t.find(to); ok {
		return no("ALREADYEXISTS", "There is a mailbox of that name")
	}
	to = canonical(to)
	if f.path == "INBOX" {
		return c.emptyInboxInto(ctx, t, f, to)
	}
	if strings.HasPrefix(to, f.path+delimiter) {
		return no("CANNOT", "A mailbox cannot go below itself")
	}
	parent, name, err := c.makeParents(ctx, t, to)
	if err != nil {
		return err
	}
	_, err = c.server.mail.RenameFolder(ctx, c.who, c.box, f.ID, parent, name)
	if fault.Of(err) == fault.Denied {
		return no("CANNOT", "A standard mailbox cannot be renamed")
	}
	if err == nil && c.view != nil && c.view.folder.ID == f.ID {
		c.view.path = to
	}
	return err
}

// emptyInboxInto is RENAME of INBOX: its messages go to a new mailbox, INBOX and
// what is below it stay.
func (c *conn) emptyInboxInto(ctx context.Context, t *tree, inbox *node, to string) error {
	f, err := c.makePath(ctx, t, to, store.RoleNone)
	if err != nil {
		return err
	}
	for {
		_, entries, err := c.server.mail.Entries(ctx, c.who, c.box, inbox.ID, 0, itemsPage)
		if err != nil || len(entries) == 0 {
			return err
		}
		items := make([]store.ItemID, len(entries))
		for i := range entries {
			items[i] = entries[i].Item
		}
		slices.Sort(items)
		if _, err := c.server.mail.Move(ctx, c.who, c.box, inbox.ID, items, f.ID); err != nil {
			return err
		}
	}
}
