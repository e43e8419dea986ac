package storetest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

func addInvalid(t *testing.T, b *suite) {
	m := b.message(Text("x", "x"))
	try := func(change func(*store.NewMessage)) error {
		c := m
		change(&c)
		_, err := b.Store.Add(t.Context(), b.me(), b.box, c)
		return err
	}
	b.wantFault(try(func(m *store.NewMessage) { m.Folder = 4711 }), fault.NotFound)
	b.wantFault(try(func(m *store.NewMessage) { m.Role = store.RoleArchive }), fault.NotFound)
	b.wantFault(try(func(m *store.NewMessage) { m.Summary = nil }), fault.Invalid)
	b.wantFault(try(func(m *store.NewMessage) { m.Keywords = []string{"a b"} }), fault.Invalid)
	b.wantFault(try(func(m *store.NewMessage) { m.Once = string(make([]byte, 300)) }), fault.Invalid)
	if got := b.entries(b.folder(store.RoleInbox).ID); len(got) != 0 {
		t.Errorf("entries %+v", got)
	}
	b.check()
}

func once(t *testing.T, b *suite) {
	ctx := t.Context()
	m := b.message(Text("once", "x"))
	m.Once = "delivery 1 bob"
	first := b.add(m)
	again := b.add(m)
	if !again.Repeated || fmt.Sprintf("%+v", again.Entry) != fmt.Sprintf("%+v", first.Entry) || again.Thread != first.Thread || again.UIDValidity != first.UIDValidity {
		t.Errorf("repeated: %+v, first %+v", again, first)
	}
	inbox, trash := b.folder(store.RoleInbox).ID, b.folder(store.RoleTrash).ID
	_, err := b.Store.Move(ctx, b.me(), b.box, inbox, []store.ItemID{first.Entry.Item}, trash)
	b.must(err)
	if moved := b.add(m); !moved.Repeated || moved.Entry.Folder != trash {
		t.Errorf("after a move: %+v", moved)
	}
	_, _, err = b.Store.Delete(ctx, b.me(), b.box, trash, []store.ItemID{first.Entry.Item}, false)
	b.must(err)
	if gone := b.add(m); !gone.Repeated || gone.Entry.Folder != 0 || gone.Entry.Item != first.Entry.Item {
		t.Errorf("after it was deleted: %+v", gone)
	}
	// At the same time, in any grouping.
	m.Once = "delivery 2 bob"
	var wg sync.WaitGroup
	results := make([]store.Added, 20)
	for i := range results {
		wg.Go(func() { results[i] = b.add(m) })
	}
	wg.Wait()
	news := 0
	for _, r := range results {
		if !r.Repeated {
			news++
		}
		if r.Entry.Item != results[0].Entry.Item || r.Entry.Folder != inbox {
			t.Errorf("result %+v", r)
		}
	}
	if got := b.entries(inbox); news != 1 || len(got) != 1 {
		t.Errorf("%d were new, %d are there", news, len(got))
	}
	// Another mailbox has keys of its own.
	other := &suite{T: t, Opened: b.Opened, box: 2}
	if other.add(m).Repeated {
		t.Error("a key of another mailbox counted")
	}
	b.check()
}

// addCombined: many at once, good and bad ones together.
func addCombined(t *testing.T, b *suite) {
	const n = 60
	var wg sync.WaitGroup
	errs := make([]error, n)
	added := make([]store.Added, n)
	for i := range n {
		m := b.message(Text(fmt.Sprint("m", i%7), fmt.Sprint("body", i%11)))
		if i%5 == 0 {
			m.Folder = 4711
		}
		m.Limit = Quota
		if i%9 == 1 {
			m.Limit = 10 // full
		}
		wg.Go(func() { added[i], errs[i] = b.Store.Add(t.Context(), b.me(), b.box, m) })
	}
	wg.Wait()
	good := 0
	uids := make(map[store.UID]bool)
	for i := range n {
		switch {
		case i%5 == 0:
			if fault.Of(errs[i]) != fault.NotFound || errs[i] == nil {
				t.Errorf("%d: %v", i, errs[i])
			}
		case i%9 == 1:
			if fault.Of(errs[i]) != fault.OverQuota || errs[i] == nil {
				t.Errorf("%d: %v", i, errs[i])
			}
		default:
			b.must(errs[i])
			good++
			if uids[added[i].Entry.UID] {
				t.Errorf("UID %d twice", added[i].Entry.UID)
			}
			uids[added[i].Entry.UID] = true
			if want := Text(fmt.Sprint("m", i%7), fmt.Sprint("body", i%11)); !bytes.Equal(b.read(added[i].Entry.Item), want) {
				t.Errorf("%d has the content of another", i)
			}
		}
	}
	if got := b.entries(b.folder(store.RoleInbox).ID); len(got) != good {
		t.Errorf("%d entries, want %d", len(got), good)
	}
	b.check()
}

