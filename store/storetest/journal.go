package storetest

import (
	"fmt"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

func (b *suite) changes(f store.FolderID, since store.Position, limit int) store.Changes {
	b.Helper()
	c, err := b.Store.Changes(b.Context(), b.me(), b.box, f, since, limit)
	b.must(err)
	return c
}

// follower keeps a copy of a folder by following its journal.
type follower struct {
	b      *suite
	folder store.FolderID
	at     store.Position
	has    map[store.ItemID]store.Entry
}

func (b *suite) follow(f store.FolderID) *follower {
	return &follower{b: b, folder: f, has: make(map[store.ItemID]store.Entry)}
}

// step reads one page and tells whether there is more.
func (f *follower) step(limit int) (bool, error) {
	c, err := f.b.Store.Changes(f.b.Context(), f.b.me(), f.b.box, f.folder, f.at, limit)
	if err != nil {
		return false, err
	}
	if n := len(c.Changed) + len(c.Gone); n > limit {
		return false, fmt.Errorf("a page of %d has %d lines", limit, n)
	}
	for _, g := range c.Gone {
		delete(f.has, g.Item)
	}
	for i := range c.Changed {
		e := c.Changed[i]
		_, known := f.has[e.Item]
		if c.IsNew(&e) == known {
			return false, fmt.Errorf("entry %+v after %+v: new %v, but known %v", e, f.at, c.IsNew(&e), known)
		}
		f.has[e.Item] = e
	}
	if c.Position.Less(f.at) || c.More && c.Position == f.at {
		return false, fmt.Errorf("the position went from %+v to %+v", f.at, c.Position)
	}
	f.at = c.Position
	return c.More, nil
}

// finish reads to the end and compares with the folder.
func (f *follower) finish(limit int) {
	f.b.Helper()
	for more := true; more; {
		var err error
		more, err = f.step(limit)
		f.b.must(err)
	}
	want := f.b.entries(f.folder)
	if len(want) != len(f.has) {
		f.b.Errorf("the journal leads to %d entries, the folder has %d", len(f.has), len(want))
	}
	for _, e := range want {
		if got := f.has[e.Item]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
			f.b.Errorf("the journal leads to %+v, the folder has %+v", got, e)
		}
	}
}

func changes(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	c := b.changes(inbox, store.Position{}, 10)
	if len(c.Changed) != 0 || c.More {
		t.Fatalf("an empty folder has changes %+v", c)
	}
	start := c.Position
	a1, a2 := b.text("one"), b.text("two")
	c = b.changes(inbox, start, 10)
	if len(c.Changed) != 2 || c.Changed[0].Item != a1.Entry.Item || !c.IsNew(&c.Changed[0]) || c.More || c.Folder.Total != 2 {
		t.Fatalf("after two additions: %+v", c)
	}
	at := c.Position
	if at != store.After(c.Folder.HighestSeq) {
		t.Errorf("the end is %+v, want after %d", at, c.Folder.HighestSeq)
	}
	b.flags(inbox, store.Seen, a1.Entry.Item)
	c = b.changes(inbox, at, 10)
	if len(c.Changed) != 1 || c.Changed[0].Flags != store.Seen || c.IsNew(&c.Changed[0]) {
		t.Fatalf("after a mark: %+v", c)
	}
	trash := b.folder(store.RoleTrash).ID
	_, err := b.Store.Move(t.Context(), b.me(), b.box, inbox, []store.ItemID{a2.Entry.Item}, trash)
	b.must(err)
	c = b.changes(inbox, at, 10)
	if len(c.Changed) != 1 || len(c.Gone) != 1 || c.Gone[0].Item != a2.Entry.Item || c.Gone[0].UID != a2.Entry.UID || !c.Gone[0].Received.Equal(a2.Entry.Received) {
		t.Fatalf("after a move: %+v", c)
	}
	// Who began before both came hears nothing of the one that is gone.
	c = b.changes(inbox, start, 10)
	if len(c.Changed) != 1 || !c.IsNew(&c.Changed[0]) || len(c.Gone) != 0 {
		t.Fatalf("from the start: %+v", c)
	}
	// A quiet folder of a busy mailbox has not changed.
	quiet := b.changes(trash, store.Position{}, 10)
	b.text("three")
	if c := b.changes(trash, quiet.Position, 10); c.Folder.HighestSeq != quiet.Folder.HighestSeq || len(c.Changed) != 0 {
		t.Errorf("the quiet folder: %+v", c)
	}
}

