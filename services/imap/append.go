package imap

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// append answers APPEND (RFC 9051 section 6.3.12). The message goes from the
// connection into the store's blob while the parser looks on; nothing but a
// buffer is held of it. What can be refused is refused before the client sends
// it.
func (c *conn) append(ctx context.Context) error {
	d := c.d
	d.SP()
	name := d.Mailbox()
	d.SP()
	var (
		flags    []imap.Flag
		received time.Time
		utf8     bool
	)
	if d.Peek() == '(' {
		flags = d.FlagList()
		d.SP()
	}
	if d.Peek() == '"' {
		received = d.DateTime()
		d.SP()
	}
	if c := d.Peek(); c == 'U' || c == 'u' { // RFC 6855 section 4: UTF8 (~{n})
		if d.Word() != "UTF8" {
			d.Fail("unknown data of APPEND")
		}
		d.SP()
		d.Special('(')
		utf8 = true
	}
	lit := d.PeekLiteral()
	if err := d.Err(); err != nil {
		return err
	}
	if lit.Size > c.server.cfg.MaxAppend {
		return no("TOOBIG", "A message may have %d bytes", c.server.cfg.MaxAppend) // RFC 7889
	}
	system, keywords, err := splitFlags(flags)
	if err != nil {
		return err
	}
	m := store.NewMessage{Role: store.RoleInbox, Flags: system, Keywords: keywords, Received: received}
	if canonical(name) != "INBOX" { // which is always there, and keeps its name
		f, err := c.folder(ctx, name)
		if err != nil {
			return orTryCreate(err)
		}
		m.Role, m.Folder = store.RoleNone, f.ID
	}

	r := d.StreamLiteral(c.server.cfg.MaxAppend)
	if r == nil {
		return d.Err()
	}
	if m.Blob, m.Summary, err = c.writeBlob(ctx, r); err != nil {
		return err
	}
	d.EndLiteral()
	if utf8 {
		d.Special(')')
	}
	if err := d.End(); err != nil {
		return err
	}
	added, err := c.server.mail.Add(ctx, c.who, c.box, m)
	if err != nil {
		if isGoneFolder(err) {
			return no("TRYCREATE", "No such mailbox")
		}
		return err
	}
	// RFC 4315 section 3
	c.okCode = "APPENDUID " + strconv.FormatUint(uint64(added.UIDValidity), 10) + " " + strconv.FormatUint(uint64(added.Entry.UID), 10)
	if c.view != nil && c.view.folder.ID == added.Entry.Folder {
		return c.refresh(ctx, true) // section 6.3.12: the client is told at once
	}
	return nil
}

// writeBlob streams a message into a blob and describes it.
func (c *conn) writeBlob(ctx context.Context, r io.Reader) (store.Blob, *mail.Summary, error) {
	w, err := c.server.mail.NewBlob(ctx, c.who.HomeMDB)
	if err != nil {
		return store.Blob{}, nil, err
	}
	defer w.Abort()
	p := mail.NewParser()
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return store.Blob{}, nil, err
			}
			_, _ = p.Write(buf[:n])
		}
		if err == io.EOF { //nolint:errorlint // by the contract of io.Reader
			break
		}
		if err != nil {
			return store.Blob{}, nil, &fatalError{err}
		}
		if err := ctx.Err(); err != nil {
			return store.Blob{}, nil, fault.From(fault.Unavailable, err, "The server is stopping")
		}
	}
	b, err := w.Close(ctx)
	if err != nil {
		return store.Blob{}, nil, err
	}
	return b, p.Summary(), nil
}
