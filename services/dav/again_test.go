package dav

import (
	"testing"
)

// TestNamesTakenAgain: a folder that another process removed, and whose name a
// new one has, is not what a reader finds, whatever is remembered of the name.
func TestNamesTakenAgain(t *testing.T) {
	s := newSite(t, Options{})
	elsewhere := *s
	elsewhere.h = New(s.store, everyone, everyone, Options{Log: s.dav.opt.Log})
	const (
		query    = `<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/><C:calendar-data/></prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="20261101T000000Z" end="20261201T000000Z"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>`
		all      = `<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/></prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>`
		multiget = `<C:calendar-multiget xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/><C:calendar-data/></prop><href>` + calHome + `work/x.ics</href></C:calendar-multiget>`
	)
	work := calHome + "work/"
	readers := []func(summary string){
		func(summary string) { s.has(s.want(200, "GET", work+"x.ics", ""), summary) },
		func(summary string) { s.has(s.want(207, "REPORT", work, query, "Depth: 1"), summary) },
		func(string) { s.has(s.want(207, "REPORT", work, all, "Depth: 1"), "x.ics") },
		func(summary string) { s.has(s.want(207, "REPORT", work, multiget, "Depth: 1"), summary) },
	}
	for i, read := range readers {
		elsewhere.want(201, "MKCALENDAR", work, "")
		elsewhere.want(201, "PUT", work+"x.ics", event("x", "SUMMARY:first\nDTSTART:20261124T100000Z"))
		for _, read := range readers { // all remember the name now
			read("SUMMARY:first")
		}
		elsewhere.want(204, "DELETE", work, "")
		if i == 0 {
			s.want(404, "GET", work+"x.ics", "")
			s.want(404, "REPORT", work, query, "Depth: 1")
			s.want(404, "REPORT", work, multiget, "Depth: 1")
		}
		elsewhere.want(201, "MKCALENDAR", work, "")
		elsewhere.want(201, "PUT", work+"x.ics", event("x", "SUMMARY:second\nDTSTART:20261124T100000Z"))
		read("SUMMARY:second")
		elsewhere.want(204, "DELETE", work, "")
	}
}
