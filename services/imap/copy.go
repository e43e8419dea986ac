package imap

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"waypost/store"
)

// copyMessages answers COPY (RFC 9051 section 6.4.7).
func (c *conn) copyMessages(ctx context.Context) error { return c.place(ctx, false, false) }

// uidCopy answers UID COPY.
func (c *conn) uidCopy(ctx context.Context) error { return c.place(ctx, true, false) }

// moveMessages answers MOVE (RFC 9051 section 6.4.8, RFC 6851).
func (c *conn) moveMessages(ctx context.Context) error { return c.place(ctx, false, true) }

// uidMove answers UID MOVE.
func (c *conn) uidMove(ctx context.Context) error { return c.place(ctx, true, true) }

func (c *conn) place(ctx context.Context, uid, move bool) error {
	d := c.d
	d.SP()
	set := d.NumSet(uid)
	d.SP()
	name := d.Mailbox()
	if err := d.End(); err != nil {
		return err
	}
	v := c.view
	if move && v.readOnly {
		return errReadOnly
	}
	spans, err := v.spans(set, c.saved)
	if err != nil {
		return err
	}
	to, err := c.folder(ctx, name)
	if err != nil {
		return orTryCreate(err)
	}
	list, missing := v.indexes(spans)
	if missing && !uid {
		return no("EXPUNGEISSUED", "Some messages are gone") // RFC 2180 section 4.4
	}
	if len(list) == 0 {
		c.okText = "Nothing to do"
		return nil
	}
	items := v.items(list)
	if !move { // all or nothing: one call
		res, err := c.server.mail.Copy(ctx, c.who, c.box, v.folder.ID, items, to.ID)
		if err != nil {
			if isGoneFolder(err) && !uid {
				return no("EXPUNGEISSUED", "Some messages are gone")
			}
			return err
		}
		c.okCode = copyUID(res)
		if to.ID == v.folder.ID {
			return c.refresh(ctx, true)
		}
		return nil
	}
	for page := range slices.Chunk(items, itemsPage) {
		res, err := c.server.mail.Move(ctx, c.who, c.box, v.folder.ID, page, to.ID)
		if err != nil {
			return err
		}
		if code := copyUID(res); code != "" {
			// RFC 6851 section 4.3: before the EXPUNGEs
			c.untagged("OK [" + code + "] Moved\r\n")
		}
	}
	return nil
}

// copyUID makes the response code COPYUID (RFC 4315 section 3), or "" when
// nothing was placed. Both sets are in the order of the source's UIDs, each
// number of one belonging to the number at the same place in the other.
func copyUID(res store.PlaceResult) string {
	placed := slices.DeleteFunc(slices.Clone(res.Placed), func(p store.Placed) bool { return p.Absent || p.ToUID == 0 })
	if len(placed) == 0 {
		return ""
	}
	slices.SortFunc(placed, func(a, b store.Placed) int { return cmp.Compare(a.UID, b.UID) })
	var b strings.Builder
	b.WriteString("COPYUID ")
	b.WriteString(strconv.FormatUint(uint64(res.UIDValidity), 10))
	for _, uid := range []func(store.Placed) store.UID{
		func(p store.Placed) store.UID { return p.UID },
		func(p store.Placed) store.UID { return p.ToUID },
	} {
		sep := byte(' ')
		for i := 0; i < len(placed); {
			j := i
			for j+1 < len(placed) && uid(placed[j+1]) == uid(placed[j])+1 {
				j++
			}
			b.WriteByte(sep)
			b.WriteString(strconv.FormatUint(uint64(uid(placed[i])), 10))
			if j > i {
				b.WriteByte(':')
				b.WriteString(strconv.FormatUint(uint64(uid(placed[j])), 10))
			}
			i, sep = j+1, ','
		}
	}
	return b.String()
}
