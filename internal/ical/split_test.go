package ical

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The two halves together are the whole.
func TestSplit(t *testing.T) {
	for _, row := range []struct{ name, event, at string }{
		{"for ever", "DTSTART;TZID=Europe/Berlin:20240101T090000\nDTEND;TZID=Europe/Berlin:20240101T100000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\n", "20240408T090000"},
		{"counted, every other week", "DTSTART;TZID=Europe/Berlin:20240101T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=20\n", "20240408T090000"},
		{"with an end", "DTSTART;TZID=America/New_York:20240101T210000\nRRULE:FREQ=DAILY;UNTIL=20240501T010000Z\n", "20240311T210000"},
		{"days", "DTSTART;VALUE=DATE:20240131\nDTEND;VALUE=DATE:20240202\nRRULE:FREQ=MONTHLY;COUNT=9\n", "20240531"},
		{"floating", "DTSTART:20240101T090000\nRRULE:FREQ=DAILY;COUNT=9\n", "20240105T090000"},
		{"UTC", "DTSTART:20240101T090000Z\nRRULE:FREQ=DAILY;COUNT=9\n", "20240105T090000Z"},
		{"dates in and out", "DTSTART;TZID=Europe/Berlin:20240101T090000\nRRULE:FREQ=DAILY;COUNT=9\nEXDATE;TZID=Europe/Berlin:20240102T090000,20240107T090000\nEXDATE;VALUE=DATE:20240103,20240108\nRDATE:20240101T120000Z,20240106T120000Z\n", "20240105T090000"},
		{"two zones", "DTSTART;TZID=Europe/Berlin:20240101T090000\nDTEND;TZID=America/New_York:20240101T050000\nRRULE:FREQ=WEEKLY;COUNT=20\n", "20240318T090000"},
	} {
		root := parse(t, lines("BEGIN:VEVENT\nUID:1\n"+row.event+"SUMMARY:x\nX-KEPT:1\nEND:VEVENT\n"))
		checkSplit(t, row.name, root, row.at)
	}
}

func checkSplit(t *testing.T, name string, root *Component, at string) {
	t.Helper()
	zones := ZonesOf(root, nil)
	parts := Series(root)[0]
	start, _ := parts[0].Time("DTSTART")
	id, err := parseTime(at, start.TZID)
	if err != nil {
		t.Fatal(err)
	}
	before, after, err := Split(parts, zones, id, "2")
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	until := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	all := func(parts []*Component) (texts []string) {
		list, err := NewSet(parts, zones).List(time.Time{}, until, 1000)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, o := range list {
			texts = append(texts, fmt.Sprint(o.Start.UTC().Format("20060102T1504"), o.End.Sub(o.Start), o.Component.Text("SUMMARY"), o.Component.Text("X-KEPT")))
		}
		return texts
	}
	first, second := all(before), all(after)
	if got, want := strings.Join(append(first, second...), "\n"), strings.Join(all(parts), "\n"); got != want || len(first) == 0 || len(second) == 0 {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
	if after[0].Text("UID") != "2" || before[0].Text("UID") != "1" {
		t.Errorf("%s: the second is called %q", name, after[0].Text("UID"))
	}
}

// A change of this and all future instances becomes the second series.
func TestSplitAtRange(t *testing.T) {
	text := strings.Replace(lines(series), "20240110T", "20240103T", 2) // the moved one stays among the first
	checkSplit(t, "range", parse(t, text), "20240104T090000")
}

func TestSplitRefuses(t *testing.T) {
	for _, row := range []struct{ name, event, at string }{
		{"no series", "DTSTART:20240101T090000Z\n", "20240102T090000Z"},
		{"the first", "DTSTART:20240101T090000Z\nRRULE:FREQ=DAILY\n", "20240101T090000Z"},
		{"no instance", "DTSTART:20240101T090000Z\nRRULE:FREQ=WEEKLY\n", "20240102T090000Z"},
		{"two rules", "DTSTART:20240101T090000Z\nRRULE:FREQ=WEEKLY\nRRULE:FREQ=DAILY\n", "20240108T090000Z"},
		{"too far", "DTSTART:20240101T090000Z\nRRULE:FREQ=SECONDLY\n", "20280102T090000Z"},
	} {
		root := parse(t, lines("BEGIN:VEVENT\nUID:1\n"+row.event+"END:VEVENT\n"))
		id, _ := parseTime(row.at, "")
		if _, _, err := Split(Series(root)[0], ZonesOf(root, nil), id, "2"); err == nil {
			t.Errorf("%s was split", row.name)
		}
	}
}
