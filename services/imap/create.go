package imap

import (
	"context"
	"strings"

	"waypost/internal/fault"
	"waypost/store"
)

// create answers CREATE (RFC 9051 section 6.3.4), with a special use (RFC 6154
// section 3) and the new mailbox's id (RFC 8474 section 4.1).
func (c *conn) create(ctx context.Context) error {
	d := c.d
	d.SP()
	name := strings.TrimSuffix(d.Mailbox(), delimiter) // the client means to make levels below
	role, unknown := store.RoleNone, false
	if d.TrySP() {
		d.List(func() {
			if d.Word() != "USE" {
				d.Fail("unknown parameter of CREATE")
				return
			}
			d.SP()
			d.List(func() {
				r, ok := roleOf(string(d.Flag()))
				if !ok || role != store.RoleNone {
					unknown = true
				}
				role = r
			})
		})
	}
	if err := d.End(); err != nil {
		return err
	}
	if unknown {
		return no("USEATTR", "Not that special use")
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	f, err := c.makePath(ctx, t, name, role)
	if err != nil {
		if k := fault.Of(err); role != store.RoleNone && !isReply(err) && (k == fault.Exists || k == fault.Conflict || k == fault.Denied) {
			return no("USEATTR", "Another mailbox has that special use")
		}
		return err
	}
	c.okCode = "MAILBOXID (" + f.ID.String() + ")"
	return nil
}
