package meeting_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/delivery"
	"waypost/services/meeting"
	"waypost/store"
	"waypost/store/postgres"
)

var quiet = slog.New(slog.DiscardHandler)

// people are the organisation: each is its number in the list, from 1.
type people struct {
	names     []string
	delegates map[string][]string
	groups    map[string][]string
	nameless  string // cannot be looked up
}

func (d *people) target(name string) directory.Target {
	i := slices.Index(d.names, name) + 1
	return directory.Target{ID: directory.ObjectID(i), Mailbox: directory.MailboxID(i), HomeMDB: postgres.DefaultHome, Address: name + "@example.test"}
}

func (d *people) Resolve(_ context.Context, address string) (directory.Resolution, error) {
	local, domain := envelope.Split(strings.ToLower(address))
	local, _, _ = strings.Cut(local, ".alias")
	switch {
	case domain != "example.test":
		return directory.Resolution{}, nil
	case d.groups[local] != nil:
		return directory.Resolution{Standing: directory.List, Group: directory.ObjectID(len(local) + 1000)}, nil
	case slices.Contains(d.names, local):
		return directory.Resolution{Standing: directory.Person, Target: d.target(local)}, nil
	}
	return directory.Resolution{Standing: directory.Unknown}, nil
}

func (d *people) list(names []string) (all []directory.Target) {
	for _, n := range names {
		all = append(all, d.target(n))
	}
	return all
}

func (d *people) Expand(_ context.Context, id directory.ObjectID, _ directory.Page) ([]directory.Target, error) {
	for name, members := range d.groups {
		if directory.ObjectID(len(name)+1000) == id {
			return d.list(members), nil
		}
	}
	return nil, fault.New(fault.NotFound, "no group")
}

func (d *people) MaySendTo(context.Context, directory.Sender, directory.ObjectID) ([]directory.Target, error) {
	return nil, nil
}

func (d *people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	if id < 1 || int(id) > len(d.names) || d.names[id-1] == d.nameless {
		return directory.User{}, fault.New(fault.NotFound, "nobody")
	}
	name := d.names[id-1]
	u := directory.User{
		ID: id, Kind: directory.KindUser, Address: name + "@example.test", Mailbox: directory.MailboxID(id), HomeMDB: postgres.DefaultHome,
		Addresses: []string{name + "@example.test", name + ".alias@example.test"}, Name: strings.ToUpper(name[:1]) + name[1:],
	}
	if strings.HasPrefix(name, "room") {
		u.Kind = directory.KindRoom
	}
	return u, nil
}

func (d *people) Group(_ context.Context, _ directory.Principal, address string) (directory.Group, error) {
	return directory.Group{Address: address}, nil
}

func (d *people) Delegates(_ context.Context, _ directory.Principal, id directory.ObjectID) ([]directory.Target, error) {
	return d.list(d.delegates[d.names[id-1]]), nil
}

// world is a store with the role, and what carries mail: it delivers what is in
// the outbox to our people, and keeps what is for others.
type world struct {
	testing.TB
	dir     *people
	store   *postgres.Store
	m       *meeting.Service
	deliver *delivery.Service
	now     time.Time
	outside []string // "METHOD to address"
}

