package meeting_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/services/meeting"
	"waypost/store"
)

func (w *world) rules(b store.Booking, change ...func(*store.CalendarSettings)) {
	w.Helper()
	if _, err := w.store.UpdateSettings(w.Context(), w.as("room1"), w.box("room1"), func(s *store.Settings) error {
		s.Calendar = store.CalendarSettings{Room: b}
		for _, fn := range change {
			fn(&s.Calendar)
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
}

// answer is what a room answered to the last meeting: the status, and the comment.
func (w *world) booked(who, uid string, lines ...string) string {
	w.Helper()
	w.put(who, event(uid, append(lines, invite(who, "room1")...)...))
	w.carry(1)
	text := w.text(who, uid)
	for line := range strings.SplitSeq(text, "\r\n") {
		if strings.HasPrefix(line, "ATTENDEE") && strings.HasSuffix(line, "room1@example.test") {
			_, status, _ := strings.Cut(line, "PARTSTAT=")
			status, _, _ = strings.Cut(status, ";")
			return status
		}
	}
	return "nothing"
}

func at(day int, clock string, minutes int, more ...string) []string {
	start, _ := time.Parse("20060102 15:04", fmt.Sprintf("202701%02d %s", day, clock))
	return append([]string{
		"SUMMARY:x", "DTSTART:" + start.Format("20060102T150405Z"),
		"DTEND:" + start.Add(time.Duration(minutes)*time.Minute).Format("20060102T150405Z"),
	}, more...)
}

func TestRoomRules(t *testing.T) {
	w := newWorld(t)
	w.dir.groups["staff"] = []string{"bob"}
	for i, tt := range []struct {
		what  string
		rules store.Booking
		who   string
		lines []string
		want  string
	}{
		{"free", store.Booking{}, "alice", at(4, "10:00", 60), "ACCEPTED"},
		{"taken", store.Booking{}, "bob", at(4, "10:30", 60), "DECLINED"},
		{"just after", store.Booking{}, "bob", at(4, "11:00", 30), "ACCEPTED"},
		{"taken, but allowed", store.Booking{Conflicts: true}, "bob", at(4, "10:30", 60), "ACCEPTED"},
		{"too long", store.Booking{Minutes: 30}, "alice", at(5, "10:00", 60), "DECLINED"},
		{"too long, ask", store.Booking{Minutes: 30, Ask: true}, "alice", at(5, "10:00", 60), "NEEDS-ACTION"},
		{"too far", store.Booking{Days: 30}, "alice", at(6, "10:00", 60), "DECLINED"},
		{"over", store.Booking{}, "alice", []string{"DTSTART:20200101T100000Z", "DTEND:20200101T110000Z"}, "DECLINED"},
		{"a series for ever", store.Booking{}, "alice", at(7, "10:00", 60, "RRULE:FREQ=WEEKLY"), "DECLINED"},
		{"a series", store.Booking{}, "alice", at(7, "10:00", 60, "RRULE:FREQ=DAILY;COUNT=5"), "ACCEPTED"},
		{"no series", store.Booking{NoRecurring: true}, "alice", at(20, "10:00", 60, "RRULE:FREQ=DAILY;COUNT=5"), "DECLINED"},
		{"a series that meets one", store.Booking{}, "bob", at(11, "10:00", 60, "RRULE:FREQ=DAILY;COUNT=5"), "DECLINED"},
		{"a series that may meet one", store.Booking{Percent: 20}, "bob", at(11, "10:00", 60, "RRULE:FREQ=DAILY;COUNT=5"), "ACCEPTED"},
		{"who may not", store.Booking{Who: []string{"carol@example.test", "staff@example.test"}}, "alice", at(25, "10:00", 60), "DECLINED"},
		{"who may, by a group", store.Booking{Who: []string{"carol@example.test", "staff@example.test"}}, "bob", at(25, "10:00", 60), "ACCEPTED"},
		{"not at night", store.Booking{WorkOnly: true}, "bob", at(26, "20:00", 60), "DECLINED"},
		{"by day", store.Booking{WorkOnly: true}, "bob", at(26, "09:00", 480), "ACCEPTED"},
		{"by hand", store.Booking{Manual: true}, "bob", at(27, "09:00", 60), "NEEDS-ACTION"},
	} {
		w.rules(tt.rules)
		uid := fmt.Sprint("r", i)
		if got := w.booked(tt.who, uid, tt.lines...); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
		if kept := w.text("room1", uid) != ""; kept != (tt.want != "DECLINED") {
			t.Errorf("%s: kept %v", tt.what, kept)
		}
		if strings.Contains(tt.what, "for ever") {
			continue
		}
	}
	// Of the series that met one, that instance was declined.
	w.want("bob", "r12", "RECURRENCE-ID:20270111T100000Z", "PARTSTAT=DECLINED")

	// A booking that moves onto another is declined, and gives its time up.
	w.rules(store.Booking{})
	w.booked("alice", "m1", at(28, "09:00", 60)...)
	w.booked("bob", "m2", at(28, "12:00", 60)...)
	if got := w.booked("bob", "m2", at(28, "09:30", 60)...); got != "DECLINED" || w.text("room1", "m2") != "" {
		t.Errorf("moved onto another: %s", got)
	}
	if got := w.booked("carol", "m3", at(28, "12:00", 60)...); got != "ACCEPTED" {
		t.Errorf("what was given up: %s", got)
	}
	// The same booking again, at another time: it does not meet itself.
	if got := w.booked("carol", "m3", at(28, "12:30", 60)...); got != "ACCEPTED" {
		t.Errorf("moved a little: %s", got)
	}
}

func TestRoomFromOutside(t *testing.T) {
	w := newWorld(t)
	for i, outside := range []bool{false, true} {
		w.rules(store.Booking{Outside: outside})
		uid := fmt.Sprint("o", i)
		mail := "From: zoe@other.example\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n" + strings.Replace(string(event(uid, append(at(4+i, "10:00", 60),
			"ORGANIZER:mailto:zoe@other.example", "DTSTAMP:20261124T080000Z", "ATTENDEE;RSVP=TRUE:mailto:room1@example.test")...)), "VERSION", "METHOD:REQUEST\r\nVERSION", 1)
		env := envelope.Envelope{ID: uid, From: "zoe@other.example"}
		for range 2 {
			for _, err := range w.deliver.DeliverFrom(t.Context(), env, []directory.Target{w.dir.target("room1")}, strings.NewReader(mail)) {
				if err != nil {
					t.Error(err)
				}
			}
		}
		if moved := w.carry(1); !slices.Equal(moved, []string{"REPLY zoe@other.example"}) {
			t.Errorf("moved %v", moved)
		}
		if kept := w.text("room1", uid) != ""; kept != outside {
			t.Errorf("outside %v: kept %v", outside, kept)
		}
	}
}

// Who asks for a room at the same moment as others gets it or does not, and never
// two of them.
func TestRoomAtOnce(t *testing.T) {
	w := newWorld(t)
	const many = 12
	for round := range 3 {
		var wg sync.WaitGroup
		begun := time.Now()
		for i := range many {
			// Every other one is a series that meets the others somewhere.
			lines := at(4+round, "10:00", 60)
			if i%2 == 1 {
				lines = at(4, "10:15", 30, "RRULE:FREQ=DAILY;COUNT=10")
			}
			lines = append(lines, "ORGANIZER:mailto:alice@example.test", "DTSTAMP:20261124T080000Z", "ATTENDEE:mailto:room1@example.test")
			uid := fmt.Sprintf("s%d-%d", round, i)
			mail := "From: alice@example.test\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n" + strings.Replace(string(event(uid, lines...)), "VERSION", "METHOD:REQUEST\r\nVERSION", 1)
			wg.Go(func() {
				env := envelope.Envelope{ID: uid, From: "alice@example.test", Trusted: true}
				for _, err := range w.deliver.DeliverFrom(t.Context(), env, []directory.Target{w.dir.target("room1")}, strings.NewReader(mail)) {
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("round %d: %v", round, time.Since(begun))
		if len(w.carry(1)) != many {
			t.Error("not everybody was answered once")
		}
	}
	// No two bookings meet.
	folder, _ := w.store.FolderByRole(t.Context(), w.as("room1"), w.box("room1"), store.RoleCalendar)
	occ, err := w.store.Occurrences(t.Context(), w.as("room1"), w.box("room1"), store.Between{
		Folders: []store.FolderID{folder.ID}, From: w.now, To: w.now.AddDate(1, 0, 0), Limit: 1000,
	})
	if err != nil || len(occ) == 0 {
		t.Fatal(len(occ), err)
	}
	for i := 1; i < len(occ); i++ {
		if occ[i].Starts.Before(occ[i-1].Ends) {
			t.Errorf("booked twice: %v and %v", occ[i-1], occ[i])
		}
	}
}

func TestFreeBusy(t *testing.T) {
	w := newWorld(t)
	w.put("bob", event("a", at(4, "10:00", 60, "LOCATION:Attic")...))
	w.put("bob", event("b", at(4, "10:30", 60)...))
	w.put("bob", event("c", at(4, "13:00", 60, "TRANSP:TRANSPARENT")...))
	w.put("bob", event("d", at(4, "14:00", 60, "CLASS:PRIVATE", "X-MICROSOFT-CDO-BUSYSTATUS:OOF")...))
	w.put("bob", event("e", "SUMMARY:Day off", "DTSTART;VALUE=DATE:20270105"))
	ask := func(as directory.Principal) store.Availability {
		t.Helper()
		from := time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)
		got, err := w.m.FreeBusy(t.Context(), as, []string{"Bob.alias@example.test", "zoe@other.example", "nobody@example.test"}, from, from.AddDate(0, 0, 2))
		if err != nil || len(got) != 3 || got[1].Known || got[2].Known || got[1].View != store.ViewNone {
			t.Fatalf("%+v, %v", got, err)
		}
		return got[0]
	}
	say := func(a store.Availability) string {
		s := string(a.View)
		for _, x := range a.Slots {
			s += fmt.Sprintf(" %s-%s:%d", x.Start.UTC().Format("02T15:04"), x.End.UTC().Format("15:04"), x.Busy)
			if x.Summary+x.Place != "" {
				s += "=" + x.Summary + "@" + x.Place
			}
		}
		return s
	}
	calendar, err := w.store.FolderByRole(t.Context(), w.as("bob"), w.box("bob"), store.RoleCalendar)
	if err != nil {
		t.Fatal(err)
	}
	give := func(to directory.ObjectID, rights store.Rights) {
		t.Helper()
		if err := w.store.SetGrant(t.Context(), w.as("bob"), w.box("bob"), w.as("bob").ID, calendar.ID, store.Grant{To: to, Rights: rights}); err != nil {
			t.Fatal(err)
		}
	}
	const busy = "busy 04T10:00-11:30:2 04T14:00-15:00:3 05T00:00-00:00:2"
	if got := say(ask(w.as("alice"))); got != busy {
		t.Errorf("as usual: %s", got)
	}
	if a := ask(w.as("alice")); len(a.Work) != 5 || a.Work[0].From != 540 || a.Zone != time.UTC {
		t.Errorf("working hours %+v in %v", a.Work, a.Zone)
	}
	const all = " 04T10:00-11:00:2=x@Attic 04T10:30-11:30:2=x@ 04T14:00-15:00:3 05T00:00-00:00:2=Day off@"
	give(store.Everyone, store.RightDetails)
	if got := say(ask(w.as("alice"))); got != "limited"+all {
		t.Errorf("limited: %s", got)
	}
	if got := say(ask(w.as("bob"))); got != "full"+all {
		t.Errorf("oneself: %s", got)
	}
	give(store.Everyone, 0)
	give(w.as("alice").ID, store.RightFreeBusy)
	if _, err := w.store.UpdateSettings(t.Context(), w.as("bob"), w.box("bob"), func(s *store.Settings) error { s.Calendar.Zone = "Europe/Berlin"; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := say(ask(w.as("alice"))); got != strings.Replace(busy, "05T00:00-00:00", "04T23:00-23:00", 1) {
		t.Errorf("an exception, in Berlin: %s", got)
	}
	if got := say(ask(w.as("carol"))); got != "none" {
		t.Errorf("none: %s", got)
	}
	from := time.Now()
	if _, err := w.m.FreeBusy(t.Context(), w.as("alice"), make([]string, meeting.MaxPeople+1), from, from.Add(1)); fault.Of(err) != fault.Limit {
		t.Errorf("too many: %v", err)
	}
	if _, err := w.m.FreeBusy(t.Context(), directory.Principal{}, []string{"bob@example.test"}, from, from.Add(1)); fault.Of(err) != fault.Denied || err == nil {
		t.Errorf("nobody asks: %v", err)
	}
}
