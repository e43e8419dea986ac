package calendar

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

var berlin = zone.Load("Europe/Berlin")

func parse(t testing.TB, text string) ([]*ical.Component, *ical.Zones) {
	t.Helper()
	root, _, err := ical.Parse([]byte(strings.TrimLeft(text, "\n")), ical.Object)
	if err != nil {
		t.Fatal(err)
	}
	series := ical.Series(root)
	if len(series) != 1 {
		t.Fatalf("%d series", len(series))
	}
	return series[0], ical.ZonesOf(root, berlin)
}

func side(zones *ical.Zones, me string) Side {
	return Side{Zones: zones, Me: me, Now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
}

func text(parts []*ical.Component) string {
	var b []byte
	for _, p := range parts {
		b = p.Append(b)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

const meeting = `
BEGIN:VEVENT
UID:u1
DTSTAMP:20240101T000000Z
DTSTART;TZID=Europe/Berlin:20240401T090000
DTEND;TZID=Europe/Berlin:20240401T100000
RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20240601T000000Z
EXDATE;TZID=Europe/Berlin:20240408T090000
SUMMARY;LANGUAGE=de:Runde
X-KEPT;A=b:yes
CATEGORIES:A,B
CLASS:PRIVATE
TRANSP:OPAQUE
ORGANIZER;CN=Ann:mailto:ann@ex.test
ATTENDEE;CN=Ann;PARTSTAT=ACCEPTED:mailto:ann@ex.test
ATTENDEE;CN=Bob;X-N=1;PARTSTAT=TENTATIVE;RSVP=TRUE:mailto:bob@ex.test
ATTENDEE;CUTYPE=ROOM:mailto:room@ex.test
BEGIN:VALARM
ACTION:DISPLAY
TRIGGER:-PT15M
DESCRIPTION:x
END:VALARM
END:VEVENT
BEGIN:VEVENT
UID:u1
RECURRENCE-ID;TZID=Europe/Berlin:20240410T090000
DTSTART;TZID=Europe/Berlin:20240410T140000
DTEND;TZID=Europe/Berlin:20240410T150000
SUMMARY:Runde spät
END:VEVENT
`

func TestRead(t *testing.T) {
	parts, zones := parse(t, meeting)
	a, err := side(zones, "ann@ex.test").Read(parts)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("20060102T1504", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	changed := a.Exceptions[1].Changed
	want := &Appointment{
		UID: "u1", Zone: zone.InfoOf(berlin, 2024), Stamp: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC),
		Start: at("20240401T0900"), End: at("20240401T1000"), Subject: "Runde", Categories: []string{"A", "B"}, Busy: 2, Sensitive: 2, Reminder: 15, Meeting: 1,
		Organizer: Person{"Ann", "ann@ex.test"}, Response: 1, Respond: true,
		Attendees:  []Attendee{{Person{"Bob", "bob@ex.test"}, 2, 1}, {Person{"", "room@ex.test"}, 5, 3}},
		Recurrence: &Recurrence{Type: TypeWeekly, Interval: 1, DayOfWeek: 2 | 8, FirstDay: time.Monday, Until: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)},
		Exceptions: []Exception{
			{Original: time.Date(2024, 4, 8, 7, 0, 0, 0, time.UTC), Deleted: true},
			{Original: time.Date(2024, 4, 10, 7, 0, 0, 0, time.UTC), Changed: changed},
		},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got\n%+v\nwant\n%+v", a, want)
	}
	if changed.Subject != "Runde spät" || !changed.Start.Equal(at("20240410T1400")) {
		t.Errorf("exception %+v", changed)
	}
	bob, err := side(zones, "Bob@ex.test").Read(parts)
	if err != nil || bob.Meeting != 3 || bob.Response != 2 || !bob.Respond {
		t.Errorf("as Bob sees it: %+v %v", bob, err)
	}
}

// What a phone says again changes nothing; what it changes, nothing else.
func TestWriteTouchesOnlyWhatChanges(t *testing.T) {
	parts, zones := parse(t, meeting)
	before := text(parts)
	edit := func(change func(*Appointment)) string {
		t.Helper()
		a, err := side(zones, "ann@ex.test").Read(parts)
		if err != nil {
			t.Fatal(err)
		}
		change(a)
		out, err := side(zones, "ann@ex.test").Write(parts, a)
		if err != nil {
			t.Fatal(err)
		}
		if text(parts) != before {
			t.Fatal("the old parts were changed")
		}
		return text(out)
	}
	for _, row := range []struct {
		name      string
		change    func(*Appointment)
		old, then string
	}{
		{"nothing", func(*Appointment) {}, "", ""},
		{"times elsewhere", func(a *Appointment) { a.Start = a.Start.UTC(); a.Recurrence.Until = a.Recurrence.Until.In(berlin) }, "", ""},
		{"names of the zone", func(a *Appointment) { a.Zone.StandardName = "Mitteleuropa" }, "", ""},
		{"subject", func(a *Appointment) { a.Subject = "Neu" }, "SUMMARY;LANGUAGE=de:Runde\n", "SUMMARY:Neu\n"},
		{"end", func(a *Appointment) { a.End = a.End.Add(time.Hour) }, "DTEND;TZID=Europe/Berlin:20240401T100000", "DTEND;TZID=Europe/Berlin:20240401T110000"},
		{"busy", func(a *Appointment) { a.Busy = 0 }, "TRANSP:OPAQUE", "TRANSP:TRANSPARENT"},
		{"private", func(a *Appointment) { a.Sensitive = 3 }, "CLASS:PRIVATE", "CLASS:CONFIDENTIAL"},
		{"reminder", func(a *Appointment) { a.Reminder = 30 }, "TRIGGER:-PT15M", "TRIGGER:-PT30M"},
		{"no reminder", func(a *Appointment) { a.Reminder = -1 }, "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nDESCRIPTION:x\nEND:VALARM\n", ""},
		{"an answer", func(a *Appointment) { a.Attendees[0].Status = 3 }, "PARTSTAT=TENTATIVE", "PARTSTAT=ACCEPTED"},
		{"one less", func(a *Appointment) { a.Attendees = a.Attendees[:1] }, "ATTENDEE;CUTYPE=ROOM:mailto:room@ex.test\n", ""},
		{"rule", func(a *Appointment) { a.Recurrence.Interval = 2 }, "FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20240601T000000Z", "FREQ=WEEKLY;UNTIL=20240601T000000Z;INTERVAL=2;BYDAY=MO,WE"},
		{"the exception", func(a *Appointment) { a.Exceptions[1].Changed.Subject = "x" }, "SUMMARY:Runde spät", "SUMMARY:x"},
		{"one given back", func(a *Appointment) { a.Exceptions = a.Exceptions[1:] }, "EXDATE;TZID=Europe/Berlin:20240408T090000\n", ""},
		{"the exception gone", func(a *Appointment) { a.Exceptions = a.Exceptions[:1] }, before[strings.LastIndex(before, "BEGIN:VEVENT"):], ""},
	} {
		want := strings.Replace(before, row.old, row.then, 1)
		got := edit(row.change)
		got = strings.Replace(got, "X-MICROSOFT-CDO-BUSYSTATUS:FREE\n", "", 1)
		if got != want {
			t.Errorf("%s: got\n%s", row.name, got)
		}
	}
	got := edit(func(a *Appointment) {
		original := time.Date(2024, 4, 15, 7, 0, 0, 0, time.UTC)
		other := *a
		other.Recurrence, other.Exceptions = nil, nil
		other.Start, other.End, other.Subject = original.Add(2*time.Hour), original.Add(3*time.Hour), "Later"
		a.Exceptions = append(a.Exceptions, Exception{Original: original, Changed: &other}, Exception{Original: original.AddDate(0, 0, 2), Deleted: true})
	})
	for _, want := range []string{
		"RECURRENCE-ID;TZID=Europe/Berlin:20240415T090000", "DTSTART;TZID=Europe/Berlin:20240415T110000", "SUMMARY:Later",
		"EXDATE;TZID=Europe/Berlin:20240408T090000,20240417T090000", "X-KEPT;A=b:yes",
	} {
		if !strings.Contains(strings.ReplaceAll(got, "\n ", ""), want) {
			t.Errorf("a new exception: no %s in\n%s", want, got)
		}
	}
}

// A rule that leaves the day to DTSTART does not move with it unasked.
func TestMovedBeginning(t *testing.T) {
	parts, zones := parse(t, "BEGIN:VEVENT\nUID:1\nDTSTART:20240401T090000Z\nDTEND:20240401T100000Z\nRRULE:FREQ=WEEKLY\nEND:VEVENT\n")
	s := side(zones, "")
	a, err := s.Read(parts)
	if err != nil {
		t.Fatal(err)
	}
	a.Start, a.End = a.Start.AddDate(0, 0, 1), a.End.AddDate(0, 0, 1)
	out, err := s.Write(parts, a)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(out); !strings.Contains(got, "DTSTART:20240402T090000Z") || !strings.Contains(got, "RRULE:FREQ=WEEKLY;BYDAY=MO\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestNew(t *testing.T) {
	_, zones := parse(t, meeting)
	day := &Appointment{
		UID: "n1", AllDay: true, Zone: zone.InfoOf(berlin, 2024), Busy: 2, Reminder: -1, Subject: "Day",
		Start: time.Date(2024, 7, 1, 22, 0, 0, 0, time.UTC), End: time.Date(2024, 7, 2, 22, 0, 0, 0, time.UTC),
		Recurrence: &Recurrence{Type: TypeYearly, Interval: 1, DayOfMonth: 2, MonthOfYear: 7, FirstDay: time.Monday, Until: time.Date(2030, 7, 1, 22, 0, 0, 0, time.UTC)},
		Exceptions: []Exception{{Original: time.Date(2025, 7, 1, 22, 0, 0, 0, time.UTC), Deleted: true}},
	}
	parts, err := side(zones, "ann@ex.test").Write(nil, day)
	if err != nil {
		t.Fatal(err)
	}
	want := "BEGIN:VEVENT\nUID:n1\nDTSTART;VALUE=DATE:20240702\nDTEND;VALUE=DATE:20240703\nSUMMARY:Day\nRRULE:FREQ=YEARLY;UNTIL=20300702;BYMONTHDAY=2;BYMONTH=7\nEXDATE;VALUE=DATE:20250702\nEND:VEVENT\n"
	if got := text(parts); got != want {
		t.Errorf("got\n%s", got)
	}
	back, err := side(zones, "ann@ex.test").Read(parts)
	if err != nil || !back.Recurrence.Until.Equal(day.Recurrence.Until) || !back.Start.Equal(day.Start) || !back.Exceptions[0].Original.Equal(day.Exceptions[0].Original) {
		t.Errorf("came back as %+v %v", back, err)
	}
	odd := zone.Info{Bias: -95, StandardName: "Odd"}
	parts, err = side(zones, "").Write(nil, &Appointment{UID: "n2", Zone: odd, Busy: 2, Reminder: -1, Start: time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC), End: time.Date(2024, 7, 1, 13, 0, 0, 0, time.UTC)})
	if err != nil || len(parts) != 2 || !parts[1].Is("VTIMEZONE") {
		t.Fatalf("a zone of its own: %v %v", text(parts), err)
	}
	root := &ical.Component{Name: "VCALENDAR", Children: parts}
	if back, err := side(ical.ZonesOf(root, berlin), "").Read(parts[:1]); err != nil || !back.Start.Equal(time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)) || back.Zone.Bias != -95 {
		t.Errorf("came back as %+v %v", back, err)
	}
	for name, bad := range map[string]*Appointment{
		"ends early":    {Start: time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC), End: time.Date(2024, 7, 1, 11, 0, 0, 0, time.UTC)},
		"no beginning":  {End: time.Date(2024, 7, 1, 11, 0, 0, 0, time.UTC)},
		"no such type":  {Start: time.Unix(0, 0), End: time.Unix(0, 0), Recurrence: &Recurrence{Type: 4}},
		"no day":        {Start: time.Unix(0, 0), End: time.Unix(0, 0), Recurrence: &Recurrence{Type: TypeWeekly}},
		"far too often": {Start: time.Unix(0, 0), End: time.Unix(0, 0), Recurrence: &Recurrence{Interval: 1000}},
	} {
		if _, err := side(zones, "").Write(nil, bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRules(t *testing.T) {
	start := time.Date(2024, 4, 17, 9, 0, 0, 0, time.UTC) // the third Wednesday
	for _, row := range []struct{ rule, back string }{
		{"FREQ=DAILY;COUNT=5;INTERVAL=3", ""},
		{"FREQ=DAILY;BYDAY=MO,TU", "FREQ=WEEKLY;BYDAY=MO,TU"},
		{"FREQ=WEEKLY", "FREQ=WEEKLY;BYDAY=WE"},
		{"FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;WKST=SU", ""},
		{"FREQ=MONTHLY", "FREQ=MONTHLY;BYMONTHDAY=17"},
		{"FREQ=MONTHLY;BYMONTHDAY=-1", ""},
		{"FREQ=MONTHLY;BYDAY=3WE", ""},
		{"FREQ=MONTHLY;BYDAY=-1FR", ""},
		{"FREQ=MONTHLY;BYDAY=WE;BYSETPOS=3", "FREQ=MONTHLY;BYDAY=3WE"},
		{"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ""},
		{"FREQ=YEARLY", "FREQ=YEARLY;BYMONTHDAY=17;BYMONTH=4"},
		{"FREQ=YEARLY;BYMONTH=5;BYDAY=2SU", "FREQ=YEARLY;BYDAY=2SU;BYMONTH=5"},
		{"FREQ=YEARLY;BYMONTHDAY=-1;BYMONTH=2", ""}, // who was born on a 29th of February
		{"FREQ=YEARLY;BYMONTH=5;BYDAY=SA,SU;BYSETPOS=1", "FREQ=YEARLY;BYDAY=SA,SU;BYMONTH=5;BYSETPOS=1"},
	} {
		rule, err := recur.Parse(row.rule)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := fromRule(rule, start)
		if !ok {
			t.Errorf("%s cannot be said", row.rule)
			continue
		}
		back, err := r.rule()
		if err != nil {
			t.Errorf("%s: %v", row.rule, err)
			continue
		}
		want := row.back
		if want == "" {
			want = row.rule
		}
		if back.String() != want {
			t.Errorf("%s came back as %s", row.rule, back)
		}
		if a, b := first(rule, start), first(back, start); !slices.EqualFunc(a, b, time.Time.Equal) {
			t.Errorf("%s gives %v, %s %v", rule, a, back, b)
		}
	}
	for _, text := range []string{
		"FREQ=HOURLY", "FREQ=DAILY;BYHOUR=1,2", "FREQ=DAILY;INTERVAL=2;BYDAY=MO", "FREQ=MONTHLY;BYMONTHDAY=1,15", "FREQ=MONTHLY;BYDAY=5MO", "FREQ=MONTHLY;BYDAY=1MO,3MO",
		"FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=1", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "FREQ=YEARLY;BYMONTH=1,2", "FREQ=YEARLY;BYDAY=20MO", "FREQ=YEARLY;BYWEEKNO=3",
		"FREQ=YEARLY;BYYEARDAY=1", "FREQ=DAILY;COUNT=1000", "FREQ=WEEKLY;BYDAY=1MO", "FREQ=MONTHLY;BYMONTHDAY=-2", "FREQ=YEARLY;BYMONTHDAY=3", "FREQ=MONTHLY;BYDAY=MO",
	} {
		rule, err := recur.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := fromRule(rule, start); ok {
			t.Errorf("%s became %+v", text, r)
		}
	}
}

func first(rule *recur.Rule, start time.Time) (all []time.Time) {
	steps := 100_000
	it := rule.Walk(recur.Walk{Start: start, Steps: &steps})
	for range 40 {
		t, ok := it.Next()
		if !ok {
			break
		}
		all = append(all, t)
	}
	return all
}

// Everything in the corpus is read and written back without a letter changed;
// made anew from what ActiveSync says of it, it says the same and happens at the
// same times.
func TestCorpus(t *testing.T) {
	same, anew, partial := 0, 0, 0
	for row, data := range corpus.Each(t, "ics") {
		root, _, err := ical.Parse(data, ical.Import)
		if err != nil {
			continue
		}
		zones := ical.ZonesOf(root, berlin)
		for _, parts := range ical.Series(root) {
			if !parts[0].Is("VEVENT") {
				continue
			}
			me := "ann@ex.test"
			if organizer, ok := parts[0].Organizer(); ok {
				me = organizer.Address
			}
			a, err := side(zones, me).Read(parts)
			if err != nil {
				continue // without a time
			}
			out, err := side(zones, me).Write(parts, a)
			if err != nil {
				t.Errorf("%s %s: %v", row["path"], a.UID, err)
				continue
			}
			if before, after := text(parts), text(out); before != after {
				t.Errorf("%s: what said the same changed\n%s\nto\n%s", row["path"], before, after)
				continue
			}
			same++
			masters := len(slices.DeleteFunc(slices.Clone(parts), func(c *ical.Component) bool { return c.Prop("RECURRENCE-ID") != nil }))
			if a.Partial || masters != 1 { // several of one UID are several messages in one file
				partial++
				continue
			}
			made, err := side(zones, me).Write(nil, a)
			if err != nil {
				t.Errorf("%s %s: made anew: %v", row["path"], a.UID, err)
				continue
			}
			checkAnew(t, row["path"], a, parts, made, zones, me)
			anew++
		}
	}
	t.Logf("%d read and written back, %d made anew, %d that ActiveSync cannot say whole", same, anew, partial)
	if same < 1500 || anew < 1300 {
		t.Error("too few")
	}
}

func difference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return got[i] + " instead of " + want[i]
		}
	}
	return "one is longer"
}

func checkAnew(t *testing.T, path string, a *Appointment, parts, made []*ical.Component, zones *ical.Zones, me string) {
	t.Helper()
	root := &ical.Component{Name: "VCALENDAR", Children: made}
	series := ical.Series(root)[0]
	again := ical.ZonesOf(root, zones.Floating)
	b, err := side(again, me).Read(series)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	list := func(parts []*ical.Component, zones *ical.Zones) (all []string) {
		found, err := ical.NewSet(parts, zones).List(time.Time{}, time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), 500)
		if err != nil && len(found) < 500 {
			t.Errorf("%s: %v", path, err)
		}
		for _, o := range found {
			all = append(all, o.Start.UTC().Format(time.RFC3339)+" "+o.End.UTC().Format(time.RFC3339))
		}
		return all
	}
	if want, got := list(parts, zones), list(series, again); !slices.Equal(want, got) {
		t.Errorf("%s: %d times instead of %d: %s\n%s\n%s", path, len(got), len(want), difference(got, want), text(parts), text(made))
		return
	}
	plain := func(a *Appointment) Appointment {
		c := *a
		c.Zone, c.Exceptions, c.Recurrence = zone.Info{}, nil, nil
		c.Online, c.Replied = Online{}, time.Time{} // phones never say them
		c.Start, c.End, c.Stamp = c.Start.UTC(), c.End.UTC(), c.Stamp.UTC()
		return c
	}
	if x, y := plain(a), plain(b); !reflect.DeepEqual(x, y) {
		t.Errorf("%s: said\n%+v\nand made anew\n%+v\n%s", path, x, y, text(parts))
	}
	if !reflect.DeepEqual(a.Recurrence, b.Recurrence) || len(a.Exceptions) != len(b.Exceptions) {
		t.Errorf("%s: %+v came back as %+v; %d exceptions as %d", path, a.Recurrence, b.Recurrence, len(a.Exceptions), len(b.Exceptions))
	}
}

