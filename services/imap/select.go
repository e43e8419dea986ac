package imap

import "context"

// selectFolder answers SELECT (RFC 9051 section 6.3.2).
func (c *conn) selectFolder(ctx context.Context) error { return c.open(ctx, false) }

// examine answers EXAMINE (RFC 9051 section 6.3.3).
func (c *conn) examine(ctx context.Context) error { return c.open(ctx, true) }

func (c *conn) open(ctx context.Context, readOnly bool) error {
	d := c.d
	d.SP()
	name := d.Mailbox()
	if d.TrySP() {
		d.List(c.selectParam)
	}
	if err := d.End(); err != nil {
		return err
	}
	// A failed SELECT leaves no folder selected.
	if c.view != nil {
		c.leaveFolder()
		// RFC 9051 section 7.1: the border between the responses of two folders.
		c.untagged("OK [CLOSED] Previous mailbox is closed\r\n")
	}
	f, err := c.folder(ctx, name)
	if err != nil {
		return err
	}
	watcher := c.server.mail.Watch(c.box) // before the first read: nothing is missed
	v, err := c.openView(ctx, f.Folder, f.path, readOnly)
	if err != nil {
		watcher.Close()
		return err
	}
	c.view, c.watcher, c.state = v, watcher, selected
	c.tellFolder()
	c.okCode, c.okText = "READ-WRITE", "Selected"
	if readOnly {
		c.okCode = "READ-ONLY"
	}
	return nil
}

// selectParam reads one parameter of SELECT (RFC 4466).
func (c *conn) selectParam() {
	switch c.d.Word() {
	case "CONDSTORE": // RFC 7162 section 3.1.8
		c.condstore = true
	default:
		c.d.Fail("unknown parameter of SELECT")
	}
}

// tellFolder writes the untagged responses of SELECT.
func (c *conn) tellFolder() {
	v, e := c.view, c.e
	c.untagged("FLAGS ")
	c.writeDefinedFlags("")
	e.Raw("\r\n* OK [PERMANENTFLAGS ")
	if v.readOnly {
		e.Raw("()] Read-only\r\n")
	} else {
		c.writeDefinedFlags(`\*`)
		e.Raw("] Flags that stay\r\n")
	}
	c.tellExists()
	if !c.rev2 {
		e.Raw("* 0 RECENT\r\n") // RFC 3501 section 7.3.2: nothing here is recent to one client only
		if seq := v.firstUnseen(); seq > 0 {
			e.Raw("* OK [UNSEEN ")
			e.Number(uint64(seq))
			e.Raw("] First unread message\r\n")
		}
	}
	e.Raw("* OK [UIDVALIDITY ")
	e.Number(uint64(v.folder.UIDValidity))
	e.Raw("] UIDs are valid\r\n* OK [UIDNEXT ")
	e.Number(uint64(v.folder.UIDNext))
	e.Raw("] Predicted next UID\r\n* OK [HIGHESTMODSEQ ") // RFC 7162 section 3.1.2.1
	e.Number(uint64(max(v.highest, 1)))
	e.Raw("] Highest\r\n* OK [MAILBOXID (") // RFC 8474 section 4.2
	e.Raw(v.folder.ID.String())
	e.Raw(")] Ok\r\n")
	if c.rev2 {
		e.Raw("* LIST () \"" + delimiter + "\" ")
		e.Mailbox(v.path)
		e.CRLF()
	}
}

func (v *view) firstUnseen() int {
	for i := range v.rows {
		if v.rows[i].flags&uint16(seenFlag) == 0 {
			return i + 1
		}
	}
	return 0
}

// leaveFolder ends the selection, without expunging.
func (c *conn) leaveFolder() {
	if c.watcher != nil {
		c.watcher.Close()
		c.watcher = nil
	}
	if c.view != nil {
		c.view = nil
		c.state = authenticated
	}
	c.saved = savedResult{}
}
