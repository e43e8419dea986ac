package storetest

import (
	"fmt"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// feeder is the product itself at a mailbox.
func (b *suite) feeder() directory.Principal {
	as := b.me()
	as.Roles = directory.RoleSystem
	return as
}

// fedFolders: whatever the owner tries, what is in a fed folder stays as it is; who
// feeds it may; when it goes everything of it goes.
func fedFolders(_ *testing.T, b *suite) {
	ctx := b.Context()
	_, err := b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: "People", Class: store.ClassContacts}, store.FolderProps{}, "https://a.example/x.vcf")
	b.wantFault(err, fault.Invalid)
	_, err = b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: "Line", Class: store.ClassCalendar}, store.FolderProps{}, "https://a.example/\r\nx")
	b.wantFault(err, fault.Invalid)
	fed, err := b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: "Holidays", Class: store.ClassCalendar}, store.FolderProps{Color: "#112233"}, "https://a.example/x.ics")
	b.must(err)
	_, err = b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: "holidays", Class: store.ClassCalendar}, store.FolderProps{}, "https://a.example/x.ics")
	b.wantFault(err, fault.Exists)
	props, err := b.Store.FolderProps(ctx, b.me(), b.box, []store.FolderID{fed.ID})
	b.must(err)
	if !props[0].Transparent || props[0].Color != "#112233" || fed.Origin != store.OriginFeed {
		b.Errorf("made %+v with %+v", fed, props[0])
	}
	feeds, err := b.Store.Feeds(ctx, b.me(), b.box)
	b.must(err)
	if len(feeds) != 1 || feeds[0].URL != "https://a.example/x.ics" || feeds[0].Folder != fed.ID || feeds[0].Mailbox != b.box {
		b.Fatalf("feeds %+v", feeds)
	}

	feed := func(uid string) store.Put {
		b.Helper()
		res, err := b.Store.PutObject(ctx, b.feeder(), b.box, store.PutObject{Folder: fed.ID, UID: uid, Feed: true, Edit: SetText(Event(uid, "Day", ":20261224T100000Z"))})
		b.must(err)
		return res
	}
	one, two := feed("one"), feed("two")
	own, err := b.Store.FolderByRole(ctx, b.me(), b.box, store.RoleCalendar)
	b.must(err)
	mine := b.event(own.ID, "mine", "Mine", ":20261224T100000Z")
	before, err := b.Store.Folder(ctx, b.me(), b.box, fed.ID)
	b.must(err)
	for _, as := range []directory.Principal{b.me(), b.feeder()} { // nobody does it unawares
		for name, try := range map[string]func() error{
			"put new": func() error {
				_, err := b.Store.PutObject(ctx, as, b.box, store.PutObject{Folder: fed.ID, Edit: SetText(Event("three", "Day", ""))})
				return err
			},
			"put": func() error {
				_, err := b.Store.PutObject(ctx, as, b.box, store.PutObject{Item: one.Entry.Item, Edit: SetText(Event("one", "Other", ""))})
				return err
			},
			"put and send": func() error {
				_, err := b.Store.PutObject(ctx, as, b.box, store.PutObject{Item: one.Entry.Item, Edit: func(*store.Object) (store.Edit, error) {
					o := b.message([]byte("Subject: x\r\n\r\ny\r\n"))
					return store.Edit{Text: Event("one", "Other", ""), Send: []store.Outgoing{{Key: "k", From: "a@example.test", Recipients: []string{"b@example.test"}, Blob: o.Blob, Summary: o.Summary}}}, nil
				}})
				return err
			},
			"remove": func() error {
				_, err := b.Store.RemoveObject(ctx, as, b.box, store.RemoveObject{Item: one.Entry.Item})
				return err
			},
			"delete": func() error {
				_, _, err := b.Store.Delete(ctx, as, b.box, fed.ID, []store.ItemID{one.Entry.Item}, false)
				return err
			},
			"empty": func() error { return b.Store.Empty(ctx, as, b.box, fed.ID) },
			"move out": func() error {
				_, err := b.Store.Move(ctx, as, b.box, 0, []store.ItemID{one.Entry.Item}, own.ID)
				return err
			},
			"move in": func() error {
				_, err := b.Store.Move(ctx, as, b.box, own.ID, []store.ItemID{mine.Entry.Item}, fed.ID)
				return err
			},
			"copy in": func() error {
				_, err := b.Store.Copy(ctx, as, b.box, own.ID, []store.ItemID{mine.Entry.Item}, fed.ID)
				return err
			},
		} {
			if err := try(); fault.Of(err) != fault.Denied || err == nil {
				b.Errorf("%s: %v", name, err)
			}
		}
	}
	_, err = b.Store.PutObject(ctx, b.me(), b.box, store.PutObject{Folder: fed.ID, Feed: true, Edit: SetText(Event("three", "Day", ""))})
	b.wantFault(err, fault.Denied)
	_, err = b.Store.DropObjects(ctx, b.me(), b.box, fed.ID, []store.ItemID{one.Entry.Item})
	b.wantFault(err, fault.Denied)
	_, err = b.Store.DropObjects(ctx, b.feeder(), b.box, own.ID, []store.ItemID{mine.Entry.Item})
	b.wantFault(err, fault.NotFound)
	after, err := b.Store.Folder(ctx, b.me(), b.box, fed.ID)
	b.must(err)
	if after.HighestSeq != before.HighestSeq || after.Total != 2 {
		b.Errorf("folder %+v became %+v", before, after)
	}
	if out, err := b.Outbox(); err != nil || len(out) != 0 {
		b.Errorf("outbox %+v, %v", out, err)
	}

	// A copy out of it is the owner's, and meetings see none but that.
	copied, err := b.Store.Copy(ctx, b.me(), b.box, fed.ID, []store.ItemID{one.Entry.Item}, own.ID)
	b.must(err)
	found, err := b.Store.ObjectsByUID(ctx, b.me(), b.box, store.ClassCalendar, "one")
	b.must(err)
	if len(found) != 1 || found[0].Item != copied.Placed[0].To {
		b.Errorf("by UID %+v", found)
	}
	_, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: fed.ID, Items: []store.ItemID{two.Entry.Item}, Set: store.Flagged})
	b.must(err)

	// What is dropped is gone from the folder, told to who follows, and not recoverable.
	since := store.Position{Seq: after.HighestSeq, Item: 1 << 60}
	_, err = b.Store.DropObjects(ctx, b.feeder(), b.box, fed.ID, []store.ItemID{one.Entry.Item, mine.Entry.Item, 1 << 50})
	b.must(err)
	ch, err := b.Store.Changes(ctx, b.me(), b.box, fed.ID, since, 100)
	b.must(err)
	if len(ch.Gone) != 1 || ch.Gone[0].Item != one.Entry.Item || ch.Gone[0].Name != one.Object.Name || ch.Folder.Total != 1 {
		b.Errorf("changes %+v", ch)
	}
	_, err = b.Store.RenameFolder(ctx, b.me(), b.box, fed.ID, 0, "Days off")
	b.must(err)
	b.must(b.Store.DeleteFolder(ctx, b.me(), b.box, fed.ID, true))
	gone, err := b.Store.Recoverables(ctx, b.me(), b.box, 0, 100)
	b.must(err)
	feeds, err = b.Store.Feeds(ctx, b.me(), b.box)
	b.must(err)
	box, err := b.Store.Mailbox(ctx, b.me(), b.box)
	b.must(err)
	if len(gone) != 0 || len(feeds) != 0 || box.Items != 2 || box.Recoverable != 0 {
		b.Errorf("%d recoverable, %d feeds, mailbox %+v", len(gone), len(feeds), box)
	}
	b.must(b.Purge(time.Now().Add(400 * 24 * time.Hour)))
	if list, err := b.Store.Objects(ctx, b.me(), b.box, []store.ItemID{mine.Entry.Item, copied.Placed[0].To}); err != nil || list[0] == nil || list[1] == nil {
		b.Errorf("own objects after the purge: %+v, %v", list, err)
	}
	for n := range 50 {
		_, err := b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: fmt.Sprint("n", n), Class: store.ClassCalendar}, store.FolderProps{}, "https://a.example/")
		b.must(err)
	}
	_, err = b.Store.Subscribe(ctx, b.me(), b.box, store.Folder{Name: "more", Class: store.ClassCalendar}, store.FolderProps{}, "https://a.example/")
	b.wantFault(err, fault.Limit)
	_, err = b.Store.Feeds(ctx, Owner(b.box+1), b.box)
	b.wantFault(err, fault.NotFound)
}