// Links of online meetings and the time of one's answer are read, and outlive
// what a phone writes.
func TestOnlyRead(t *testing.T) {
	parts, zones := parse(t, `
BEGIN:VEVENT
UID:u1
DTSTART:20240401T090000Z
DTEND:20240401T100000Z
SUMMARY:Call
X-MICROSOFT-ONLINEMEETINGCONFLINK:sip:ann@ex.test;gruu
CONFERENCE;VALUE=URI:https://meet.example/1
X-MICROSOFT-CDO-REPLYTIME:20240301T080000Z
END:VEVENT
`)
	a, err := side(zones, "ann@ex.test").Read(parts)
	if err != nil {
		t.Fatal(err)
	}
	want := Online{Conference: "sip:ann@ex.test;gruu", Link: "https://meet.example/1"}
	if a.Online != want || !a.Replied.Equal(time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC)) {
		t.Errorf("read %+v %v", a.Online, a.Replied)
	}
	before := text(parts)
	a.Online, a.Replied, a.Subject = Online{}, time.Time{}, "Chat"
	out, err := side(zones, "ann@ex.test").Write(parts, a)
	if got := text(out); err != nil || got != strings.Replace(before, "SUMMARY:Call", "SUMMARY:Chat", 1) {
		t.Errorf("written %s, %v", got, err)
	}
}
