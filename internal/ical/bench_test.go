package ical

import (
	"testing"
	"time"
)

// A client's PUT: reading, finding occurrences of three years, writing.
func BenchmarkPut(b *testing.B) {
	text := []byte(lines(series))
	from, to := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		root, _, err := Parse(text, Object)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := NewSet(Series(root)[0], ZonesOf(root, nil)).List(from, to, 1000); err != nil {
			b.Fatal(err)
		}
		root.Append(nil)
	}
}

// A question about a week of a series that began long ago and goes on for ever.
func BenchmarkWeek(b *testing.B) {
	root := parse(b, lines("BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Berlin:19900101T090000\nDTEND;TZID=Europe/Berlin:19900101T100000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE,FR\nEND:VEVENT\n"))
	s := NewSet(Series(root)[0], ZonesOf(root, nil))
	from, to := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if list, err := s.List(from, to, 1000); err != nil || len(list) != 3 {
			b.Fatal(list, err)
		}
	}
}
