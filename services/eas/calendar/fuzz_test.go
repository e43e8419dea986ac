package calendar

import (
	"testing"

	"waypost/internal/ical"
)

// Whatever stands in a calendar, saying it again changes nothing.
func FuzzWrite(f *testing.F) {
	f.Add([]byte(meeting), "ann@ex.test")
	f.Add([]byte(task), "")
	f.Add([]byte("BEGIN:VEVENT\nDTSTART;VALUE=DATE:20240101\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1\nEXDATE:20240131\nEND:VEVENT\nBEGIN:VEVENT\nRECURRENCE-ID:20240229\nDURATION:P2D\nEND:VEVENT"), "x@ex.test")
	limits := ical.Object
	limits.Components = 100
	f.Fuzz(func(t *testing.T, data []byte, me string) {
		root, _, err := ical.Parse(data, limits)
		if err != nil {
			return
		}
		s := side(ical.ZonesOf(root, berlin), me)
		for _, parts := range ical.Series(root) {
			before := text(parts)
			if parts[0].Is("VTODO") {
				out, err := s.WriteTask(parts[0], s.ReadTask(parts[0]))
				if err == nil && text([]*ical.Component{out}) != text(parts[:1]) {
					t.Fatalf("%s became\n%s", text(parts[:1]), text([]*ical.Component{out}))
				}
				continue
			}
			a, err := s.Read(parts)
			if err != nil {
				continue
			}
			out, err := s.Write(parts, a)
			if err != nil {
				t.Fatalf("%v\n%s", err, before)
			}
			if after := text(out); after != before {
				t.Fatalf("%s became\n%s", before, after)
			}
		}
	})
}
