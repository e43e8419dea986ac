package imap

import (
	"context"
	"slices"

	"waypost/store"
)

// seenFlag is what reading a body sets.
const seenFlag = store.Seen

// store answers STORE (RFC 9051 section 6.4.6).
func (c *conn) store(ctx context.Context) error { return c.storeFlags(ctx, false) }

// uidStore answers UID STORE.
func (c *conn) uidStore(ctx context.Context) error { return c.storeFlags(ctx, true) }

func (c *conn) storeFlags(ctx context.Context, uid bool) error {
	d := c.d
	d.SP()
	set := d.NumSet(uid)
	d.SP()
	var unchanged *store.Seq
	if d.Peek() == '(' { // RFC 7162 section 3.1.3
		d.List(func() {
			if d.Word() != "UNCHANGEDSINCE" {
				d.Fail("unknown modifier of STORE")
			}
			d.SP()
			s := store.Seq(d.Number64())
			unchanged = &s
		})
		d.SP()
	}
	op := byte('=')
	if p := d.Peek(); p == '+' || p == '-' {
		d.Special(p)
		op = p
	}
	silent := false
	switch d.Name() {
	case "FLAGS":
	case "FLAGS.SILENT":
		silent = true
	default:
		d.Fail("expected FLAGS")
	}
	d.SP()
	flags := d.Flags()
	if err := d.End(); err != nil {
		return err
	}
	if c.view.readOnly {
		return errReadOnly
	}
	system, keywords, err := splitFlags(flags)
	if err != nil {
		return err
	}
	if unchanged != nil {
		c.condstore = true // RFC 7162 section 3.1: a condstore enabling command
	}
	for i, k := range keywords {
		keywords[i] = c.view.words.spelling(k)
	}
	change := store.FlagChange{Folder: c.view.folder.ID, UnchangedSince: unchanged}
	switch op {
	case '=':
		change.Set, change.Clear, change.Add, change.Replace = system, ^store.Flags(0), keywords, true
	case '+':
		change.Set, change.Add = system, keywords
	case '-':
		change.Clear, change.Remove = system, keywords
	}
	spans, err := c.view.spans(set, c.saved)
	if err != nil {
		return err
	}
	list, missing := c.view.indexes(spans)
	var modified []int
	for page := range slices.Chunk(list, itemsPage) {
		change.Items = c.view.items(page)
		m, gone, err := c.changeFlags(ctx, change, page, silent, uid)
		if err != nil {
			return err
		}
		modified = append(modified, m...)
		missing = missing || gone
	}
	if len(modified) > 0 { // RFC 7162 section 3.1.3
		c.okCode, c.okText = "MODIFIED "+c.setText(modified, uid), "Conditional STORE failed"
	}
	if missing && !uid {
		return no("EXPUNGEISSUED", "Some messages are gone") // RFC 2180 section 4.2
	}
	return nil
}

// setText writes rows as a set of UIDs or sequence numbers.
func (c *conn) setText(list []int, uid bool) string {
	if uid {
		return c.view.uidSet(list).String()
	}
	return c.view.seqSet(list).String()
}

// changeFlags makes one change to a page of rows and answers with their marks.
// It returns the rows that UnchangedSince spared, and whether some were gone.
func (c *conn) changeFlags(ctx context.Context, change store.FlagChange, page []int, silent, uid bool) (modified []int, missing bool, err error) {
	v := c.view
	res, err := c.server.mail.Flag(ctx, c.who, c.box, change)
	if err != nil {
		return nil, false, err
	}
	at := make(map[store.ItemID]int, len(page))
	for _, i := range page {
		at[v.rows[i].item] = i
	}
	spared := make(map[store.ItemID]bool, len(res.Modified))
	for _, item := range res.Modified {
		if i, ok := at[item]; ok {
			spared[item] = true
			modified = append(modified, i)
		}
	}
	slices.Sort(modified)
	for k := range res.Entries {
		e := &res.Entries[k]
		i, ok := at[e.Item]
		// An item that left and came back has another UID: to this view it is
		// gone, and one that is still to come.
		if !ok || e.Folder != v.folder.ID || e.UID != v.rows[i].uid {
			continue
		}
		delete(at, e.Item)
		if spared[e.Item] {
			continue // told by refresh, with whatever else was changed
		}
		// Somebody else's change since the client last heard of it is news even
		// after FLAGS.SILENT (RFC 9051 section 6.4.6).
		others := k < len(res.Was) && res.Was[k] != v.rows[i].changed
		changed := v.learn(i, e)
		if len(v.words.names) > v.told {
			c.tellKeywords()
		}
		switch {
		case !silent || others:
			c.tellFlags(i, uid)
		case c.condstore && changed:
			// RFC 7162 section 3.1.3: the new mod-sequence even when silent
			c.tellModSeq(i)
		}
	}
	return modified, len(at) > len(spared), nil
}

func (c *conn) tellModSeq(i int) {
	r := &c.view.rows[i]
	c.e.Raw("* ")
	c.e.Number(uint64(i) + 1)
	c.e.Raw(" FETCH (UID ")
	c.e.Number(uint64(r.uid))
	c.writeModSeq(r.changed)
	c.e.Raw(")\r\n")
}
