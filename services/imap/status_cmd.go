package imap

import (
	"context"

	"waypost/services/imap/imapwire"
)

// statusItems is a set of STATUS items; the table below names them.
type statusItems uint16

const (
	statusMessages statusItems = 1 << iota
	statusUIDNext
	statusUIDValidity
	statusUnseen
	statusDeleted
	statusSize
	statusRecent
	statusHighest
	statusMailboxID
	statusAppendLimit
)

// statusTable holds the items of STATUS in the order in which they are answered.
var statusTable = []struct {
	name  string
	item  statusItems
	value func(c *conn, n *node) uint64 // nil: written by its own code
}{
	{"MESSAGES", statusMessages, func(_ *conn, n *node) uint64 { return uint64(n.Total) }},
	{"UIDNEXT", statusUIDNext, func(_ *conn, n *node) uint64 { return uint64(n.UIDNext) }},
	{"UIDVALIDITY", statusUIDValidity, func(_ *conn, n *node) uint64 { return uint64(n.UIDValidity) }},
	{"UNSEEN", statusUnseen, func(_ *conn, n *node) uint64 { return uint64(n.Unread) }},
	{"DELETED", statusDeleted, func(_ *conn, n *node) uint64 { return uint64(n.Deleted) }},
	{"SIZE", statusSize, func(_ *conn, n *node) uint64 { return uint64(n.Size) }}, // RFC 8438
	{"RECENT", statusRecent, func(*conn, *node) uint64 { return 0 }},              // RFC 3501 only
	{"HIGHESTMODSEQ", statusHighest, func(_ *conn, n *node) uint64 { return uint64(max(n.HighestSeq, 1)) }},
	{"MAILBOXID", statusMailboxID, nil}, // RFC 8474 section 4.3
	{"APPENDLIMIT", statusAppendLimit, func(c *conn, _ *node) uint64 { return uint64(c.server.cfg.MaxAppend) }},
}

// status answers STATUS (RFC 9051 section 6.3.11). The selected mailbox is no
// exception.
func (c *conn) status(ctx context.Context) error {
	c.d.SP()
	name := c.d.Mailbox()
	c.d.SP()
	items := c.readStatusItems()
	if err := c.d.End(); err != nil {
		return err
	}
	f, err := c.folder(ctx, name)
	if err != nil {
		return err
	}
	if items&statusHighest != 0 {
		c.condstore = true // RFC 7162 section 3.1
	}
	c.tellStatus(f, items)
	return nil
}

func (c *conn) readStatusItems() (items statusItems) {
	d := c.d
	d.List(func() {
		name := d.Name()
		for _, row := range statusTable {
			if row.name == name {
				items |= row.item
				return
			}
		}
		d.Fail("unknown item of STATUS")
	})
	if items == 0 {
		d.Fail("no items of STATUS")
	}
	return items
}

func (c *conn) tellStatus(n *node, items statusItems) {
	c.untagged("STATUS ")
	c.e.Mailbox(n.path)
	c.e.Raw(" (")
	first := true
	for _, row := range statusTable {
		if items&row.item == 0 {
			continue
		}
		if !first {
			c.e.SP()
		}
		first = false
		c.e.Raw(row.name)
		c.e.SP()
		if row.value == nil {
			writeID(c.e, n.ID.String())
			continue
		}
		c.e.Number(row.value(c, n))
	}
	c.e.Raw(")\r\n")
}

func writeID(e *imapwire.Encoder, id string) {
	e.Byte('(')
	e.Raw(id)
	e.Byte(')')
}
