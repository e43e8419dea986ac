package ical

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/internal/recur"
	"waypost/internal/zone"
)

// listed gives occurrences as text: start in the event's zone, length, what it is.
func listed(t testing.TB, text, from, to string, floating *time.Location) string {
	t.Helper()
	root := parse(t, text)
	zones := ZonesOf(root, floating)
	var b strings.Builder
	for _, parts := range Series(root) {
		list, err := NewSet(parts, zones).List(day(t, from), day(t, to), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			fmt.Fprintf(&b, "%s %s", o.Start.Format("20060102T1504-0700"), o.End.Sub(o.Start))
			if s := o.Component.Text("SUMMARY"); s != "" {
				fmt.Fprintf(&b, " %s", s)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func day(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse("20060102", text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOccurrences(t *testing.T) {
	tokyo := zone.Load("Asia/Tokyo")
	for _, row := range []struct {
		name, event, from, to, want string
		floating                    *time.Location
	}{
		{"across the change of the clocks", `
DTSTART;TZID=America/New_York:20240309T090000
DTEND;TZID=America/New_York:20240309T100000
RRULE:FREQ=DAILY;COUNT=3
`, "20240101", "20250101", `
20240309T0900-0500 1h0m0s
20240310T0900-0400 1h0m0s
20240311T0900-0400 1h0m0s
`, nil},
		{"a gap takes the offset before it, an overlap the first", `
DTSTART;TZID=America/New_York:20240309T023000
DURATION:PT1H
RDATE;TZID=America/New_York:20240310T023000,20241103T013000
`, "20240101", "20250101", `
20240309T0230-0500 1h0m0s
20240310T0330-0400 1h0m0s
20241103T0130-0400 1h0m0s
`, nil},
		{"no moment twice", `
DTSTART;TZID=America/New_York:20240310T013000
RRULE:FREQ=HOURLY;COUNT=4
`, "20240101", "20250101", `
20240310T0130-0500 0s
20240310T0330-0400 0s
20240310T0430-0400 0s
`, nil},
		{"DTEND is exact, DURATION counts days of the calendar", `
DTSTART;TZID=Europe/Berlin:20240330T120000
DURATION:P1D
RRULE:FREQ=WEEKLY;COUNT=2
`, "20240101", "20250101", `
20240330T1200+0100 23h0m0s
20240406T1200+0200 24h0m0s
`, nil},
		{"DTEND over the change", `
DTSTART;TZID=Europe/Berlin:20240324T010000
DTEND;TZID=Europe/Berlin:20240324T040000
RRULE:FREQ=WEEKLY;COUNT=2
`, "20240101", "20250101", `
20240324T0100+0100 3h0m0s
20240331T0100+0100 3h0m0s
`, nil},
		{"all day, placed where the reader is", `
DTSTART;VALUE=DATE:20240101
DTEND;VALUE=DATE:20240103
RRULE:FREQ=YEARLY;UNTIL=20250101
`, "20240101", "20260101", `
20240101T0000+0900 48h0m0s
20250101T0000+0900 48h0m0s
`, tokyo},
		{"floating", `
DTSTART:20240101T090000
RRULE:FREQ=DAILY;UNTIL=20240102T090000
`, "20230101", "20250101", `
20240101T0900+0900 0s
20240102T0900+0900 0s
`, tokyo},
		{"UNTIL in UTC is a moment", `
DTSTART;TZID=America/New_York:20240101T210000
RRULE:FREQ=DAILY;UNTIL=20240103T020000Z
`, "20230101", "20250101", `
20240101T2100-0500 0s
20240102T2100-0500 0s
`, nil},
		{"UNTIL as a day holds that day", `
DTSTART;TZID=America/New_York:20240101T210000
RRULE:FREQ=DAILY;UNTIL=20240102
`, "20230101", "20250101", `
20240101T2100-0500 0s
20240102T2100-0500 0s
`, nil},
		{"EXDATE in every form", `
DTSTART;TZID=Europe/Berlin:20240101T090000
RRULE:FREQ=DAILY;COUNT=8
EXDATE;TZID=Europe/Berlin:20240102T090000,20240103T090000
EXDATE:20240104T080000Z
EXDATE;VALUE=DATE:20240105
EXDATE;TZID=W. Europe Standard Time:20240106T090000
EXDATE:20240107T090000
EXDATE:nonsense
`, "20230101", "20250101", `
20240101T0900+0100 0s
20240108T0900+0100 0s
`, nil},
		{"EXRULE", `
DTSTART:20240101T090000Z
RRULE:FREQ=DAILY;COUNT=10
EXRULE:FREQ=WEEKLY;BYDAY=SA,SU,MO,TU,WE
`, "20230101", "20250101", `
20240104T0900+0000 0s
20240105T0900+0000 0s
`, nil},
		{"RDATE with periods", `
DTSTART:20240101T090000Z
DTEND:20240101T100000Z
RDATE;VALUE=PERIOD:20240102T090000Z/PT3H,20240103T090000Z/20240103T093000Z
RDATE:20240104T120000Z
`, "20230101", "20250101", `
20240101T0900+0000 1h0m0s
20240102T0900+0000 3h0m0s
20240103T0900+0000 30m0s
20240104T1200+0000 1h0m0s
`, nil},
		{"two rules, the same instance once", `
DTSTART:20240101T090000Z
RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3
RRULE:FREQ=DAILY;INTERVAL=7;COUNT=2
`, "20230101", "20250101", `
20240101T0900+0000 0s
20240108T0900+0000 0s
20240115T0900+0000 0s
`, nil},
		{"DTSTART off the rule is the first", `
DTSTART:20240101T090000Z
RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=2
`, "20230101", "20250101", `
20240101T0900+0000 0s
20240102T0900+0000 0s
`, nil},
		{"what reaches into the time", `
DTSTART:20231230T090000Z
DTEND:20240103T090000Z
RRULE:FREQ=YEARLY
`, "20240101", "20240102", `
20231230T0900+0000 96h0m0s
`, nil},
		{"a zone without rules for it is floating", `
DTSTART;TZID=Nowhere:20240101T090000
`, "20230101", "20250101", `
20240101T0900+0900 0s
`, tokyo},
		{"a bad rule leaves the event", `
DTSTART:20240101T090000Z
RRULE:FREQ=SOMETIMES
RRULE:RSCALE=HEBREW;FREQ=DAILY
DTEND:20230101T090000Z
`, "20230101", "20250101", `
20240101T0900+0000 0s
`, nil},
	} {
		text := lines("BEGIN:VEVENT\nUID:1" + row.event + "END:VEVENT\n")
		if got := "\n" + listed(t, text, row.from, row.to, row.floating); got != row.want {
			t.Errorf("%s: got%s", row.name, got)
		}
	}
}

const series = `
BEGIN:VCALENDAR
BEGIN:VEVENT
UID:1
DTSTART;TZID=Europe/Berlin:20240101T090000
DTEND;TZID=Europe/Berlin:20240101T100000
RRULE:FREQ=DAILY;COUNT=6
SUMMARY:plain
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID:20240102T080000Z
DTSTART;TZID=Europe/Berlin:20240110T150000
DTEND;TZID=Europe/Berlin:20240110T153000
SUMMARY:moved
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20240104T090000
DTSTART;TZID=Europe/Berlin:20240104T110000
DTEND;TZID=Europe/Berlin:20240104T130000
SUMMARY:later
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID;TZID=Europe/Berlin:20240105T090000
DTSTART;TZID=Europe/Berlin:20240105T090000
SUMMARY:own
END:VEVENT
END:VCALENDAR
`

func TestOverrides(t *testing.T) {
	got := listed(t, lines(series), "20240101", "20250101", nil)
	want := `20240101T0900+0100 1h0m0s plain
20240103T0900+0100 1h0m0s plain
20240104T1100+0100 2h0m0s later
20240105T0900+0100 0s own
20240106T1100+0100 2h0m0s later
20240110T1500+0100 30m0s moved
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	// In a window that only the moved one is in, and one that it was moved out of.
	if got := listed(t, lines(series), "20240110", "20240111", nil); got != "20240110T1500+0100 30m0s moved\n" {
		t.Errorf("moved into the window: %s", got)
	}
	if got := listed(t, lines(series), "20240102", "20240103", nil); got != "" {
		t.Errorf("moved out of the window: %s", got)
	}
	root := parse(t, lines(series))
	list, err := NewSet(Series(root)[0], ZonesOf(root, nil)).List(time.Time{}, day(t, "20990101"), 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"20240101", "20240103", "20240104", "20240105", "20240106", "20240102"} {
		if list[i].ID.Value() != id+"T090000" || list[i].ID.TZID != "Europe/Berlin" {
			t.Errorf("instance %d is %+v", i, list[i].ID)
		}
	}
	// Instances alone, as an attendee may get them.
	root.Children[0].Children = root.Children[0].Children[1:2]
	if got := listed(t, root.String(), "20240101", "20250101", nil); got != "20240110T1500+0100 30m0s moved\n" {
		t.Errorf("alone: %s", got)
	}
}

func TestNewestOverrideCounts(t *testing.T) {
	got := listed(t, lines(`
BEGIN:VEVENT
UID:1
DTSTART:20240101T090000Z
RRULE:FREQ=DAILY;COUNT=2
SUMMARY:plain
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID:20240102T090000Z
DTSTART:20240102T110000Z
SEQUENCE:2
SUMMARY:new
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID:20240102T090000Z
DTSTART:20240102T100000Z
SEQUENCE:1
SUMMARY:old
END:VEVENT
`), "20240101", "20250101", nil)
	if want := "20240101T0900+0000 0s plain\n20240102T1100+0000 0s new\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestTasks(t *testing.T) {
	text := lines("BEGIN:VTODO\nUID:1\nDUE;VALUE=DATE:20240105\nRRULE:FREQ=WEEKLY;COUNT=2\nEND:VTODO\nBEGIN:VTODO\nUID:2\nSUMMARY:whenever\nEND:VTODO\n")
	if got := listed(t, text, "20240101", "20250101", nil); got != "20240105T0000+0000 24h0m0s\n20240112T0000+0000 24h0m0s\n" {
		t.Errorf("got %s", got)
	}
}

func TestCostIsBounded(t *testing.T) {
	text := lines("BEGIN:VEVENT\nUID:1\nDTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY\nRRULE:FREQ=SECONDLY;COUNT=1000000000\nEXRULE:FREQ=SECONDLY;COUNT=100000000\nEND:VEVENT\n")
	root := parse(t, text)
	s := NewSet(Series(root)[0], ZonesOf(root, nil))
	began := time.Now()
	if _, err := s.List(day(t, "20240101"), day(t, "20250101"), 1<<30); !errors.Is(err, recur.ErrSteps) {
		t.Errorf("a year of seconds: %v", err)
	}
	root = parse(t, lines("BEGIN:VEVENT\nUID:1\nDTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY\nEND:VEVENT\n"))
	s = NewSet(Series(root)[0], ZonesOf(root, nil))
	if list, err := s.List(day(t, "20240101"), day(t, "20250101"), 500); !errors.Is(err, ErrMany) || len(list) != 500 {
		t.Errorf("%d of them: %v", len(list), err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// Many overrides and dates cost what they are, not their square.
func TestManyOverrides(t *testing.T) {
	var b strings.Builder
	b.WriteString("BEGIN:VEVENT\nUID:1\nDTSTART:20240101T000000Z\nRRULE:FREQ=MINUTELY\n")
	at := day(t, "20240101")
	for range 100_000 {
		at = at.Add(time.Minute)
		b.WriteString("EXDATE:" + at.Format("20060102T150405Z") + "\n")
	}
	b.WriteString("END:VEVENT\n")
	for range 10_000 {
		at = at.Add(time.Minute)
		b.WriteString("BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;RANGE=THISANDFUTURE:" + at.Format("20060102T150405Z") + "\nDTSTART:" + at.Format("20060102T150405Z") + "\nEND:VEVENT\n")
	}
	began := time.Now()
	root := parse(t, b.String())
	s := NewSet(Series(root)[0], ZonesOf(root, nil))
	list, err := s.List(day(t, "20240101"), day(t, "20240601"), 100_000)
	if err != nil && !errors.Is(err, ErrMany) || len(list) < 90_000 {
		t.Errorf("%d: %v", len(list), err)
	}
	if n, m := len(s.Excluded()), len(s.Overrides()); n != 100_000 || m != 10_000 {
		t.Errorf("%d dates, %d overrides", n, m)
	}
	if took := time.Since(began); took > 8*time.Second { // generous: it takes half a second
		t.Errorf("took %v", took)
	}
}

// Outlook's zones carry names of their own and rules from 1601 on.
func TestCustomZones(t *testing.T) {
	text := func(tzid, rules string) string {
		return lines("BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:" + tzid + "\n" + strings.TrimLeft(rules, "\n") + "END:VTIMEZONE\nBEGIN:VEVENT\nUID:1\nDTSTART;TZID=\"" + tzid + "\":20240101T120000\nRRULE:FREQ=MONTHLY;INTERVAL=6;COUNT=2\nEND:VEVENT\nEND:VCALENDAR\n")
	}
	const eastern = `
BEGIN:STANDARD
DTSTART:16010101T020000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
RRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3
TZOFFSETFROM:-0500
TZOFFSETTO:-0400
END:DAYLIGHT
`
	const odd = `
BEGIN:STANDARD
DTSTART:19700101T020000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=9
TZOFFSETFROM:+0230
TZOFFSETTO:+0130
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700101T020000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=5
TZOFFSETFROM:+0130
TZOFFSETTO:+0230
END:DAYLIGHT
`
	const fixed = "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n"
	for _, row := range []struct{ tzid, rules, zone, winter, summer string }{
		{"Eastern Time (US & Canada)", eastern, "America/New_York", "-0500", "-0400"},
		{"(GMT-05.00) Toronto", eastern, "America/Toronto", "-0500", "-0400"},
		{"Mine", odd, "Mine", "+0130", "+0230"},
		{"Europe/Berlin", odd, "Europe/Berlin", "+0100", "+0200"}, // the name counts
		{"W. Europe Standard Time", odd, "Europe/Berlin", "+0100", "+0200"},
		{"EST", eastern, "America/New_York", "-0500", "-0400"}, // a short name does not
		{"Only One", fixed, "Only One", "+0100", "+0100"},
		{"Broken", "BEGIN:STANDARD\nEND:STANDARD\n", "UTC", "+0000", "+0000"},
		{"Bomb", "BEGIN:STANDARD\nDTSTART:19700101T000000\nRRULE:FREQ=SECONDLY\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n", "UTC", "+0000", "+0000"},
	} {
		root := parse(t, text(row.tzid, row.rules))
		zones := ZonesOf(root, nil)
		list, err := NewSet(Series(root)[0], zones).List(time.Time{}, day(t, "20990101"), 10)
		if err != nil || len(list) != 2 {
			t.Errorf("%s: %v %v", row.tzid, list, err)
			continue
		}
		got := list[0].Start.Location().String() + list[0].Start.Format(" -0700") + list[1].Start.Format(" -0700")
		if want := row.zone + " " + row.winter + " " + row.summer; got != want {
			t.Errorf("%s is %s, want %s", row.tzid, got, want)
		}
	}
}

// What is written of a zone behaves as the zone does.
func TestTimeZoneRoundTrip(t *testing.T) {
	for _, name := range []string{
		"Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo", "Asia/Jerusalem", "Africa/Casablanca", "Europe/Dublin",
		"Asia/Tehran", "Europe/Moscow", "America/Mexico_City", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo", "America/Nuuk", "Europe/Istanbul",
	} {
		l := zone.Load(name)
		for _, from := range []int{1985, 2005, 2024} {
			begin, end := time.Date(from, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(from+10, 1, 1, 0, 0, 0, 0, time.UTC)
			c := TimeZone(l, "mine", begin, end)
			steps := zoneSteps
			own, _, _ := buildZone("mine", c, &steps)
			if own == nil {
				t.Fatalf("%s cannot be read:\n%s", name, c)
			}
			for at := begin; at.Before(end); at = at.Add(13 * time.Hour) {
				_, want := at.In(l).Zone()
				if _, got := at.In(own).Zone(); got != want {
					t.Errorf("%s from %d: at %v %d, want %d\n%s", name, from, at, got, want, c)
					break
				}
			}
		}
	}
	c := TimeZone(zone.Load("Europe/Berlin"), "Europe/Berlin", day(t, "20240601"), day(t, "20240601"))
	if got, want := c.String(), lines(`
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
DTSTART:20230326T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20231029T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
END:STANDARD
END:VTIMEZONE
`); got != want {
		t.Errorf("Berlin is\n%s", got)
	}
}