func (b *suite) flags(f store.FolderID, set store.Flags, items ...store.ItemID) store.FlagResult {
	b.Helper()
	r, err := b.Store.Flag(b.Context(), b.me(), b.box, store.FlagChange{Folder: f, Items: items, Set: set})
	b.must(err)
	return r
}

// changesOfOneSeq: a page ends inside one change.
func changesOfOneSeq(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	var items []store.ItemID
	for i := range 25 {
		items = append(items, b.text(fmt.Sprint("m", i)).Entry.Item)
	}
	whole := b.follow(inbox)
	whole.finish(1000)
	r := b.flags(inbox, store.Flagged, items...)
	if len(r.Entries) != 25 || r.Entries[0].Changed != r.Seq || r.Entries[24].Changed != r.Seq {
		t.Fatalf("flagged %+v", r)
	}
	archive := b.create(0, "archive")
	moved, err := b.Store.Move(t.Context(), b.me(), b.box, inbox, items[5:20], archive.ID)
	b.must(err)
	for _, limit := range []int{1, 2, 7, 15, 16, 100} {
		f := b.follow(archive.ID)
		pages := 0
		for more := true; more; pages++ {
			var err error
			more, err = f.step(limit)
			b.must(err)
		}
		if len(f.has) != 15 {
			t.Errorf("pages of %d lead to %d entries of the one change %d", limit, len(f.has), moved.Seq)
		}
		f.finish(limit)
		later := b.follow(inbox)
		later.at, later.has = whole.at, make(map[store.ItemID]store.Entry)
		for k, v := range whole.has {
			later.has[k] = v
		}
		later.finish(limit)
	}
}

// changesBetweenPages: what is marked between two pages is neither lost nor new twice.
func changesBetweenPages(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	var items []store.ItemID
	for i := range 12 {
		items = append(items, b.text(fmt.Sprint("m", i)).Entry.Item)
	}
	f := b.follow(inbox)
	for i := range 6 {
		if _, err := f.step(2); err != nil {
			t.Fatal(err)
		}
		b.flags(inbox, store.Flags(1)<<i, items[11], items[0], items[i])
	}
	f.finish(2)
}

func moveOutAndBack(t *testing.T, b *suite) {
	inbox, trash := b.folder(store.RoleInbox).ID, b.folder(store.RoleTrash).ID
	a := b.text("boomerang")
	b.text("other")
	f, before := b.follow(inbox), b.follow(inbox)
	f.finish(10)
	for _, to := range []store.FolderID{trash, inbox, trash, inbox} {
		_, err := b.Store.Move(t.Context(), b.me(), b.box, 0, []store.ItemID{a.Entry.Item}, to)
		b.must(err)
	}
	c := b.changes(inbox, f.at, 10)
	if len(c.Gone) != 1 || c.Gone[0].UID != a.Entry.UID || len(c.Changed) != 1 || !c.IsNew(&c.Changed[0]) || c.Changed[0].UID <= a.Entry.UID {
		t.Errorf("out and back: %+v", c)
	}
	f.finish(1)
	before.finish(1)
}