func copies(t *testing.T, b *suite) {
	ctx, inbox, to := t.Context(), b.folder(store.RoleInbox).ID, b.create(0, "copies").ID
	m := b.message(Text("one", "the first"))
	m.Keywords, m.Flags, m.Received = []string{"k"}, store.Seen, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	a1 := b.add(m)
	a2 := b.text("two")
	items := []store.ItemID{a2.Entry.Item, a1.Entry.Item}
	r, err := b.Store.Copy(ctx, b.me(), b.box, inbox, items, to)
	b.must(err)
	if len(r.Placed) != 2 || r.Placed[0].Item != items[0] || r.Placed[1].ToUID != 1 || r.Placed[0].ToUID != 2 || r.Placed[0].To == items[0] || r.UIDValidity == 0 || r.Seq == 0 {
		t.Fatalf("copied %+v", r)
	}
	got := b.entries(to)
	if len(got) != 2 || got[0].Item != r.Placed[1].To || got[0].Flags != store.Seen || got[0].Keywords[0] != "k" || !got[0].Received.Equal(m.Received) || got[0].Entered != r.Seq {
		t.Errorf("copies %+v", got)
	}
	if !bytes.Equal(b.read(got[0].Item), b.read(a1.Entry.Item)) {
		t.Error("the copy has another content")
	}
	ms, err := b.Store.Messages(ctx, b.me(), b.box, []store.ItemID{got[0].Item, got[1].Item})
	b.must(err)
	if ms[0].Thread != a1.Thread || ms[1].Thread != a2.Thread || ms[0].Item != got[0].Item {
		t.Error("a copy is in another thread")
	}
	_, err = b.Store.Copy(ctx, b.me(), b.box, inbox, []store.ItemID{a1.Entry.Item, 4711}, to)
	b.wantFault(err, fault.NotFound)
	_, err = b.Store.Copy(ctx, b.me(), b.box, inbox, items, 4711)
	b.wantFault(err, fault.NotFound)
	if len(b.entries(to)) != 2 {
		t.Error("a failed copy left something")
	}
	same, err := b.Store.Copy(ctx, b.me(), b.box, inbox, items, inbox) // into the same folder
	b.must(err)
	if len(same.Placed) != 2 || len(b.entries(inbox)) != 4 {
		t.Errorf("copied %+v", same)
	}
	b.check()
}

func moves(t *testing.T, b *suite) {
	ctx, inbox, to := t.Context(), b.folder(store.RoleInbox).ID, b.create(0, "moved").ID
	var items []store.ItemID
	for i := range 4 {
		items = append(items, b.text(fmt.Sprint(i)).Entry.Item)
	}
	r, err := b.Store.Move(ctx, b.me(), b.box, inbox, []store.ItemID{items[2], 4711, items[0]}, to)
	b.must(err)
	if len(r.Placed) != 3 || r.Placed[0].To != items[2] || r.Placed[0].ToUID != 2 || r.Placed[0].UID != 3 || !r.Placed[1].Absent || r.Placed[2].ToUID != 1 || r.Placed[2].Was == 0 {
		t.Fatalf("moved %+v", r)
	}
	r, err = b.Store.Move(ctx, b.me(), b.box, inbox, []store.ItemID{items[2], items[1]}, to)
	b.must(err)
	if r.Placed[0].Absent || !r.Placed[0].There || r.Placed[0].ToUID != 2 || r.Placed[1].ToUID != 3 || r.Placed[1].There {
		t.Errorf("moved again %+v", r)
	}
	stay, err := b.Store.Move(ctx, b.me(), b.box, to, []store.ItemID{items[2]}, to)
	b.must(err)
	if stay.Seq != 0 || stay.Placed[0].ToUID != 2 {
		t.Errorf("moved to where it is: %+v", stay)
	}
	trash := b.folder(store.RoleTrash).ID
	r, err = b.Store.Move(ctx, b.me(), b.box, inbox, []store.ItemID{items[1]}, trash)
	b.must(err)
	if !r.Placed[0].Absent || r.Seq != 0 {
		t.Errorf("moved from a folder where it is not: %+v", r)
	}
	r, err = b.Store.Move(ctx, b.me(), b.box, 0, []store.ItemID{items[1], items[3]}, trash)
	b.must(err)
	if r.Placed[0].Absent || r.Placed[1].Absent {
		t.Errorf("moved from anywhere: %+v", r)
	}
	_, err = b.Store.Move(ctx, b.me(), b.box, 0, []store.ItemID{items[1]}, 4711)
	b.wantFault(err, fault.NotFound)
	b.check()
}

