package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/store"
	"waypost/store/storetest"
)

// benchEvent is an event of the size that calendars are full of; one of eight
// is a weekly series.
func benchEvent(i int) []byte {
	at := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, i%700-350).Add(time.Duration(8+i%9) * time.Hour)
	lines := []string{
		"DTSTAMP:20261101T080000Z", "DTEND:" + at.Add(time.Hour).Format("20060102T150405Z"), "LOCATION:Room 1",
		"ORGANIZER;CN=Ann:mailto:ann@example.test", "ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED:mailto:bob@example.test",
		"DESCRIPTION:What is to be said about it\\, in some words that are nobody else's",
	}
	if i%8 == 0 {
		lines = append(lines, "RRULE:FREQ=WEEKLY;COUNT=10")
	}
	return storetest.Event(fmt.Sprintf("bench-%d@example.test", i), fmt.Sprintf("Event %d", i), ":"+at.Format("20060102T150405Z"), lines...)
}

// putEvents puts events with the numbers from first to before end by so many
// writers into one calendar.
func putEvents(b *testing.B, s *Store, cal store.FolderID, first, end, writers int) {
	b.Helper()
	var n atomic.Int64
	n.Store(int64(first) - 1)
	var wg sync.WaitGroup
	absent := store.Seq(0)
	for range writers {
		wg.Go(func() {
			for i := int(n.Add(1)); i < end; i = int(n.Add(1)) {
				_, err := s.PutObject(b.Context(), me, box, store.PutObject{
					Folder: cal, Name: fmt.Sprintf("%d.ics", i), IfMatch: &absent, Edit: storetest.SetText(benchEvent(i)),
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func calendarOf(b *testing.B, s *Store) store.FolderID {
	b.Helper()
	f, err := s.FolderByRole(b.Context(), me, box, store.RoleCalendar)
	if err != nil {
		b.Fatal(err)
	}
	return f.ID
}

func BenchmarkPutObject(b *testing.B) {
	for _, writers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("new/writers=%d", writers), func(b *testing.B) {
			s := benchStore(b, Options{})
			cal := calendarOf(b, s)
			b.ReportAllocs()
			b.ResetTimer()
			putEvents(b, s, cal, 0, b.N, writers)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
	b.Run("edit/writers=4", func(b *testing.B) {
		s := benchStore(b, Options{})
		cal := calendarOf(b, s)
		putEvents(b, s, cal, 0, 1000, 4)
		var n atomic.Int64
		var wg sync.WaitGroup
		b.ResetTimer()
		for range 4 {
			wg.Go(func() {
				for i := int(n.Add(1)); i <= b.N; i = int(n.Add(1)) {
					text := storetest.Event(fmt.Sprintf("bench-%d@example.test", i%1000), fmt.Sprint("Edited ", i), ":20261124T100000Z")
					if _, err := s.PutObject(b.Context(), me, box, store.PutObject{Folder: cal, Name: fmt.Sprintf("%d.ics", i%1000), Edit: storetest.SetText(text)}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
}

// BenchmarkCalendar asks a calendar of 20,000 events.
func BenchmarkCalendar(b *testing.B) {
	s := benchStore(b, Options{})
	cal := calendarOf(b, s)
	putEvents(b, s, cal, 0, 20000, 16)
	if _, err := s.homes[DefaultHome].db.Exec(b.Context(), "analyze"); err != nil {
		b.Fatal(err)
	}
	now := time.Now().UTC()
	month := store.Between{Folders: []store.FolderID{cal}, From: now, To: now.AddDate(0, 1, 0), Limit: maxOccurrences}
	b.Run("month", func(b *testing.B) {
		for b.Loop() {
			list, err := s.Occurrences(b.Context(), me, box, month)
			if err != nil || len(list) < 800 {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if list, err := s.ObjectList(b.Context(), me, box, cal, 10000, 1000); err != nil || len(list) != 1000 {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("texts=100", func(b *testing.B) {
		list, err := s.ObjectList(b.Context(), me, box, cal, 10000, 100)
		if err != nil {
			b.Fatal(err)
		}
		var items []store.ItemID
		for _, o := range list {
			items = append(items, o.Item)
		}
		for b.Loop() {
			if _, err := s.Objects(b.Context(), me, box, items); err != nil {
				b.Fatal(err)
			}
		}
	})
}