func floor(t *testing.T, b *suite) {
	if b.Purge == nil {
		t.Skip("this store cannot be purged")
	}
	inbox := b.folder(store.RoleInbox).ID
	a := b.text("one")
	b.text("two")
	old := b.changes(inbox, store.Position{}, 10).Position
	_, _, err := b.Store.Delete(t.Context(), b.me(), b.box, inbox, []store.ItemID{a.Entry.Item}, false)
	b.must(err)
	end := b.changes(inbox, old, 10).Position
	b.must(b.Purge(time.Now().Add(89 * 24 * time.Hour)))
	b.changes(inbox, old, 10)
	b.must(b.Purge(time.Now().Add(91 * 24 * time.Hour)))
	_, err = b.Store.Changes(t.Context(), b.me(), b.box, inbox, old, 10)
	b.wantFault(err, fault.Resync)
	if c := b.changes(inbox, end, 10); len(c.Gone) != 0 || c.Folder.Floor == 0 {
		t.Errorf("at the end: %+v", c)
	}
	if c := b.changes(inbox, store.Position{}, 10); len(c.Changed) != 1 {
		t.Errorf("from nothing: %+v", c)
	}
}

func entriesPages(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	var items []store.ItemID
	for i := range 10 {
		items = append(items, b.text(fmt.Sprint(i)).Entry.Item)
	}
	f, page, err := b.Store.Entries(t.Context(), b.me(), b.box, inbox, 3, 4)
	b.must(err)
	if f.Total != 10 || len(page) != 4 || page[0].UID != 4 || page[3].UID != 7 {
		t.Errorf("page %+v of %+v", page, f)
	}
	got, err := b.Store.EntriesOf(t.Context(), b.me(), b.box, []store.ItemID{items[5], 99999, items[2]})
	b.must(err)
	if len(got) != 2 || got[0].Item != items[5] || got[1].Item != items[2] {
		t.Errorf("EntriesOf = %+v", got)
	}
}

func newest(t *testing.T, b *suite) {
	ctx, inbox := t.Context(), b.folder(store.RoleInbox).ID
	now := time.Now()
	var items []store.ItemID
	for i := range 10 {
		m := b.message(Text(fmt.Sprint(i), "x"))
		m.Received = now.Add(-time.Duration(10-i) * 24 * time.Hour)
		items = append(items, b.add(m).Entry.Item)
	}
	f := b.folder(store.RoleInbox)
	b.text("later")
	list, err := b.Store.Newest(ctx, b.me(), b.box, inbox, now.Add(-5*24*time.Hour-time.Hour), f.HighestSeq, 0, 3)
	b.must(err)
	if len(list) != 3 || list[0].Item != items[9] || list[2].Item != items[7] {
		t.Errorf("newest %+v", list)
	}
	list, err = b.Store.Newest(ctx, b.me(), b.box, inbox, now.Add(-5*24*time.Hour-time.Hour), f.HighestSeq, list[2].Item, 3)
	b.must(err)
	if len(list) != 2 || list[1].Item != items[5] {
		t.Errorf("newest, second page %+v", list)
	}
	list, err = b.Store.Newest(ctx, b.me(), b.box, inbox, time.Time{}, f.HighestSeq, 0, 100)
	b.must(err)
	if len(list) != 10 {
		t.Errorf("without cut-off %d", len(list))
	}
	n, err := b.Store.CountSince(ctx, b.me(), b.box, inbox, now.Add(-5*24*time.Hour-time.Hour))
	b.must(err)
	all, err := b.Store.CountSince(ctx, b.me(), b.box, inbox, time.Time{})
	b.must(err)
	if n != 6 || all != 11 {
		t.Errorf("counts %d and %d, want 6 and 11", n, all)
	}
	aged, err := b.Store.Aged(ctx, b.me(), b.box, inbox, now.Add(-9*24*time.Hour-time.Hour), now.Add(-6*24*time.Hour-time.Hour), 0, 2)
	b.must(err)
	if len(aged) != 2 || aged[0].Item != items[1] {
		t.Errorf("aged %+v", aged)
	}
	aged, err = b.Store.Aged(ctx, b.me(), b.box, inbox, now.Add(-9*24*time.Hour-time.Hour), now.Add(-6*24*time.Hour-time.Hour), aged[1].Item, 2)
	b.must(err)
	if len(aged) != 1 || aged[0].Item != items[3] {
		t.Errorf("aged, second page %+v", aged)
	}
}