func deleteAndRestore(t *testing.T, b *suite) {
	ctx, inbox := t.Context(), b.folder(store.RoleInbox).ID
	a1, a2, a3 := b.text("one").Entry, b.text("two").Entry, b.text("three").Entry
	b.flags(inbox, store.Deleted|store.Seen, a1.Item)
	seq, gone, err := b.Store.Delete(ctx, b.me(), b.box, inbox, []store.ItemID{a1.Item, a2.Item}, true)
	b.must(err)
	if len(gone) != 1 || gone[0].Item != a1.Item || gone[0].UID != a1.UID || gone[0].Left != seq {
		t.Fatalf("deleted %+v at %d", gone, seq)
	}
	_, gone, err = b.Store.Delete(ctx, b.me(), b.box, inbox, []store.ItemID{a2.Item, a1.Item, 4711}, false)
	b.must(err)
	if len(gone) != 1 || gone[0].Item != a2.Item {
		t.Fatalf("deleted %+v", gone)
	}
	seq, gone, err = b.Store.Delete(ctx, b.me(), b.box, inbox, []store.ItemID{a2.Item}, false)
	if err != nil || seq != 0 || len(gone) != 0 {
		t.Errorf("deleted twice: %d %v %v", seq, gone, err)
	}
	b.check()
	left, err := b.Store.EntriesOf(ctx, b.me(), b.box, []store.ItemID{a1.Item, a2.Item, a3.Item})
	b.must(err)
	if len(left) != 1 {
		t.Errorf("left %+v", left)
	}
	rec, err := b.Store.Recoverables(ctx, b.me(), b.box, 0, 1)
	b.must(err)
	if len(rec) != 1 || rec[0].Item != a1.Item || rec[0].Gone.IsZero() {
		t.Errorf("recoverable %+v", rec)
	}
	f := b.follow(inbox)
	f.finish(10)
	b.must(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{a1.Item, a2.Item, 4711}, 0))
	f.finish(10)
	got := b.entries(inbox)
	if len(got) != 3 || got[1].Item != a1.Item || got[1].Flags != store.Deleted|store.Seen || got[1].UID <= a3.UID || !got[1].Received.Equal(a1.Received) {
		t.Errorf("restored %+v", got)
	}
	if !bytes.Equal(b.read(a1.Item), Text("one", "body of one")) {
		t.Error("the content changed")
	}
	b.must(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{a1.Item}, 0))
	if len(b.entries(inbox)) != 3 {
		t.Error("restored twice")
	}
	b.check()
}

func purge(t *testing.T, b *suite) {
	if b.Purge == nil {
		t.Skip("this store cannot be purged")
	}
	ctx, inbox := t.Context(), b.folder(store.RoleInbox).ID
	a, keep := b.text("gone").Entry, b.text("keep").Entry
	_, _, err := b.Store.Delete(ctx, b.me(), b.box, inbox, []store.ItemID{a.Item}, false)
	b.must(err)
	now := time.Now()
	b.must(b.Purge(now.Add(13 * 24 * time.Hour)))
	if rec, _ := b.Store.Recoverables(ctx, b.me(), b.box, 0, 10); len(rec) != 1 {
		t.Error("purged too early")
	}
	b.must(b.Purge(now.Add(15 * 24 * time.Hour)))
	if rec, _ := b.Store.Recoverables(ctx, b.me(), b.box, 0, 10); len(rec) != 0 {
		t.Errorf("still there: %+v", rec)
	}
	b.check()
	b.must(b.Purge(now.Add(17 * 24 * time.Hour))) // the content
	if !bytes.Equal(b.read(keep.Item), Text("keep", "body of keep")) {
		t.Error("the wrong content was purged")
	}
	b.must(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{a.Item}, 0))
	if len(b.entries(inbox)) != 1 {
		t.Error("what was purged came back")
	}
	// The content that was collected can be stored again.
	if again := b.text("gone"); !bytes.Equal(b.read(again.Entry.Item), Text("gone", "body of gone")) {
		t.Error("content stored again is not there")
	}
}

