package imap

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

const (
	entriesPage = 1000 // rows that a view is loaded with at once
	changesPage = 500
)

// openView loads a folder's view: from the cache and the changes since, or from
// the store's entries.
func (c *conn) openView(ctx context.Context, f store.Folder, path string, readOnly bool) (*view, error) {
	v := &view{folder: f, path: path, readOnly: readOnly}
	key := viewKey{c.box, f.ID, f.UIDValidity}
	if cv := c.server.views.get(key); cv != nil {
		v.pos, v.rows, v.words, v.shared = cv.pos, cv.rows, cv.words, true
		err := v.follow(ctx, c)
		if err == nil && v.folder.UIDValidity == f.UIDValidity {
			v.begin()
			c.server.views.put(key, v)
			return v, nil
		}
		if err != nil && fault.Of(err) != fault.Resync {
			return nil, err
		}
		v = &view{folder: f, path: path, readOnly: readOnly}
	}
	if err := v.load(ctx, c); err != nil {
		return nil, err
	}
	v.begin()
	c.server.views.put(viewKey{c.box, f.ID, v.folder.UIDValidity}, v)
	return v, nil
}

// begin takes everything as told, which SELECT does.
func (v *view) begin() {
	v.dropGone()
	v.exists, v.told, v.flagged = len(v.rows), len(v.words.names), nil
}

// load reads all entries of the folder, page by page. Pages are of different
// moments: the position is that of the first, and what follow then finds is
// applied on top.
func (v *view) load(ctx context.Context, c *conn) error {
	after := store.UID(0)
	for first := true; ; first = false {
		f, entries, err := c.server.mail.Entries(ctx, c.who, c.box, v.folder.ID, after, entriesPage)
		if err != nil {
			return err
		}
		if first {
			v.folder = f
			v.pos = store.Position{Seq: f.HighestSeq, Item: math.MaxInt64}
			v.rows = make([]row, 0, f.Total+f.Total/16+8)
		}
		for i := range entries {
			v.rows = append(v.rows, v.rowOf(&entries[i]))
		}
		if len(entries) < entriesPage {
			break
		}
		after = entries[len(entries)-1].UID
	}
	v.highest = v.pos.Seq
	if len(v.rows) < entriesPage {
		return nil // one page is one moment
	}
	return v.follow(ctx, c)
}

// follow applies the changes of the folder since the view's position. What the
// client must be told of them stays noted in the view, also when follow fails
// half way. Messages that left are marked as gone.
func (v *view) follow(ctx context.Context, c *conn) error {
	for {
		page, err := c.server.mail.Changes(ctx, c.who, c.box, v.folder.ID, v.pos, changesPage)
		if err != nil {
			return err
		}
		v.folder = page.Folder
		for i := range page.Gone {
			if at, ok := v.find(page.Gone[i].UID); ok && !v.rows[at].isGone() {
				v.own()
				v.rows[at].flags |= gone
				v.goneN++
			}
		}
		// A page is in the order of changes, not of UIDs: what is new is put in
		// order when the page is done. No item is in one page twice.
		known, arrived := store.UID(v.maxUID()), []*store.Entry(nil)
		for i := range page.Changed {
			e := &page.Changed[i]
			if at, ok := v.find(e.UID); ok {
				if v.learn(at, e) && at < v.exists {
					v.flagged = append(v.flagged, e.UID)
				}
			} else if e.UID > known {
				arrived = append(arrived, e)
			}
		}
		if len(arrived) > 0 {
			v.own()
			for _, e := range arrived {
				v.rows = append(v.rows, v.rowOf(e))
			}
			slices.SortFunc(v.rows[v.exists:], func(a, b row) int { return cmp.Compare(a.uid, b.uid) })
		}
		v.pos = page.Position
		if !page.More {
			break
		}
	}
	v.highest = max(v.highest, v.folder.HighestSeq)
	return nil
}

func (v *view) lastUID() uint32 {
	if len(v.rows) == 0 {
		return 0
	}
	return uint32(v.rows[len(v.rows)-1].uid)
}

// dropGone takes out the rows marked as gone.
func (v *view) dropGone() {
	v.dropGoneFrom(0)
}

// dropGoneFrom takes out those at or behind an index.
func (v *view) dropGoneFrom(from int) {
	if v.goneN == 0 {
		return
	}
	v.own()
	kept := from
	exists := v.exists
	for i := from; i < len(v.rows); i++ {
		if v.rows[i].isGone() {
			v.goneN--
			if i < v.exists {
				exists--
			}
			continue
		}
		v.rows[kept] = v.rows[i]
		kept++
	}
	v.rows, v.exists = v.rows[:kept], exists
}

