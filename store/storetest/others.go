package storetest

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// purgeAll purges as of long from now, twice: content goes a day after its item.
func (b *suite) purgeAll() {
	b.Helper()
	b.must(b.Purge(time.Now().Add(800 * 24 * time.Hour)))
	b.must(b.Purge(time.Now().Add(802 * 24 * time.Hour)))
}

func rights(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	a := b.text("secret")
	inbox := a.Entry.Folder
	m := b.message(Text("x", "x"))
	items := []store.ItemID{a.Entry.Item}
	b.read(a.Entry.Item) // into the caches
	_, err := s.Messages(ctx, b.me(), b.box, items)
	b.must(err)
	admin := Owner(9)
	admin.Roles = directory.RoleAdmin
	for _, as := range []directory.Principal{{}, Owner(2), admin} {
		calls := map[string]func() error{
			"Mailbox":  func() error { _, err := s.Mailbox(ctx, as, b.box); return err },
			"Settings": func() error { _, err := s.Settings(ctx, as, b.box); return err },
			"Update": func() error {
				_, err := s.UpdateSettings(ctx, as, b.box, func(*store.Settings) error { return nil })
				return err
			},
			"Folders":    func() error { _, _, err := s.Folders(ctx, as, b.box); return err },
			"Folder":     func() error { _, err := s.Folder(ctx, as, b.box, inbox); return err },
			"ByRole":     func() error { _, err := s.FolderByRole(ctx, as, b.box, store.RoleInbox); return err },
			"FolderChg":  func() error { _, err := s.FolderChanges(ctx, as, b.box, 0); return err },
			"Create":     func() error { _, err := s.CreateFolder(ctx, as, b.box, store.Folder{Name: "x"}); return err },
			"Rename":     func() error { _, err := s.RenameFolder(ctx, as, b.box, inbox, 0, "x"); return err },
			"DelFolder":  func() error { return s.DeleteFolder(ctx, as, b.box, inbox, true) },
			"Subscribe":  func() error { return s.SubscribeFolder(ctx, as, b.box, inbox, true) },
			"Entries":    func() error { _, _, err := s.Entries(ctx, as, b.box, inbox, 0, 10); return err },
			"Newest":     func() error { _, err := s.Newest(ctx, as, b.box, inbox, time.Time{}, 1<<40, 0, 10); return err },
			"Aged":       func() error { _, err := s.Aged(ctx, as, b.box, inbox, time.Time{}, time.Now(), 0, 10); return err },
			"CountSince": func() error { _, err := s.CountSince(ctx, as, b.box, inbox, time.Time{}); return err },
			"EntriesOf":  func() error { _, err := s.EntriesOf(ctx, as, b.box, items); return err },
			"Changes":    func() error { _, err := s.Changes(ctx, as, b.box, inbox, store.Position{}, 10); return err },
			"Messages":   func() error { _, err := s.Messages(ctx, as, b.box, items); return err },
			"Content":    func() error { _, err := s.Content(ctx, as, b.box, a.Entry.Item); return err },
			"Find":       func() error { _, _, err := s.FindMessages(ctx, as, b.box, store.Find{Text: "secret"}); return err },
			"Add":        func() error { _, err := s.Add(ctx, as, b.box, m); return err },
			"Flag": func() error {
				_, err := s.Flag(ctx, as, b.box, store.FlagChange{Folder: inbox, Items: items})
				return err
			},
			"Copy":         func() error { _, err := s.Copy(ctx, as, b.box, inbox, items, inbox); return err },
			"Move":         func() error { _, err := s.Move(ctx, as, b.box, inbox, items, inbox); return err },
			"Delete":       func() error { _, _, err := s.Delete(ctx, as, b.box, inbox, items, false); return err },
			"Empty":        func() error { return s.Empty(ctx, as, b.box, inbox) },
			"Recoverables": func() error { _, err := s.Recoverables(ctx, as, b.box, 0, 10); return err },
			"Restore":      func() error { return s.Restore(ctx, as, b.box, items, 0) },
			"Send":         func() error { _, err := s.Send(ctx, as, b.box, outgoing(m, "k")); return err },
			"SyncState":    func() error { _, err := s.SyncState(ctx, as, b.box, "c", "s"); return err },
			"SaveState":    func() error { return s.SaveSyncState(ctx, as, b.box, "c", "s", 0, nil, false) },
			"DropStates":   func() error { return s.DropSyncStates(ctx, as, b.box, "c", "") },
			"Devices":      func() error { _, err := s.Devices(ctx, as, b.box); return err },
			"Device":       func() error { _, err := s.Device(ctx, as, b.box, "d"); return err },
			"UpdDevice": func() error {
				_, err := s.UpdateDevice(ctx, as, b.box, "d", func(*store.Device) error { return nil })
				return err
			},
			"DelDevice": func() error { return s.RemoveDevice(ctx, as, b.box, "d") },
		}
		for name, call := range calls {
			if err := call(); err == nil || fault.Of(err) != fault.NotFound && fault.Of(err) != fault.Denied {
				t.Errorf("%s by %+v: %v", name, as, err)
			}
		}
	}
	// The product itself may.
	delivery := directory.System("delivery")
	delivery.Mailbox, delivery.HomeMDB = b.box, "default"
	if _, err := s.Add(ctx, delivery, b.box, m); err != nil {
		t.Error(err)
	}
	// An item's id in one mailbox says nothing about another one's.
	other := &suite{T: t, Opened: b.Opened, box: 2}
	if _, err := s.Content(ctx, other.me(), 2, a.Entry.Item); fault.Of(err) != fault.NotFound || err == nil {
		t.Errorf("content through another mailbox: %v", err)
	}
}