// publications are the owner's, and their secrets are never told again.
func publications(_ *testing.T, b *suite) {
	ctx := b.Context()
	cal, err := b.Store.FolderByRole(ctx, b.me(), b.box, store.RoleCalendar)
	b.must(err)
	inbox, err := b.Store.FolderByRole(ctx, b.me(), b.box, store.RoleInbox)
	b.must(err)
	for folder, want := range map[store.FolderID]fault.Kind{inbox.ID: fault.Invalid, 9999: fault.NotFound} {
		_, _, err = b.Store.Publish(ctx, b.me(), b.box, store.Publication{Folder: folder, Detail: store.DetailFull})
		b.wantFault(err, want)
	}
	_, _, err = b.Store.Publish(ctx, b.me(), b.box, store.Publication{Folder: cal.ID})
	b.wantFault(err, fault.Invalid)
	secrets := map[string]bool{}
	for range 3 {
		p, secret, err := b.Store.Publish(ctx, b.me(), b.box, store.Publication{Folder: cal.ID, Detail: store.DetailBusy, Note: "for Carol"})
		b.must(err)
		if len(secret) < 26 || secrets[secret] || p.Mailbox != b.box || p.Created.IsZero() {
			b.Errorf("%+v, %q", p, secret)
		}
		secrets[secret] = true
	}
	list, err := b.Store.Publications(ctx, b.me(), b.box)
	b.must(err)
	if len(list) != 3 || list[0].Detail != store.DetailBusy || list[0].Note != "for Carol" || list[0].Folder != cal.ID {
		b.Fatalf("publications %+v", list)
	}
	b.wantFault(b.Store.Unpublish(ctx, Owner(b.box+1), b.box, list[0].ID), fault.NotFound)
	b.must(b.Store.Unpublish(ctx, b.me(), b.box, list[0].ID))
	b.wantFault(b.Store.Unpublish(ctx, b.me(), b.box, list[0].ID), fault.NotFound)
	made, err := b.Store.CreateFolder(ctx, b.me(), b.box, store.Folder{Name: "Team", Class: store.ClassCalendar, Origin: store.OriginFeed})
	b.must(err)
	if made.Origin != store.OriginOwn {
		b.Error("a folder that was asked for is fed")
	}
	_, _, err = b.Store.Publish(ctx, b.me(), b.box, store.Publication{Folder: made.ID, Detail: store.DetailFull})
	b.must(err)
	b.must(b.Store.DeleteFolder(ctx, b.me(), b.box, made.ID, false))
	if list, err = b.Store.Publications(ctx, b.me(), b.box); err != nil || len(list) != 2 {
		b.Errorf("after the folder went: %+v, %v", list, err)
	}
}

// birthdaysFolder is there once, and goes.
func birthdaysFolder(_ *testing.T, b *suite) {
	ctx := b.Context()
	_, err := b.Store.CreateFolder(ctx, b.me(), b.box, store.Folder{Name: "Birthdays", Class: store.ClassCalendar})
	b.must(err)
	count := func() (n int) {
		list, _, err := b.Store.Folders(ctx, b.me(), b.box)
		b.must(err)
		for _, f := range list {
			if f.Origin == store.OriginBirthdays {
				n++
			}
		}
		return n
	}
	for _, on := range []bool{false, true, true, false, false, true} {
		b.must(b.Store.SetBirthdays(ctx, b.me(), b.box, on))
		if got := count(); (got == 1) != on || got > 1 {
			b.Errorf("%d folders after %v", got, on)
		}
	}
}
