package meeting_test

import (
	"fmt"
	"testing"
	"time"

	"waypost/store"
)

// BenchmarkFreeBusy asks for the time of 100 people in two weeks, each with 200
// events and ten series.
func BenchmarkFreeBusy(b *testing.B) {
	names := []string{"alice"}
	for i := range 100 {
		names = append(names, fmt.Sprintf("p%d", i))
	}
	w := newWorld(b, names...)
	var addresses []string
	start := time.Date(2027, 1, 4, 8, 0, 0, 0, time.UTC)
	for _, name := range names[1:] {
		addresses = append(addresses, name+"@example.test")
		for i := range 210 {
			at := start.Add(time.Duration(i) * 5 * time.Hour)
			rule := "X-NONE:1"
			if i >= 200 {
				rule = "RRULE:FREQ=WEEKLY"
			}
			text := event(fmt.Sprint(name, i), "SUMMARY:x", "DTSTART:"+at.Format("20060102T150405Z"), "DURATION:PT1H", rule)
			_, err := w.store.PutObject(b.Context(), w.as(name), w.box(name), store.PutObject{Role: store.RoleCalendar, Edit: func(*store.Object) (store.Edit, error) {
				return store.Edit{Text: text}, nil
			}})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		got, err := w.m.FreeBusy(b.Context(), w.as("alice"), addresses, start, start.AddDate(0, 0, 14))
		if err != nil || len(got) != 100 || len(got[99].Slots) < 50 {
			b.Fatal(len(got), err)
		}
	}
}