func outgoing(m store.NewMessage, key string) store.Outgoing {
	return store.Outgoing{Key: key, From: "user1@example.test", Recipients: []string{"ann@example.org", "eve@example.net"}, Blob: m.Blob, Summary: m.Summary}
}

func send(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	source := b.text("question").Entry
	draft := b.message(Text("draft", "unfinished"))
	draft.Role, draft.Flags = store.RoleDrafts, store.Draft
	d := b.add(draft).Entry
	o := outgoing(b.message(Text("Re: question", "answer")), "device 1")
	o.SaveRole, o.Source, o.SourceVerb, o.Remove = store.RoleSent, source.Item, "reply", d.Item
	for range 3 {
		sent, err := s.Send(ctx, b.me(), b.box, o)
		b.must(err)
		if sent.Saved == nil || sent.Saved.Entry.Folder != b.folder(store.RoleSent).ID || sent.Saved.Entry.Flags&store.Seen == 0 {
			t.Fatalf("sent %+v", sent)
		}
	}
	if again, err := s.Send(ctx, b.me(), b.box, o); err != nil || !again.Repeated {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := len(b.entries(b.folder(store.RoleSent).ID)); n != 1 {
		t.Errorf("%d copies in Sent Items", n)
	}
	if n := len(b.entries(b.folder(store.RoleDrafts).ID)); n != 0 {
		t.Error("the draft is still there")
	}
	src, err := s.EntriesOf(ctx, b.me(), b.box, []store.ItemID{source.Item})
	b.must(err)
	if src[0].Flags&store.Answered == 0 || src[0].Props == nil || src[0].Props.LastVerb != "reply" || src[0].Changed == source.Changed {
		t.Errorf("the source: %+v", src[0])
	}
	b.check()
	// Without a copy.
	plain := outgoing(b.message(Text("plain", "x")), "device 2")
	sent, err := s.Send(ctx, b.me(), b.box, plain)
	b.must(err)
	if sent.Saved != nil || sent.Repeated {
		t.Errorf("sent %+v", sent)
	}
	if sent, err = s.Send(ctx, b.me(), b.box, plain); err != nil || !sent.Repeated {
		t.Errorf("again: %+v, %v", sent, err)
	}
	for _, change := range []func(*store.Outgoing){
		func(o *store.Outgoing) { o.Key = "" },
		func(o *store.Outgoing) { o.Recipients = nil },
		func(o *store.Outgoing) { o.Recipients = []string{"a@b\r\nRCPT TO:<c@d>"} },
		func(o *store.Outgoing) { o.Source, o.SourceVerb = 1, "eat" },
	} {
		bad := plain
		bad.Key = "bad"
		change(&bad)
		_, err := s.Send(ctx, b.me(), b.box, bad)
		b.wantFault(err, fault.Invalid)
	}
	if b.Outbox != nil {
		list, err := b.Outbox()
		b.must(err)
		if len(list) != 2 || list[0].From != plain.From || !slices.Equal(list[0].Recipients, plain.Recipients) {
			t.Errorf("outbox %+v", list)
		}
	}
}

func find(t *testing.T, b *suite) {
	ctx := t.Context()
	a1 := b.text("Quarterly Überblick")
	b.text("something else")
	sub := b.create(b.folder(store.RoleInbox).ID, "sub")
	m := b.message(Text("überblick again", "QUARTERLY figures"))
	m.Folder = sub.ID
	a3 := b.add(m)
	junk := b.message(Text("quarterly spam", "x"))
	junk.Role = store.RoleJunk
	j := b.add(junk)
	for _, tt := range []struct {
		q    store.Find
		want []store.ItemID
	}{
		{store.Find{Text: "QUARTERLY überblick"}, []store.ItemID{a3.Entry.Item, a1.Entry.Item}},
		{store.Find{Text: "quarterly", Folders: []store.FolderID{b.folder(store.RoleJunk).ID}}, []store.ItemID{j.Entry.Item}},
		{store.Find{Text: "quarterly", Folders: []store.FolderID{b.folder(store.RoleInbox).ID}}, []store.ItemID{a1.Entry.Item}},
		{store.Find{Text: "quarterly", Folders: []store.FolderID{b.folder(store.RoleInbox).ID}, Deep: true}, []store.ItemID{a3.Entry.Item, a1.Entry.Item}},
		{store.Find{Text: "ann@example.org überblick", Limit: 1}, []store.ItemID{a3.Entry.Item}},
		{store.Find{Text: "ann@example.org überblick", Limit: 1, Offset: 1}, []store.ItemID{a1.Entry.Item}},
		{store.Find{Text: "100%"}, nil},
		{store.Find{Thread: a1.Thread}, []store.ItemID{a1.Entry.Item}},
		{store.Find{Text: "quarterly", After: time.Now().Add(time.Hour)}, nil},
		{store.Find{Text: "quarterly", Before: time.Now().Add(time.Hour)}, []store.ItemID{a3.Entry.Item, a1.Entry.Item}},
	} {
		list, total, err := b.Store.FindMessages(ctx, b.me(), b.box, tt.q)
		b.must(err)
		var got []store.ItemID
		for _, e := range list {
			got = append(got, e.Item)
		}
		if !slices.Equal(got, tt.want) || total < len(got) {
			t.Errorf("%+v: %v of %d, want %v", tt.q, got, total, tt.want)
		}
	}
}

func watch(t *testing.T, b *suite) {
	b.text("before")
	w, other := b.Store.Watch(b.box), b.Store.Watch(2)
	defer w.Close()
	defer other.Close()
	inbox := b.folder(store.RoleInbox).ID
	wake := func(name string, change func()) {
		t.Helper()
		select {
		case <-w.C():
		default:
		}
		change()
		start := time.Now()
		select {
		case <-w.C():
			if d := time.Since(start); d > 10*time.Millisecond {
				t.Errorf("%s: woken after %v", name, d)
			}
		case <-time.After(time.Second):
			t.Errorf("%s: not woken", name)
		}
	}
	var a store.Added
	wake("add", func() { a = b.text("x") })
	wake("flag", func() { b.flags(inbox, store.Seen, a.Entry.Item) })
	wake("create folder", func() { b.create(0, "new") })
	wake("delete", func() {
		_, _, err := b.Store.Delete(t.Context(), b.me(), b.box, inbox, []store.ItemID{a.Entry.Item}, false)
		b.must(err)
	})
	select {
	case <-other.C():
		t.Error("the watcher of another mailbox was woken")
	default:
	}
}

func syncStates(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	state := func() store.SyncState {
		t.Helper()
		st, err := s.SyncState(ctx, b.me(), b.box, "phone", "eas 5")
		b.must(err)
		return st
	}
	if st := state(); st.Generation != 0 || st.Data != nil {
		t.Errorf("none: %+v", st)
	}
	b.must(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 0, []byte("one"), false))
	b.wantFault(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 0, []byte("x"), false), fault.Conflict)
	b.must(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 1, []byte("two"), false))
	b.wantFault(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 1, []byte("x"), false), fault.Conflict)
	b.must(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 2, []byte("two'"), true))
	b.wantFault(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 1, []byte("x"), true), fault.Conflict)
	b.wantFault(s.SaveSyncState(ctx, b.me(), b.box, "phone", "eas 5", 2, make([]byte, 1<<20+1), false), fault.TooLarge)
	if st := state(); st.Generation != 2 || string(st.Data) != "two'" || string(st.Previous) != "one" {
		t.Errorf("state %+v", st)
	}
	b.must(s.SaveSyncState(ctx, b.me(), b.box, "phone", "other", 0, []byte("o"), false))
	b.must(s.DropSyncStates(ctx, b.me(), b.box, "phone", "eas "))
	if st := state(); st.Generation != 0 {
		t.Errorf("dropped: %+v", st)
	}
	if st, err := s.SyncState(ctx, b.me(), b.box, "phone", "other"); err != nil || st.Generation != 1 {
		t.Errorf("the other scope: %+v, %v", st, err)
	}
}