// reload replaces a view whose position is too old, keeping what the client
// counts with: it finds the difference instead of being told it.
func (v *view) reload(ctx context.Context, c *conn) error {
	now := &view{folder: v.folder}
	if err := now.load(ctx, c); err != nil {
		return err
	}
	now.begin()
	v.own()
	for i := range v.rows {
		r := &v.rows[i]
		at, ok := now.find(r.uid)
		switch {
		case !ok && !r.isGone():
			r.flags |= gone
			v.goneN++
		case ok && now.rows[at].changed != r.changed:
			nr := now.rows[at]
			nr.words = v.words.intern(now.words.get(nr.words))
			v.rows[i] = nr
			if i < v.exists {
				v.flagged = append(v.flagged, r.uid)
			}
		}
	}
	at, ok := now.find(store.UID(v.lastUID()))
	if ok {
		at++
	}
	for _, r := range now.rows[at:] {
		r.words = v.words.intern(now.words.get(r.words))
		v.rows = append(v.rows, r)
	}
	v.folder, v.pos, v.highest = now.folder, now.pos, max(v.highest, now.highest)
	return nil
}

// refreshPause is how often a connection asks the store for news that it was
// woken for, at most. A client's own changes wake it too: without the pause each
// STORE would be followed by a question about itself.
const refreshPause = 100 * time.Millisecond

// update tells the client what changed in the selected folder, as far as the
// command that ends allows it.
func (c *conn) update(ctx context.Context) error {
	if c.view == nil {
		return nil
	}
	cmd := commands[c.cmd]
	c.dirty = c.woken() || c.dirty
	if !cmd.fresh && (!c.dirty || time.Since(c.refreshed) < refreshPause) {
		if !cmd.quiet && c.view.goneN > 0 {
			c.tellGone()
		}
		return nil
	}
	return c.refresh(ctx, !cmd.quiet)
}

// woken tells whether the store said that something changed.
func (c *conn) woken() bool {
	select {
	case <-c.watcher.C():
		return true
	default:
		return false
	}
}

// refresh follows the store and writes what is new as untagged responses.
func (c *conn) refresh(ctx context.Context, mayExpunge bool) error {
	c.woken() // what woke us until here is covered by what is read now
	c.dirty, c.refreshed = false, time.Now()
	v := c.view
	validity := v.folder.UIDValidity
	err := v.follow(ctx, c)
	if err != nil && fault.Of(err) == fault.Resync {
		err = v.reload(ctx, c)
	}
	if err != nil && isGoneFolder(err) || err == nil && v.folder.UIDValidity != validity {
		// There is no other way to say that a folder, and with it the sequence
		// numbers that the client counts with, is gone.
		c.bye = "[UNAVAILABLE] The selected mailbox was deleted"
		return nil
	}
	if err != nil {
		c.dirty = true
		return err
	}
	c.tellNews(mayExpunge)
	return nil
}

// tellNews writes what the view knows and the client does not.
func (c *conn) tellNews(mayExpunge bool) {
	v := c.view
	v.dropGoneFrom(v.exists) // came and went without the client
	if mayExpunge {
		c.tellGone()
	}
	if len(v.rows) > v.exists {
		v.exists = len(v.rows)
		c.tellExists()
	}
	if len(v.words.names) > v.told {
		c.tellKeywords()
	}
	for _, uid := range v.flagged {
		if i, ok := v.find(uid); ok && !v.rows[i].isGone() {
			c.tellFlags(i, true)
		}
	}
	v.flagged = v.flagged[:0]
}

// tellGone writes EXPUNGE for the rows marked as gone, the highest first so
// that no number changes while they are counted.
func (c *conn) tellGone() {
	v := c.view
	if v.goneN == 0 {
		return
	}
	for i := v.exists - 1; i >= 0; i-- {
		if v.rows[i].isGone() {
			c.e.Raw("* ")
			c.e.Number(uint64(i) + 1)
			c.e.Raw(" EXPUNGE\r\n")
		}
	}
	v.dropGone()
}

func (c *conn) tellExists() {
	c.e.Raw("* ")
	c.e.Number(uint64(c.view.exists))
	c.e.Raw(" EXISTS\r\n")
}

// tellFlags writes FETCH with the marks of a row. RFC 7162 section 3.1.1 wants
// the mod-sequence in it once the client knows CONDSTORE; uid is for clients
// which count by UID (RFC 9051 section 7.5.2 allows it always).
func (c *conn) tellFlags(i int, uid bool) {
	r := &c.view.rows[i]
	c.e.Raw("* ")
	c.e.Number(uint64(i) + 1)
	c.e.Raw(" FETCH (")
	if uid {
		c.e.Raw("UID ")
		c.e.Number(uint64(r.uid))
		c.e.Byte(' ')
	}
	c.e.Raw("FLAGS ")
	writeFlags(c.e, r.system(), c.view.words.get(r.words))
	if c.condstore {
		c.writeModSeq(r.changed)
	}
	c.e.Raw(")\r\n")
}

func (c *conn) writeModSeq(s store.Seq) {
	c.e.Raw(" MODSEQ (")
	c.e.Number(uint64(s))
	c.e.Byte(')')
}

// tellKeywords writes FLAGS (RFC 9051 section 7.3.5): every flag that occurs.
func (c *conn) tellKeywords() {
	c.untagged("FLAGS ")
	c.writeDefinedFlags("")
	c.e.CRLF()
	c.view.told = len(c.view.words.names)
}

func (c *conn) writeDefinedFlags(more string) {
	all := store.Flags(0)
	for _, s := range systemFlags {
		all |= s.flag
	}
	names := c.view.words.names
	if more != "" {
		names = append(slices.Clone(names), more)
	}
	writeFlags(c.e, all, names)
}
