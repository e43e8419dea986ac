package storetest

import (
	"strings"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

func (b *suite) create(parent store.FolderID, name string) store.Folder {
	b.Helper()
	f, err := b.Store.CreateFolder(b.Context(), b.me(), b.box, store.Folder{Parent: parent, Name: name})
	b.must(err)
	return f
}

func folders(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	work := b.create(0, "Work")
	if work.Class != store.ClassMail || work.UIDNext != 1 || work.UIDValidity == 0 || work.HighestSeq == 0 {
		t.Errorf("created %+v", work)
	}
	sub := b.create(work.ID, "2026 Ünicode")
	if got, err := s.Folder(ctx, b.me(), b.box, sub.ID); err != nil || got != sub {
		t.Errorf("Folder = %+v, %v, want %+v", got, err, sub)
	}
	for _, tt := range []struct {
		parent store.FolderID
		name   string
		want   fault.Kind
	}{
		{0, "work", fault.Exists},
		{0, "INBOX", fault.Exists},
		{work.ID, "2026 u\u0308nicode", fault.Exists}, // the same, decomposed
		{work.ID, "", fault.Invalid},
		{work.ID, "  ", fault.Invalid},
		{work.ID, "a/b", fault.Invalid},
		{work.ID, "a\x00b", fault.Invalid},
		{work.ID, "\xff", fault.Invalid},
		{work.ID, strings.Repeat("x", 251), fault.Invalid},
		{12345, "x", fault.NotFound},
	} {
		_, err := s.CreateFolder(ctx, b.me(), b.box, store.Folder{Parent: tt.parent, Name: tt.name})
		if fault.Of(err) != tt.want || err == nil {
			t.Errorf("create %q: %v, want %v", tt.name, err, tt.want)
		}
	}

	_, err := s.RenameFolder(ctx, b.me(), b.box, work.ID, sub.ID, "Work")
	b.wantFault(err, fault.Invalid) // into itself
	_, err = s.RenameFolder(ctx, b.me(), b.box, b.folder(store.RoleInbox).ID, 0, "Mine")
	b.wantFault(err, fault.Denied)
	_, err = s.RenameFolder(ctx, b.me(), b.box, sub.ID, 0, "WORK")
	b.wantFault(err, fault.Exists)
	_, err = s.RenameFolder(ctx, b.me(), b.box, 4711, 0, "x")
	b.wantFault(err, fault.NotFound)
	got, err := s.RenameFolder(ctx, b.me(), b.box, work.ID, 0, "WORK") // only the case
	b.must(err)
	if got.Name != "WORK" || got.ID != work.ID || got.UIDValidity != work.UIDValidity {
		t.Errorf("renamed %+v", got)
	}
	moved, err := s.RenameFolder(ctx, b.me(), b.box, sub.ID, b.folder(store.RoleInbox).ID, "moved")
	b.must(err)
	if moved.Parent != b.folder(store.RoleInbox).ID {
		t.Errorf("moved %+v", moved)
	}
	b.must(s.SubscribeFolder(ctx, b.me(), b.box, work.ID, true))
	list, _, err := s.Folders(ctx, b.me(), b.box)
	b.must(err)
	seen := map[store.FolderID]bool{0: true}
	for _, f := range list {
		if !seen[f.Parent] {
			t.Errorf("%q comes before its parent", f.Name)
		}
		seen[f.ID] = true
		if f.ID == work.ID && (!f.Subscribed || f.Name != "WORK") {
			t.Errorf("%+v", f)
		}
	}
	if len(list) != 13 {
		t.Errorf("%d folders, want 13", len(list))
	}
	archive, err := s.CreateFolder(ctx, b.me(), b.box, store.Folder{Name: "Archive", Role: store.RoleArchive})
	b.must(err)
	if b.folder(store.RoleArchive).ID != archive.ID {
		t.Error("the archive is not found by its role")
	}
	_, err = s.CreateFolder(ctx, b.me(), b.box, store.Folder{Name: "Archive 2", Role: store.RoleArchive})
	b.wantFault(err, fault.Exists)

	parent := store.FolderID(0)
	for depth := 0; ; depth++ {
		f, err := s.CreateFolder(ctx, b.me(), b.box, store.Folder{Parent: parent, Name: "deep"})
		if fault.Of(err) == fault.Limit && err != nil {
			break
		}
		b.must(err)
		if parent = f.ID; depth > 100 {
			t.Fatal("folders nest without limit")
		}
	}
}

func folderChanges(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	all, err := s.FolderChanges(ctx, b.me(), b.box, 0)
	b.must(err)
	if len(all.Changed) != 11 || len(all.Gone) != 0 {
		t.Fatalf("from the beginning: %+v", all)
	}
	at := all.At
	b.text("mail changes no folder")
	none, err := s.FolderChanges(ctx, b.me(), b.box, at)
	b.must(err)
	if len(none.Changed) != 0 || none.At != at {
		t.Errorf("a message changed the tree: %+v", none)
	}
	one, two := b.create(0, "one"), b.create(0, "two")
	_, err = s.RenameFolder(ctx, b.me(), b.box, one.ID, two.ID, "uno")
	b.must(err)
	c, err := s.FolderChanges(ctx, b.me(), b.box, at)
	b.must(err)
	if len(c.Changed) != 2 || c.At <= at {
		t.Errorf("changes %+v", c)
	}
	mid := c.At
	b.must(s.DeleteFolder(ctx, b.me(), b.box, two.ID, true))
	c, err = s.FolderChanges(ctx, b.me(), b.box, mid)
	b.must(err)
	if len(c.Changed) != 0 || len(c.Gone) != 2 {
		t.Errorf("changes after the deletion %+v", c)
	}
	if b.Purge != nil {
		b.must(b.Purge(time.Now().Add(91 * 24 * time.Hour)))
		_, err = s.FolderChanges(ctx, b.me(), b.box, mid)
		b.wantFault(err, fault.Resync)
		again, err := s.FolderChanges(ctx, b.me(), b.box, c.At)
		b.must(err)
		if len(again.Changed)+len(again.Gone) != 0 {
			t.Errorf("changes %+v", again)
		}
		_, err = s.FolderChanges(ctx, b.me(), b.box, 0)
		b.must(err)
	}
}

func deleteFolder(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	a := b.create(0, "a")
	sub := b.create(a.ID, "b")
	m := b.message(Text("x", "x"))
	m.Folder = sub.ID
	added := b.add(m)
	b.wantFault(s.DeleteFolder(ctx, b.me(), b.box, a.ID, false), fault.Conflict)
	b.wantFault(s.DeleteFolder(ctx, b.me(), b.box, b.folder(store.RoleTrash).ID, true), fault.Denied)
	b.wantFault(s.DeleteFolder(ctx, b.me(), b.box, 4711, true), fault.NotFound)
	b.must(s.DeleteFolder(ctx, b.me(), b.box, a.ID, true))
	_, err := s.Folder(ctx, b.me(), b.box, sub.ID)
	b.wantFault(err, fault.NotFound)
	_, _, err = s.Entries(ctx, b.me(), b.box, sub.ID, 0, 10)
	b.wantFault(err, fault.NotFound)
	_, err = s.Changes(ctx, b.me(), b.box, sub.ID, store.Position{}, 10)
	b.wantFault(err, fault.NotFound)
	rec, err := s.Recoverables(ctx, b.me(), b.box, 0, 10)
	b.must(err)
	if len(rec) != 1 || rec[0].Item != added.Entry.Item || rec[0].Folder != sub.ID || rec[0].Size != added.Entry.Size {
		t.Errorf("recoverable %+v", rec)
	}
	b.check()
	b.must(s.Restore(ctx, b.me(), b.box, []store.ItemID{added.Entry.Item}, 0))
	if got := b.entries(b.folder(store.RoleInbox).ID); len(got) != 1 || got[0].Item != added.Entry.Item {
		t.Errorf("restored to the inbox: %+v", got)
	}
	if again := b.create(0, "a"); again.UIDValidity <= a.UIDValidity || again.ID == a.ID {
		t.Errorf("a name used again has UIDVALIDITY %d and id %d, had %d and %d", again.UIDValidity, again.ID, a.UIDValidity, a.ID)
	}
	b.check()
}

// check compares the counts of all folders and of the mailbox with what is there.
func (b *suite) check() {
	b.Helper()
	list, _, err := b.Store.Folders(b.Context(), b.me(), b.box)
	b.must(err)
	var used, items int64
	for _, f := range list {
		want := f
		want.Total, want.Unread, want.Deleted, want.Size = 0, 0, 0, 0
		for _, e := range b.entries(f.ID) {
			want.Total++
			want.Size += e.Size
			if e.Flags&store.Seen == 0 {
				want.Unread++
			}
			if e.Flags&store.Deleted != 0 {
				want.Deleted++
			}
			if e.UID >= f.UIDNext || e.Changed > f.HighestSeq || e.Entered > e.Changed {
				b.Errorf("folder %+v has entry %+v", f, e)
			}
		}
		if f != want {
			b.Errorf("folder says %+v, but holds %+v", f, want)
		}
		used, items = used+want.Size, items+int64(want.Total)
	}
	var recoverable int64
	for after := store.ItemID(0); ; {
		rec, err := b.Store.Recoverables(b.Context(), b.me(), b.box, after, 1000)
		b.must(err)
		if len(rec) == 0 {
			break
		}
		for _, r := range rec {
			recoverable += r.Size
			after = r.Item
		}
	}
	m, err := b.Store.Mailbox(b.Context(), b.me(), b.box)
	b.must(err)
	if m.Used != used || m.Items != items || m.Recoverable != recoverable {
		b.Errorf("mailbox says used %d, items %d, recoverable %d; but holds %d, %d, %d", m.Used, m.Items, m.Recoverable, used, items, recoverable)
	}
}