func devices(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	_, err := s.Device(ctx, b.me(), b.box, "d1")
	b.wantFault(err, fault.NotFound)
	for i := range 3 {
		d, err := s.UpdateDevice(ctx, b.me(), b.box, "d1", func(d *store.Device) error {
			if i > 0 && d.PolicyKey != uint32(i) {
				t.Errorf("device %+v", d)
			}
			d.PolicyKey = uint32(i + 1)
			d.Type = "Phone\x00"
			return nil
		})
		b.must(err)
		if d.ID != "d1" {
			t.Errorf("device %+v", d)
		}
	}
	refused := errors.New("no")
	if _, err := s.UpdateDevice(ctx, b.me(), b.box, "d2", func(*store.Device) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	b.must(s.SaveSyncState(ctx, b.me(), b.box, "d1", "x", 0, []byte("x"), false))
	list, err := s.Devices(ctx, b.me(), b.box)
	b.must(err)
	if len(list) != 1 || list[0].PolicyKey != 3 {
		t.Errorf("devices %+v", list)
	}
	b.must(s.RemoveDevice(ctx, b.me(), b.box, "d1"))
	b.wantFault(s.RemoveDevice(ctx, b.me(), b.box, "d1"), fault.NotFound)
	if st, _ := s.SyncState(ctx, b.me(), b.box, "d1", "x"); st.Generation != 0 {
		t.Error("the removed device's sync state is still there")
	}
	for i := range 100 {
		_, err := s.UpdateDevice(ctx, b.me(), b.box, fmt.Sprint("n", i), func(*store.Device) error { return nil })
		b.must(err)
	}
	_, err = s.UpdateDevice(ctx, b.me(), b.box, "one too many", func(*store.Device) error { return nil })
	b.wantFault(err, fault.Limit)
}

func settings(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	if got, err := s.Settings(ctx, b.me(), b.box); err != nil || !reflect.DeepEqual(got, store.Settings{}) {
		t.Errorf("new: %+v, %v", got, err)
	}
	for i := range 3 {
		_, err := s.UpdateSettings(ctx, b.me(), b.box, func(set *store.Settings) error {
			set.OutOfOffice.State = "on"
			set.OutOfOffice.Internal.Text += fmt.Sprint(i)
			return nil
		})
		b.must(err)
	}
	if got, err := s.Settings(ctx, b.me(), b.box); err != nil || got.OutOfOffice.Internal.Text != "012" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err := s.UpdateSettings(ctx, b.me(), b.box, func(*store.Settings) error { return io.ErrUnexpectedEOF })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
