package demo

import (
	"bytes"
	"testing"
	"time"

	"waypost/internal/ical"
	"waypost/internal/vcard"
)

func TestObjectsAreWholeAndRepeatable(t *testing.T) {
	for day := range 14 {
		now := time.Date(2026, 2, 23+day, 12, 0, 0, 0, time.UTC)
		all := Objects(now)
		again := Objects(now.Add(5 * time.Hour))
		kinds := map[string]int{}
		seen := map[string]bool{}
		photos, groups := 0, 0
		for i, o := range all {
			kinds[o.To+" "+o.Role]++
			if seen[o.To+o.Role+o.UID] {
				t.Errorf("%s has %s twice", o.To, o.UID)
			}
			seen[o.To+o.Role+o.UID] = true
			if !bytes.Equal(o.Text, again[i].Text) {
				t.Fatalf("%s differs the second time", o.UID)
			}
			if o.Role == "contacts" {
				cards, problems, err := vcard.Parse(o.Text, vcard.Object)
				if err != nil || len(problems) > 0 || len(cards) != 1 || cards[0].Text("UID") != o.UID {
					t.Fatalf("%v %v\n%s", err, problems, o.Text)
				}
				if _, _, ok := cards[0].Photo(); ok {
					photos++
				}
				if cards[0].IsGroup() {
					groups++
				}
				continue
			}
			root, problems, err := ical.Parse(o.Text, ical.Object)
			if err != nil || len(problems) > 0 || !bytes.Equal(root.Children[0].Append(nil), o.Text) {
				t.Fatalf("%v %v\n%s", err, problems, o.Text)
			}
			zones := ical.ZonesOf(root, nil)
			for _, parts := range ical.Series(root) {
				if o.Role == "notes" {
					continue
				}
				if s := ical.NewSet(parts, zones); len(s.Problems()) > 0 && parts[0].Prop("DTSTART") != nil {
					t.Errorf("%s: %v", o.UID, s.Problems())
				}
				for _, c := range parts { // an override is of an instance that there is
					if id, err := c.Time("RECURRENCE-ID"); err != nil || !id.IsZero() && id.Wall.Weekday() == time.Sunday {
						t.Errorf("%s: instance %v, %v", o.UID, id, err)
					}
				}
			}
		}
		for _, p := range []string{"alice", "bob", "carol", "dave"} {
			for role, least := range map[string]int{"calendar": 5, "contacts": 4, "tasks": 3, "notes": 1} {
				if kinds[p+" "+role] < least {
					t.Errorf("%s has %d of %s", p, kinds[p+" "+role], role)
				}
			}
		}
		if kinds[Room+" calendar"] < 3 || photos == 0 || groups != 4 {
			t.Errorf("the room has %d bookings; %d photos, %d groups", kinds[Room+" calendar"], photos, groups)
		}
	}
}
