package meeting_test

import (
	"slices"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/store"
)

// TestFedCalendar: an invitation in a calendar from elsewhere is nobody's to answer;
// the real one with the same UID has a copy of its own; and time in it counts when
// its owner says so.
func TestFedCalendar(t *testing.T) {
	w := newWorld(t)
	ctx, bob, box := t.Context(), w.as("bob"), w.box("bob")
	f, err := w.store.Subscribe(ctx, bob, box, store.Folder{Name: "Club", Class: store.ClassCalendar}, store.FolderProps{}, "https://club.example/c.ics")
	if err != nil {
		t.Fatal(err)
	}
	text := event("plan", append(append(monday, "ORGANIZER:mailto:alice@example.test"), invite("bob", "zoe@other.example")...)...)
	fed, err := w.store.PutObject(ctx, directory.System("test"), box, store.PutObject{
		Folder: f.ID, UID: "plan", Feed: true, Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: text}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	busy := func() int {
		t.Helper()
		from := time.Date(2027, 1, 11, 0, 0, 0, 0, time.UTC)
		got, err := w.m.FreeBusy(ctx, w.as("alice"), []string{"bob@example.test"}, from, from.AddDate(0, 0, 1))
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		return len(got[0].Slots)
	}
	if n := busy(); n != 0 {
		t.Errorf("bob is busy %d times", n)
	}

	denied := func(what string, err error) {
		t.Helper()
		if fault.Of(err) != fault.Denied || err == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = w.m.PutObject(ctx, bob, box, store.PutObject{Item: fed.Entry.Item, Edit: func(old *store.Object) (store.Edit, error) {
		return store.Edit{Text: event("plan", append(append(monday, "ORGANIZER:mailto:alice@example.test", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.test"), invite("zoe@other.example")...)...)}, nil
	}}, false)
	denied("an answer", err)
	_, err = w.m.RemoveObject(ctx, bob, box, store.RemoveObject{Item: fed.Entry.Item}, false)
	denied("a removal", err)
	for _, status := range []string{itip.Accepted, itip.Declined} {
		_, err = w.m.Respond(ctx, bob, box, fed.Entry.Item, itip.Answer{Status: status})
		denied(status, err)
	}
	if moved := w.carry(1); len(moved) != 0 {
		t.Errorf("moved %v", moved)
	}

	// alice invites bob to what the club published.
	w.put("alice", event("plan", append(monday, invite("alice", "bob")...)...))
	if moved := w.carry(2); !slices.Equal(moved, []string{"REQUEST bob@example.test"}) {
		t.Errorf("moved %v", moved)
	}
	w.want("bob", "plan", "PARTSTAT=NEEDS-ACTION")
	now, err := w.store.Objects(ctx, bob, box, []store.ItemID{fed.Entry.Item})
	if err != nil || now[0] == nil || now[0].Version != fed.Object.Version {
		t.Errorf("the feed's became %+v, %v", now, err)
	}
	if n := busy(); n != 1 {
		t.Errorf("bob is busy %d times, want once", n)
	}
	if _, err := w.store.UpdateFolderProps(ctx, bob, box, f.ID, func(p *store.FolderProps) error { p.Transparent = false; return nil }); err != nil {
		t.Fatal(err)
	}
	if n := busy(); n != 2 {
		t.Errorf("bob is busy %d times, want twice", n)
	}
}
