package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

func flag(t *testing.T, b *suite) {
	ctx, inbox := t.Context(), b.folder(store.RoleInbox).ID
	a1, a2 := b.text("one").Entry, b.text("two").Entry
	r, err := b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{
		Folder: inbox, Items: []store.ItemID{a1.Item, 9999, a2.Item, a1.Item}, Set: store.Seen | store.Deleted, Add: []string{"b", "a"},
	})
	b.must(err)
	if len(r.Entries) != 2 || r.Entries[0].Flags != store.Seen|store.Deleted || strings.Join(r.Entries[1].Keywords, " ") != "a b" ||
		r.Was[0] != a1.Changed || r.Entries[0].Changed != r.Seq || r.Seq == 0 {
		t.Errorf("flagged %+v", r)
	}
	b.check()
	again, err := b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item}, Set: store.Seen, Add: []string{"a"}})
	b.must(err)
	if again.Seq != 0 || len(again.Entries) != 1 || again.Entries[0].Changed != r.Seq {
		t.Errorf("a change that changes nothing: %+v", again)
	}
	r, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item}, Clear: store.Deleted, Remove: []string{"a"}, Add: []string{"c"}})
	b.must(err)
	if r.Entries[0].Flags != store.Seen || strings.Join(r.Entries[0].Keywords, " ") != "b c" {
		t.Errorf("changed %+v", r)
	}
	r, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item, a2.Item}, Clear: ^store.Flags(0), Set: store.Flagged, Replace: true})
	b.must(err)
	if r.Entries[0].Flags != store.Flagged || r.Entries[0].Keywords != nil || r.Entries[1].Flags != store.Flagged {
		t.Errorf("replaced %+v", r)
	}
	if got := b.entries(inbox); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r.Entries) {
		t.Errorf("the folder has %+v, the answer said %+v", got, r.Entries)
	}
	b.check()
	for _, bad := range [][]string{{""}, {"a b"}, {strings.Repeat("x", 65)}, {"a\x00"}, {"\xff"}} {
		_, err := b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item}, Add: bad})
		b.wantFault(err, fault.Invalid)
	}
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprint("k", i))
	}
	_, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item}, Add: many[:64]})
	b.must(err)
	_, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item}, Add: many[64:]})
	b.wantFault(err, fault.Limit)
	other, err := b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: b.folder(store.RoleTrash).ID, Items: []store.ItemID{a1.Item}, Set: store.Seen})
	b.must(err)
	if len(other.Entries) != 0 || other.Seq != 0 {
		t.Errorf("marked in a folder where it is not: %+v", other)
	}
}

func unchangedSince(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	a1, a2 := b.text("one").Entry, b.text("two").Entry
	at := a2.Changed
	b.flags(inbox, store.Seen, a1.Item)
	r, err := b.Store.Flag(t.Context(), b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a1.Item, a2.Item}, Set: store.Flagged, UnchangedSince: &at})
	b.must(err)
	if !slices.Equal(r.Modified, []store.ItemID{a1.Item}) || len(r.Entries) != 2 || r.Entries[0].Flags != store.Seen || r.Entries[1].Flags != store.Flagged {
		t.Errorf("flagged %+v", r)
	}
}

func props(t *testing.T, b *suite) {
	inbox := b.folder(store.RoleInbox).ID
	a := b.text("one").Entry
	due := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	set := func(fn func(store.ItemID, *store.Props) *store.Props) store.FlagResult {
		r, err := b.Store.Flag(t.Context(), b.me(), b.box, store.FlagChange{Folder: inbox, Items: []store.ItemID{a.Item}, Props: fn})
		b.must(err)
		return r
	}
	r := set(func(_ store.ItemID, p *store.Props) *store.Props {
		if p != nil {
			t.Error("there are properties already")
		}
		return &store.Props{FollowUp: &store.FollowUp{Type: "Flag for follow up\x00", Due: due}}
	})
	if r.Seq == 0 {
		t.Fatal("nothing changed")
	}
	got := b.entries(inbox)[0].Props
	if got == nil || got.FollowUp == nil || !got.FollowUp.Due.Equal(due) || got.FollowUp.Type != "Flag for follow up" {
		t.Errorf("props %+v", got)
	}
	b.flags(inbox, store.Seen, a.Item)
	if b.entries(inbox)[0].Props == nil {
		t.Error("a mark dropped the properties")
	}
	r = set(func(_ store.ItemID, p *store.Props) *store.Props { return p })
	if r.Seq != 0 {
		t.Error("unchanged properties count as a change")
	}
	set(func(store.ItemID, *store.Props) *store.Props { return nil })
	if b.entries(inbox)[0].Props != nil {
		t.Error("the properties are still there")
	}
}