func newWorld(t testing.TB, names ...string) *world {
	if len(names) == 0 {
		names = []string{"alice", "bob", "carol", "dave", "room1"}
	}
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		TB: t, store: s, now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
		dir: &people{names: names, delegates: map[string][]string{}, groups: map[string][]string{}},
	}
	w.m = meeting.New(s, w.dir, meeting.Options{Log: quiet, Now: func() time.Time { return w.now }})
	w.deliver = delivery.New(s, delivery.Options{Log: quiet, Calendars: w.m})
	for _, name := range w.dir.names {
		if _, err := s.Mailbox(t.Context(), w.as(name), w.box(name)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) box(name string) store.MailboxID { return w.dir.target(name).Mailbox }

func (w *world) as(name string) directory.Principal {
	t := w.dir.target(name)
	return directory.Principal{ID: t.ID, Mailbox: t.Mailbox, HomeMDB: t.HomeMDB, Address: t.Address, Name: name}
}

type content struct{ store.Content }

func (c content) Reader() io.Reader { return io.NewSectionReader(c.Content, 0, c.Content.Size()) }

// carry moves the outbox until it is empty, each message as often as told: a mover
// that is killed delivers again. It gives what it moved.
func (w *world) carry(times int) (moved []string) {
	w.Helper()
	w.now = w.now.Add(time.Minute)
	for {
		list, err := w.store.NextOutbox(w.Context(), postgres.DefaultHome, 100)
		if err != nil {
			w.Fatal(err)
		}
		if len(list) == 0 {
			slices.Sort(moved)
			return moved
		}
		for _, e := range list {
			c, err := w.store.OutboxContent(w.Context(), postgres.DefaultHome, e.ID)
			if err != nil {
				w.Fatal(err)
			}
			text, _ := io.ReadAll(content{c}.Reader())
			_, method, _ := strings.Cut(string(text), "method=")
			method, _, _ = strings.Cut(method, "\r\n")
			var to []directory.Target
			for _, addr := range e.Recipients {
				moved = append(moved, method+" "+addr)
				r, _ := w.dir.Resolve(w.Context(), addr)
				if r.Standing == directory.Person {
					to = append(to, r.Target)
				} else {
					w.outside = append(w.outside, method+" "+addr)
				}
			}
			env := envelope.Envelope{ID: delivery.OutboxID(postgres.DefaultHome, e), From: e.From, Trusted: true, Created: e.Created}
			for range times {
				for _, err := range w.deliver.Deliver(w.Context(), env, to, content{c}) {
					if err != nil {
						w.Error(err)
					}
				}
			}
			if err := w.store.DoneOutbox(w.Context(), postgres.DefaultHome, e.ID); err != nil {
				w.Fatal(err)
			}
		}
	}
}

func event(uid string, lines ...string) []byte {
	return []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//\r\nBEGIN:VEVENT\r\nUID:" + uid + "\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
}

func invite(names ...string) (lines []string) {
	for _, n := range names {
		if !strings.Contains(n, "@") {
			n += "@example.test"
		}
		lines = append(lines, "ATTENDEE:mailto:"+n)
	}
	return lines
}

func (w *world) put(name string, text []byte) store.Put {
	w.Helper()
	uid := strings.SplitN(strings.SplitN(string(text), "UID:", 2)[1], "\r\n", 2)[0]
	res, err := w.m.PutObject(w.Context(), w.as(name), w.box(name), store.PutObject{Role: store.RoleCalendar, UID: uid, Edit: func(*store.Object) (store.Edit, error) {
		return store.Edit{Text: text}, nil
	}}, false)
	if err != nil {
		w.Fatal(err)
	}
	return res
}

// text is somebody's copy; empty when there is none.
func (w *world) text(name, uid string) string {
	w.Helper()
	list, err := w.store.ObjectsByUID(w.Context(), w.as(name), w.box(name), store.ClassCalendar, uid)
	if err != nil || len(list) > 1 {
		w.Fatalf("%s has %d copies of %s: %v", name, len(list), uid, err)
	}
	if len(list) == 0 {
		return ""
	}
	full, err := w.store.Objects(w.Context(), w.as(name), w.box(name), []store.ItemID{list[0].Item})
	if err != nil {
		w.Fatal(err)
	}
	return strings.ReplaceAll(string(full[0].Text), "\r\n ", "")
}

func (w *world) want(name, uid string, parts ...string) {
	w.Helper()
	text := w.text(name, uid)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			w.Errorf("%s's copy has no %q:\n%s", name, p, text)
		}
	}
}

func (w *world) mails(name string) int {
	w.Helper()
	f, err := w.store.FolderByRole(w.Context(), w.as(name), w.box(name), store.RoleInbox)
	if err != nil {
		w.Fatal(err)
	}
	return f.Total
}

