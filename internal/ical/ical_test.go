package ical

import (
	"strings"
	"testing"
	"time"

	"waypost/internal/fault"
)

func parse(t testing.TB, text string) *Component {
	t.Helper()
	root, _, err := Parse([]byte(text), Object)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// lines writes a text of lines as files have it.
func lines(text string) string {
	return strings.ReplaceAll(strings.TrimLeft(text, "\n"), "\n", "\r\n")
}

func TestStructure(t *testing.T) {
	for _, row := range []struct {
		name, in, want string
		problems       int
	}{
		{"order, unknown parts and letters stay", "BEGIN:VCALENDAR\nX-B:1\nVERSION:2.0\nBEGIN:x-thing\nfoo;A=b:c\nEND:X-THING\nEND:VCALENDAR\n", "BEGIN:VCALENDAR\nX-B:1\nVERSION:2.0\nBEGIN:x-thing\nfoo;A=b:c\nEND:x-thing\nEND:VCALENDAR\n", 0},
		{"one bad line", "BEGIN:VEVENT\nUID:1\nthis is none\nSUMMARY:x\nEND:VEVENT", "BEGIN:VEVENT\nUID:1\nthis is none\nSUMMARY:x\nEND:VEVENT\n", 1},
		{"not closed", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nEND:VEVENT\nEND:VCALENDAR\n", 1},
		{"closed from outside", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nBEGIN:VALARM\nEND:VEVENT\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR\n", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR\n", 1},
		{"an end of nothing", "BEGIN:VEVENT\nEND:VTODO\nUID:1\nEND:VEVENT\n", "BEGIN:VEVENT\nUID:1\nEND:VEVENT\n", 1},
		{"properties before parts", "BEGIN:VEVENT\nBEGIN:VALARM\nEND:VALARM\nUID:1\nEND:VEVENT\n", "BEGIN:VEVENT\nUID:1\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\n", 0},
		{"lines alone", "RRULE:FREQ=DAILY\n", "RRULE:FREQ=DAILY\n", 0},
		{"nothing", "", "", 0},
	} {
		root, problems, err := Parse([]byte(row.in), Object)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := root.String(); got != strings.ReplaceAll(row.want, "\n", "\r\n") || len(problems) != row.problems {
			t.Errorf("%s: got\n%s%v", row.name, got, problems)
		}
	}
}

func TestLimitsAreErrors(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     fault.Kind
	}{
		{"depth", strings.Repeat("BEGIN:X\n", 9), fault.Limit},
		{"components", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:X\nEND:X\n", 20_001), fault.Limit},
		{"size", strings.Repeat("x", 21<<20), fault.TooLarge},
	} {
		if _, _, err := Parse([]byte(row.in), Object); fault.Of(err) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestEditingTouchesOnlyWhatChanges(t *testing.T) {
	const text = `
BEGIN:VEVENT
UID:1
X-WR-THING;X-P="a,b":kept
SUMMARY;LANGUAGE=de;ALTREP="cid:x":Alt
DTSTART;X-Q=1;TZID=Europe/Berlin:20240101T100000
CATEGORIES:A,B
CATEGORIES:C
ATTENDEE;X-NUM=0;CN=Ann;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:MAILTO:Ann@ex.test
END:VEVENT
`
	root := parse(t, lines(text))
	e := root.Children[0]
	e.SetText("SUMMARY", "Alt")
	e.SetTime("DTSTART", Time{Wall: time.Date(2024, 1, 1, 10, 0, 0, 0, time.UTC), TZID: "Europe/Berlin"})
	e.SetList("CATEGORIES", []string{"A", "B", "C"})
	ann := ParsePerson(e.Attendee("ann@ex.test"))
	e.SetAttendee(ann)
	e.SetText("LOCATION", "")
	if got := root.String(); got != lines(text) {
		t.Fatalf("saying the same changed it to\n%s", got)
	}
	e.SetText("SUMMARY", "New; text, with\nlines")
	e.SetTime("DTSTART", DateOf(2024, 1, 2))
	e.SetList("CATEGORIES", []string{"D,E"})
	ann.Status, ann.RSVP = "ACCEPTED", false
	e.SetAttendee(ann)
	e.SetAttendee(Person{Address: "bob@example.test", Role: "OPT-PARTICIPANT"})
	e.SetReminder(15*time.Minute, "New")
	want := lines(`
BEGIN:VEVENT
UID:1
X-WR-THING;X-P="a,b":kept
SUMMARY:New\; text\, with\nlines
DTSTART;X-Q=1;VALUE=DATE:20240102
CATEGORIES:D\,E
ATTENDEE;X-NUM=0;CN=Ann;PARTSTAT=ACCEPTED:MAILTO:Ann@ex.test
ATTENDEE;ROLE=OPT-PARTICIPANT:mailto:bob@example.test
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:New
TRIGGER:-PT15M
END:VALARM
END:VEVENT
`)
	if got := root.String(); got != want {
		t.Errorf("got\n%s", got)
	}
	if before, ok := e.Reminder(); !ok || before != 15*time.Minute {
		t.Errorf("reminder %v %v", before, ok)
	}
	e.RemoveReminders()
	e.RemoveAttendee("BOB@example.test")
	if len(e.Children) != 0 || len(e.Attendees()) != 1 {
		t.Errorf("not removed:\n%s", root)
	}
}

func TestTimes(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"DTSTART:20240229T101112Z", "20240229T101112Z"},
		{"DTSTART;VALUE=DATE:20240229", "20240229"},
		{"DTSTART:20240229", "20240229"},
		{"DTSTART;TZID=Europe/Berlin:20240229T101112", "20240229T101112 Europe/Berlin"},
		{"DTSTART;TZID=Europe/Berlin:20240229T101112Z", "20240229T101112Z"},
		{"DTSTART:2024-02-29T10:11:12Z", "20240229T101112Z"},
		{"DTSTART:20240229T1011", "20240229T101100"},
		{"DTSTART:20240229T101160", "20240229T101159"},
		{"DTSTART:20240229T240000", "20240301T000000"},
		{"DTSTART:20240229T101112.500z", "20240229T101112Z"},
		{"DTSTART:20230229", "error"},
		{"DTSTART:", "error"},
		{"DTSTART:20240101T250000", "error"},
		{"DTSTART:00000101", "error"},
		{"DTSTART:2024010", "error"},
	} {
		root := parse(t, row.in)
		v, err := ParseTime(root.Properties[0])
		got := v.Value()
		if v.TZID != "" {
			got += " " + v.TZID
		}
		if err != nil {
			got = "error"
		}
		if got != row.want {
			t.Errorf("%s: %s %v, want %s", row.in, got, err, row.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"P1W", "P1W"},
		{"-PT15M", "-PT15M"},
		{"P1DT2H3M4S", "P1DT2H3M4S"},
		{"PT1H5S", "PT1H0M5S"},
		{"P7D", "P1W"},
		{"P8D", "P8D"},
		{"+P2W", "P2W"},
		{"PT0S", "PT0S"},
		{"PT", "PT0S"},
		{"P1W2D", "P9D"},
		{"PT90M", "PT1H30M"},
		{"pt1h", "PT1H"},
		{"P0D", "PT0S"},
		{"", "error"},
		{"P", "error"},
		{"1D", "error"},
		{"P1H", "error"},
		{"PT1D", "error"},
		{"P9999999999D", "error"},
		{"PT999999999H", "error"},
		{"P1", "error"},
	} {
		d, err := ParseDuration(row.in)
		got := d.String()
		if err != nil {
			got = "error"
		}
		if got != row.want {
			t.Errorf("%s: %s %v, want %s", row.in, got, err, row.want)
		}
	}
	for text, want := range map[string]int{"+0100": 3600, "-0330": -12600, "+013015": 5415, "+01:00": 3600, "0200": 7200} {
		if got, err := ParseOffset(text); got != want || err != nil {
			t.Errorf("offset %s: %d %v", text, got, err)
		}
	}
	if got := FormatOffset(-12600) + FormatOffset(5415); got != "-0330+013015" {
		t.Errorf("offsets %s", got)
	}
}

func TestPeriods(t *testing.T) {
	p := parse(t, "FREEBUSY:19970308T160000Z/PT3H,19970308T200000Z/19970308T210000Z,rubbish").Properties[0]
	all, err := ParsePeriods(p)
	if err == nil || len(all) != 2 || all[0].Value() != "19970308T160000Z/PT3H" || all[1].Value() != "19970308T200000Z/19970308T210000Z" {
		t.Errorf("%v %v", all, err)
	}
}

// vCalendar 1.0 as telephones of its time wrote it.
func TestOldFormat(t *testing.T) {
	got := parse(t, lines(`
BEGIN:VCALENDAR
VERSION:1.0
BEGIN:VEVENT
SUMMARY;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:Caf=E9
DTSTART:20030401T100000
CATEGORIES:APPOINTMENT;WORK
ATTENDEE;ROLE=ORGANIZER;STATUS=NEEDS ACTION;RSVP=YES:Ann Ash <ann@example.test>
RRULE:W2 MO TU #10
EXDATE:20030415T100000;20030429T100000
AALARM:20030401T094500;PT5M;3;
STATUS:NEEDS ACTION
TRANSP:1
DCREATED:20030101T000000Z
X-KEPT:yes
END:VEVENT
BEGIN:VTODO
RRULE:MP1 1+ 1- FR 20031231T000000Z
RRULE:MD1 2 3- #0
RRULE:YM1 6 7
RRULE:odd
END:VTODO
END:VCALENDAR
`)).String()
	want := lines(`
BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
SUMMARY:Café
DTSTART:20030401T100000
CATEGORIES:APPOINTMENT,WORK
ATTENDEE;ROLE=ORGANIZER;RSVP=TRUE;CN=Ann Ash;PARTSTAT=NEEDS-ACTION:mailto:ann@example.test
RRULE:FREQ=WEEKLY;COUNT=10;INTERVAL=2;BYDAY=MO,TU
EXDATE:20030415T100000,20030429T100000
STATUS:NEEDS-ACTION
TRANSP:TRANSPARENT
CREATED:20030101T000000Z
X-KEPT:yes
BEGIN:VALARM
ACTION:AUDIO
TRIGGER;VALUE=DATE-TIME:20030401T094500
DURATION:PT5M
REPEAT:3
END:VALARM
END:VEVENT
BEGIN:VTODO
RRULE:FREQ=MONTHLY;UNTIL=20031231T000000Z;BYDAY=1FR,-1FR
RRULE:FREQ=MONTHLY;BYMONTHDAY=2,-3
RRULE:FREQ=YEARLY;COUNT=2;BYMONTH=6,7
RRULE:odd
END:VTODO
END:VCALENDAR
`)
	// The long line is folded.
	if unfolded := strings.ReplaceAll(got, "\r\n ", ""); unfolded != want {
		t.Errorf("got\n%s", got)
	}
}

func TestRings(t *testing.T) {
	root := parse(t, lines(`
BEGIN:VEVENT
DTSTART;TZID=Europe/Berlin:20240331T090000
DTEND;TZID=Europe/Berlin:20240331T100000
BEGIN:VALARM
ACTION:display
TRIGGER:-P1D
REPEAT:2
DURATION:PT5M
END:VALARM
BEGIN:VALARM
TRIGGER;RELATED=END:PT10M
END:VALARM
BEGIN:VALARM
TRIGGER;VALUE=DATE-TIME:20240101T000000Z
END:VALARM
END:VEVENT
`))
	zones := ZonesOf(root, nil)
	list, err := NewSet(Series(root)[0], zones).List(time.Time{}, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	var got []string
	for _, part := range list[0].Component.Children {
		a, err := ParseAlarm(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, ring := range a.Rings(list[0], zones) {
			got = append(got, ring.UTC().Format("20060102T1504"))
		}
	}
	// A day before across the change of the clocks is nine o'clock in winter.
	want := "20240330T0800 20240330T0805 20240330T0810 20240331T0810 20240101T0000"
	if strings.Join(got, " ") != want {
		t.Errorf("rings %v, want %s", got, want)
	}
}
