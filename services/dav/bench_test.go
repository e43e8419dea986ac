package dav

import (
	"fmt"
	"testing"
	"time"

	"waypost/directory"
	"waypost/store"
)

// fillCalendar puts n events into alice's calendar, one a quarter of an hour.
func fillCalendar(b *testing.B, s *site, n int) string {
	b.Helper()
	cal := s.standard("Calendar")
	f, err := s.store.FolderByRole(b.Context(), directory.System("test"), 7, store.RoleCalendar)
	if err != nil {
		b.Fatal(err)
	}
	begin := at("20250101T000000Z")
	for i := range n {
		start := begin.Add(time.Duration(i) * time.Hour)
		text := []byte(event(fmt.Sprint("e", i), "DTSTART:"+start.Format("20060102T150405Z")+"\nDURATION:PT30M\nSUMMARY:Event "+fmt.Sprint(i)+"\nLOCATION:Here\nDESCRIPTION:Some words about it"))
		if _, err := s.store.PutObject(b.Context(), directory.System("test"), 7, store.PutObject{Folder: f.ID, Name: fmt.Sprint("e", i, ".ics"), Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: text}, nil }}); err != nil {
			b.Fatal(err)
		}
	}
	return cal
}

// BenchmarkCalendar is what clients ask of a large calendar. WAYPOST_TEST_POSTGRES
// names a server that keeps things safe; the usual one of tests does not.
func BenchmarkCalendar(b *testing.B) {
	for _, n := range []int{1000, 20_000} {
		s := newSite(b, Options{})
		cal := fillCalendar(b, s, n)
		month := comp("VEVENT", span("20250110T000000Z", "20250210T000000Z"))
		week := comp("VEVENT", span("20250110T000000Z", "20250117T000000Z"))
		token := tokenOf(s.want(207, "REPORT", cal, syncBody("", "")))
		for name, run := range map[string]func(i int){
			"week etags":  func(int) { s.want(207, "REPORT", cal, calQuery(week, ""), "Depth: 1") },
			"week data":   func(int) { s.want(207, "REPORT", cal, calQuery(week, "<C:calendar-data/>"), "Depth: 1") },
			"month etags": func(int) { s.want(207, "REPORT", cal, calQuery(month, ""), "Depth: 1") },
			"month data":  func(int) { s.want(207, "REPORT", cal, calQuery(month, "<C:calendar-data/>"), "Depth: 1") },
			"month text": func(int) {
				s.want(207, "REPORT", cal, calQuery(comp("VEVENT", span("20250110T000000Z", "20250210T000000Z")+`<C:prop-filter name="SUMMARY"><C:text-match>300</C:text-match></C:prop-filter>`), ""), "Depth: 1")
			},
			"from on etags": func(int) {
				s.want(207, "REPORT", cal, calQuery(comp("VEVENT", span("20250110T000000Z", "")), ""), "Depth: 1")
			},
			"sync of one": func(i int) {
				a := s.do("PUT", cal+"e7.ics", event("e7", fmt.Sprintf("DTSTART:20250101T070000Z\nSUMMARY:%d at %d", i, time.Now().UnixNano())))
				if a.code != 204 {
					b.Fatal(a.code, a.body)
				}
				token = tokenOf(s.want(207, "REPORT", cal, syncBody(token, "")))
			},
			"first sync": func(int) { s.want(207, "REPORT", cal, syncBody("", "")) },
			"free busy": func(int) {
				s.want(200, "REPORT", cal, `<C:free-busy-query xmlns:C="urn:ietf:params:xml:ns:caldav">`+span("20250110T000000Z", "20250124T000000Z")+`</C:free-busy-query>`)
			},
			"put": func(i int) {
				s.want(201, "PUT", cal+fmt.Sprintf("p%d-%d.ics", i, time.Now().UnixNano()), event(fmt.Sprint("p", i, time.Now().UnixNano()), "DTSTART:20300101T070000Z\nSUMMARY:New"))
			},
		} {
			b.Run(fmt.Sprint(n, " ", name), func(b *testing.B) {
				for i := range b.N {
					run(i)
				}
			})
		}
	}
}