var monday = []string{"SUMMARY:Plan", "DTSTART:20270111T100000Z", "DTEND:20270111T110000Z"}

// One meeting of our people, a room and somebody outside, each told once though
// every delivery is repeated.
func TestMeeting(t *testing.T) {
	w := newWorld(t)
	text := event("plan", append(monday, invite("alice", "bob", "room1", "zoe@other.example")...)...)
	w.put("alice", text)
	w.put("alice", text) // a repeated request
	moved := w.carry(2)
	want := []string{"REPLY alice@example.test", "REQUEST bob@example.test", "REQUEST room1@example.test", "REQUEST zoe@other.example"}
	if !slices.Equal(moved, want) {
		t.Errorf("moved %v, want %v", moved, want)
	}
	w.want("bob", "plan", "BUSYSTATUS:TENTATIVE", "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:bob@example.test")
	w.want("room1", "plan", "BUSYSTATUS:BUSY", "PARTSTAT=ACCEPTED")
	if n := w.mails("room1"); n != 0 {
		t.Errorf("the room keeps %d mails", n)
	}
	w.want("alice", "plan", "ORGANIZER;CN=Alice:mailto:alice@example.test", "PARTSTAT=ACCEPTED;X-WAYPOST-REPLIED=0-20261124T080100Z:mailto:room1@example.test")
	if w.mails("bob") != 1 || w.mails("alice") != 1 {
		t.Errorf("bob has %d mails, alice %d", w.mails("bob"), w.mails("alice"))
	}

	// bob answers the mail.
	inbox, _ := w.store.FolderByRole(t.Context(), w.as("bob"), w.box("bob"), store.RoleInbox)
	_, entries, err := w.store.Entries(t.Context(), w.as("bob"), w.box("bob"), inbox.ID, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.m.Respond(t.Context(), w.as("bob"), w.box("bob"), entries[0].Item, itip.Answer{Status: itip.Accepted})
	if err != nil || e.Item == 0 {
		t.Fatal(e, err)
	}
	if moved := w.carry(2); !slices.Equal(moved, []string{"REPLY alice@example.test"}) {
		t.Errorf("moved %v", moved)
	}
	w.want("alice", "plan", "PARTSTAT=ACCEPTED;X-WAYPOST-REPLIED=0-20261124T080100Z:mailto:bob@example.test")

	// And changes its mind in the calendar: the copy goes.
	if e, err := w.m.Respond(t.Context(), w.as("bob"), w.box("bob"), e.Item, itip.Answer{Status: itip.Declined}); err != nil || e.Item != 0 {
		t.Fatal(e, err)
	}
	w.carry(1)
	if w.text("bob", "plan") != "" {
		t.Error("what bob declined is still there")
	}
	w.want("alice", "plan", "PARTSTAT=DECLINED;X-WAYPOST-REPLIED=0-20261124T080200Z:mailto:bob@example.test")

	// alice cancels: bob, whose copy is gone, hears of it by mail; the room is free.
	list, _ := w.store.ObjectsByUID(t.Context(), w.as("alice"), w.box("alice"), store.ClassCalendar, "plan")
	if _, err := w.m.RemoveObject(t.Context(), w.as("alice"), w.box("alice"), store.RemoveObject{Folder: list[0].Folder, Item: list[0].Item}, false); err != nil {
		t.Fatal(err)
	}
	if moved := w.carry(2); !slices.Equal(moved, []string{"CANCEL bob@example.test", "CANCEL room1@example.test", "CANCEL zoe@other.example"}) {
		t.Errorf("moved %v", moved)
	}
	if w.text("room1", "plan") != "" {
		t.Error("the room is still booked")
	}
}

// Nobody may act in somebody else's calendar but its delegates.
func TestDelegates(t *testing.T) {
	w := newWorld(t)
	w.dir.delegates["alice"] = []string{"dave"}
	text := event("d", append(monday, invite("bob")...)...)
	p := store.PutObject{Role: store.RoleCalendar, UID: "d", Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: text}, nil }}
	if _, err := w.m.PutObjectFor(t.Context(), w.as("carol"), w.dir.target("alice"), p, false); fault.Of(err) != fault.Denied || err == nil {
		t.Errorf("carol wrote into alice's calendar: %v", err)
	}
	if _, err := w.m.PutObject(t.Context(), w.as("dave"), w.box("alice"), p, false); fault.Of(err) != fault.Denied || err == nil {
		t.Errorf("dave wrote as himself: %v", err)
	}
	if _, err := w.m.PutObjectFor(t.Context(), w.as("dave"), w.dir.target("alice"), p, false); err != nil {
		t.Fatal(err)
	}
	w.carry(1)
	w.want("bob", "d", `ORGANIZER;CN=Alice;SENT-BY="mailto:dave@example.test":mailto:alice@example.test`)

	// bob's delegate gets a copy, which changes nothing of its own, and answers it.
	w.dir.delegates["bob"] = []string{"carol"}
	if _, err := w.store.UpdateSettings(t.Context(), w.as("bob"), w.box("bob"), func(s *store.Settings) error {
		s.Calendar.Copy = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.put("alice", event("e", append(monday, invite("bob")...)...))
	if moved := w.carry(2); !slices.Equal(moved, []string{"REQUEST bob@example.test", "REQUEST carol@example.test"}) {
		t.Errorf("moved %v", moved)
	}
	if w.text("carol", "e") != "" || w.mails("carol") != 1 {
		t.Error("the delegate's copy went into her own calendar, or did not come")
	}
	inbox, _ := w.store.FolderByRole(t.Context(), w.as("carol"), w.box("carol"), store.RoleInbox)
	_, entries, _ := w.store.Entries(t.Context(), w.as("carol"), w.box("carol"), inbox.ID, 0, 10)
	if _, err := w.m.Respond(t.Context(), w.as("carol"), w.box("carol"), entries[0].Item, itip.Answer{Status: itip.Accepted}); err != nil {
		t.Fatal(err)
	}
	w.carry(1)
	w.want("bob", "e", "PARTSTAT=ACCEPTED", "BUSYSTATUS:BUSY")
	w.want("alice", "e", `PARTSTAT=ACCEPTED`, `SENT-BY="mailto:carol@example.test"`)
	w.dir.delegates["bob"] = nil // no more
	if _, err := w.m.Respond(t.Context(), w.as("carol"), w.box("carol"), entries[0].Item, itip.Answer{Status: itip.Declined}); fault.Of(err) != fault.Denied || err == nil {
		t.Errorf("who is no delegate any more answered: %v", err)
	}
}

// A group is invited, and its people are, under whatever address.
func TestGroup(t *testing.T) {
	w := newWorld(t)
	w.dir.groups["staff"] = []string{"alice", "bob", "carol"}
	w.put("alice", event("g", append(monday, invite("staff", "carol.alias")...)...))
	if moved := w.carry(2); !slices.Equal(moved, []string{"REQUEST bob@example.test", "REQUEST carol.alias@example.test"}) {
		t.Errorf("moved %v", moved)
	}
	w.want("carol", "g", "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:carol.alias@example.test")
	w.dir.nameless = "carol"
	w.put("alice", event("h", append(monday, invite("staff")...)...))
	w.carry(1)
	w.want("bob", "h", `CN=carol@example.test;`)
	w.dir.nameless = ""
	w.want("bob", "g", `MEMBER="mailto:staff@example.test"`, "ATTENDEE;CUTYPE=GROUP:mailto:staff@example.test")
}

// arrive delivers a calendar by mail from outside.
func (w *world) arrive(id, from string, to string, method string, lines ...string) {
	w.Helper()
	mail := "From: " + from + "\r\nTo: " + to + "@example.test\r\nContent-Type: text/calendar; method=" + method + "\r\n\r\n" +
		"BEGIN:VCALENDAR\r\nMETHOD:" + method + "\r\nBEGIN:VEVENT\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	env := envelope.Envelope{ID: id, From: from}
	for _, err := range w.deliver.DeliverFrom(w.Context(), env, []directory.Target{w.dir.target(to)}, strings.NewReader(mail)) {
		if err != nil {
			w.Error(err)
		}
	}
}

// A cancellation that overtakes its invitation is remembered; a newer invitation
// counts. Who does not invite cancels nothing.
func TestCancelledFirst(t *testing.T) {
	w := newWorld(t)
	uid := func(uid, seq string, more ...string) []string {
		return append([]string{"UID:" + uid, "SEQUENCE:" + seq, "DTSTAMP:20261120T10000" + seq + "Z", "ORGANIZER:mailto:zoe@other.example", "ATTENDEE:mailto:bob@example.test", "DTSTART:20270111T100000Z", "DTEND:20270111T110000Z", "SUMMARY:Plan"}, more...)
	}
	w.arrive("1", "zoe@other.example", "bob", "CANCEL", uid("c", "1", "STATUS:CANCELLED")...)
	w.arrive("2", "zoe@other.example", "bob", "REQUEST", uid("c", "0")...)
	if text := w.text("bob", "c"); text != "" {
		t.Errorf("a dead meeting was placed:\n%s", text)
	}
	w.arrive("3", "zoe@other.example", "bob", "REQUEST", uid("c", "2")...)
	w.want("bob", "c", "SUMMARY:Plan", "SEQUENCE:2", "BUSYSTATUS:TENTATIVE")

	w.arrive("4", "eve@elsewhere.example", "bob", "CANCEL", uid("d", "1", "STATUS:CANCELLED")...)
	w.arrive("5", "zoe@other.example", "bob", "REQUEST", uid("d", "0")...)
	w.want("bob", "d", "SUMMARY:Plan")

	w.arrive("6", "zoe@other.example", "bob", "CANCEL", uid("e", "1", "RECURRENCE-ID:20270112T100000Z", "STATUS:CANCELLED")...)
	w.arrive("7", "zoe@other.example", "bob", "REQUEST", uid("e", "0", "RRULE:FREQ=DAILY;COUNT=3")...)
	w.want("bob", "e", "RRULE:FREQ=DAILY;COUNT=3", "RECURRENCE-ID:20270112T100000Z", "STATUS:CANCELLED")

	// A room is not booked for it.
	if _, err := w.store.UpdateSettings(t.Context(), w.as("room1"), w.box("room1"), func(s *store.Settings) error {
		s.Calendar.Room.Outside = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.arrive("8", "zoe@other.example", "room1", "CANCEL", uid("f", "1", "STATUS:CANCELLED")...)
	w.arrive("9", "zoe@other.example", "room1", "REQUEST", uid("f", "0")...)
	if text := w.text("room1", "f"); text != "" {
		t.Errorf("a room was booked for a dead meeting:\n%s", text)
	}
	w.arrive("10", "zoe@other.example", "room1", "REQUEST", uid("f", "2")...)
	w.want("room1", "f", "PARTSTAT=ACCEPTED")
}

// What is from somebody else than it says changes nothing; who acts for an
// organizer is whom the copy names, and iCloud's people have two addresses.
func TestWhoSent(t *testing.T) {
	w := newWorld(t)
	lines := func(seq, organizer string, more ...string) []string {
		return append([]string{"UID:w", "SEQUENCE:" + seq, "DTSTAMP:20261120T10000" + seq + "Z", "ORGANIZER" + organizer, "ATTENDEE:mailto:bob@example.test", "DTSTART:20270111T100000Z", "DTEND:20270111T110000Z", "SUMMARY:Plan " + seq}, more...)
	}
	w.arrive("1", "zoe@icloud.example", "bob", "REQUEST", lines("0", ";EMAIL=zoe@icloud.example:mailto:2_X@imip.example")...)
	w.arrive("2", "eve@icloud.example", "bob", "REQUEST", lines("1", `;SENT-BY="mailto:eve@imip.example":mailto:2_X@imip.example`)...)
	w.arrive("3", "eve@icloud.example", "bob", "REQUEST", lines("1", `;SENT-BY="mailto:eve@icloud.example";EMAIL=eve@icloud.example:mailto:2_X@imip.example`)...)
	w.want("bob", "w", "SUMMARY:Plan 0")
	w.arrive("4", "zoe@icloud.example", "bob", "REQUEST", lines("2", ";EMAIL=zoe@icloud.example:mailto:2_X@imip.example")...)
	w.want("bob", "w", "SUMMARY:Plan 2")

	w.put("alice", event("a", append(monday, invite("zoe@other.example")...)...))
	w.carry(1)
	reply := []string{"UID:a", "DTSTAMP:20261224T100000Z", "ORGANIZER:mailto:alice@example.test", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:zoe@other.example", "DTSTART:20270111T100000Z"}
	w.arrive("5", "eve@elsewhere.example", "alice", "REPLY", reply...)
	w.want("alice", "a", "PARTSTAT=NEEDS-ACTION;RSVP=TRUE;SCHEDULE-STATUS=1.1:mailto:zoe@other.example")
	w.arrive("6", "zoe@other.example", "alice", "REPLY", reply...)
	w.want("alice", "a", "PARTSTAT=ACCEPTED")
}

// What a person sends is in Sent Items, in its language; what a room answers is not.
func TestSentItems(t *testing.T) {
	w := newWorld(t)
	if _, err := w.store.UpdateSettings(t.Context(), w.as("alice"), w.box("alice"), func(s *store.Settings) error {
		s.Language = "de"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	text := event("s", append(monday, invite("bob", "room1")...)...)
	w.put("alice", text)
	w.carry(2)
	w.put("alice", []byte(strings.Replace(string(text), "SUMMARY:Plan", "SUMMARY:Other", 1)))
	w.carry(2)
	sent := func(name string) (subjects []string) {
		f, err := w.store.FolderByRole(t.Context(), w.as(name), w.box(name), store.RoleSent)
		if err != nil {
			t.Fatal(err)
		}
		_, entries, err := w.store.Entries(t.Context(), w.as(name), w.box(name), f.ID, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var items []store.ItemID
		for _, e := range entries {
			items = append(items, e.Item)
		}
		if len(items) == 0 {
			return nil
		}
		list, err := w.store.Messages(t.Context(), w.as(name), w.box(name), items)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			subjects = append(subjects, m.Summary.Subject)
		}
		return subjects
	}
	if got := sent("alice"); !slices.Equal(slices.Compact(got), []string{"Plan", "Geändert: Other"}) {
		t.Errorf("alice sent %q", got)
	}
	if got := sent("room1"); got != nil {
		t.Errorf("the room kept %q", got)
	}
}

// Mail from outside that shows an address of ours changes nothing here.
func TestForged(t *testing.T) {
	w := newWorld(t)
	w.put("alice", event("f", append(monday, invite("bob")...)...))
	w.carry(1)
	before := w.text("bob", "f")
	mail := "From: alice@example.test\r\nTo: bob@example.test\r\nContent-Type: text/calendar; method=CANCEL\r\n\r\n" +
		"BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\nBEGIN:VEVENT\r\nUID:f\r\nSEQUENCE:5\r\nDTSTAMP:20270101T000000Z\r\nORGANIZER:mailto:alice@example.test\r\nSTATUS:CANCELLED\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	for i, trusted := range []bool{false, true} {
		env := envelope.Envelope{ID: fmt.Sprint("x", i), From: "alice@example.test", Trusted: trusted}
		for _, err := range w.deliver.DeliverFrom(t.Context(), env, []directory.Target{w.dir.target("bob")}, strings.NewReader(mail)) {
			if err != nil {
				t.Error(err)
			}
		}
		if changed := w.text("bob", "f") != before; changed != trusted {
			t.Errorf("trusted %v: changed %v", trusted, changed)
		}
	}
}