func empty(t *testing.T, b *suite) {
	trash := b.folder(store.RoleTrash).ID
	for i := range 30 {
		m := b.message(Text(fmt.Sprint(i), "x"))
		m.Role = store.RoleTrash
		b.add(m)
	}
	b.text("stays")
	b.must(b.Store.Empty(t.Context(), b.me(), b.box, trash))
	if f := b.folder(store.RoleTrash); f.Total != 0 || f.Size != 0 || f.UIDNext != 31 {
		t.Errorf("folder %+v", f)
	}
	b.wantFault(b.Store.Empty(t.Context(), b.me(), b.box, 4711), fault.NotFound)
	b.check()
}

func threads(t *testing.T, b *suite) {
	thread := func(subject string, fields ...string) store.ThreadID {
		t.Helper()
		return b.text(subject, fields...).Thread
	}
	root := thread("plan", "Message-ID: <1@x>")
	if got := thread("Re: plan", "Message-ID: <2@x>", "In-Reply-To: <1@x>"); got != root {
		t.Error("In-Reply-To does not join")
	}
	if got := thread("other words", "Message-ID: <3@x>", "References: <1@x> <2@x>"); got != root {
		t.Error("References do not join")
	}
	if got := thread("Re: plan", "Message-ID: <4@x>"); got != root {
		t.Error("a reply by subject with a shared participant does not join")
	}
	if got := thread("plan", "Message-ID: <5@x>"); got == root {
		t.Error("the same subject without a reply prefix joined")
	}
	foreign := bytes.Replace(Text("Re: plan", "x", "Message-ID: <6@x>"), []byte("ann@example.org"), []byte("eve@example.net"), 1)
	foreign = bytes.Replace(foreign, []byte("bob@example.test"), []byte("user1@example.test"), 1)
	if got := b.add(b.message(foreign)).Thread; got == root {
		t.Error("a reply by subject without a shared participant joined")
	}
	late := b.message(Text("Re: plan", "x", "Message-ID: <7@x>"))
	late.Received = time.Now().Add(40 * 24 * time.Hour)
	if got := b.add(late).Thread; got == root {
		t.Error("a reply by subject joined after 30 days")
	}
	// The original comes after its replies.
	reply := thread("Re: late", "Message-ID: <r1@x>", "References: <o@x>")
	if got := thread("late", "Message-ID: <o@x>"); got != reply {
		t.Error("a late original does not join its replies")
	}
	// Late arrivals do not merge threads.
	one, two := thread("1", "Message-ID: <m1@x>"), thread("2", "Message-ID: <m2@x>")
	if got := thread("3", "Message-ID: <m3@x>", "References: <m1@x> <m2@x>"); got != two {
		t.Errorf("joined %d, want the nearest, %d (of %d)", got, two, one)
	}
	if one == two {
		t.Error("threads merged")
	}
}

func quota(t *testing.T, b *suite) {
	m := b.message(Text("big", string(bytes.Repeat([]byte("x"), 1000))))
	size := m.Blob.Size
	m.Limit = 3*size - 1
	b.add(m)
	b.add(m)
	_, err := b.Store.Add(t.Context(), b.me(), b.box, m)
	b.wantFault(err, fault.OverQuota)
	// The limit that the directory said is the mailbox's from now on.
	m.Limit = 0
	_, err = b.Store.Add(t.Context(), b.me(), b.box, m)
	b.wantFault(err, fault.OverQuota)
	inbox := b.folder(store.RoleInbox).ID
	items := []store.ItemID{b.entries(inbox)[0].Item}
	_, err = b.Store.Copy(t.Context(), b.me(), b.box, inbox, items, inbox)
	b.wantFault(err, fault.OverQuota)
	mb, err := b.Store.Mailbox(t.Context(), b.me(), b.box)
	b.must(err)
	if mb.Quota != 3*size-1 || mb.Used != 2*size || mb.Items != 2 {
		t.Errorf("mailbox %+v", mb)
	}
	_, _, err = b.Store.Delete(t.Context(), b.me(), b.box, inbox, items, false)
	b.must(err)
	b.add(m) // deleting made room
	b.wantFault(b.Store.Restore(t.Context(), b.me(), b.box, items, 0), fault.OverQuota)
	b.check()
	// The directory took the limit away: delivery says so.
	delivery := directory.System("delivery")
	delivery.Mailbox, delivery.HomeMDB = b.box, "default"
	_, err = b.Store.Add(t.Context(), delivery, b.box, m)
	b.must(err)
	if mb, err = b.Store.Mailbox(t.Context(), b.me(), b.box); err != nil || mb.Quota != Quota {
		t.Errorf("mailbox %+v, %v", mb, err)
	}
	b.check()
}
