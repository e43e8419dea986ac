package dav

import (
	"strings"
	"testing"
	"time"
)

// TestBombs puts what costs much and asks everything about it: each answer comes
// soon, and nothing is lost.
func TestBombs(t *testing.T) {
	s := newSite(t, Options{})
	cal, book := s.standard("Calendar"), s.standard("Contacts")
	soon := func(what string, fn func()) {
		t.Helper()
		began := time.Now()
		fn()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v", what, took)
		}
	}
	bombs := map[string]string{
		"second":  "DTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY",
		"never":   "DTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
		"setpos":  "DTSTART:19700101T000000Z\nRRULE:FREQ=YEARLY;BYHOUR=0,1,2,3,4,5;BYMINUTE=0,1,2,3,4,5,6,7,8,9;BYSECOND=0,1,2,3,4,5,6,7,8,9;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=-1",
		"count":   "DTSTART:19700101T000000Z\nRRULE:FREQ=MINUTELY;COUNT=999999999",
		"zone":    "DTSTART;TZID=Mars/Olympus:20260301T100000\nRRULE:FREQ=DAILY",
		"alarm":   "DTSTART:20260301T100000Z\nRRULE:FREQ=MINUTELY\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-P1000D\nREPEAT:100000\nDURATION:PT1S\nEND:VALARM",
		"nested":  strings.Repeat("BEGIN:X-A\n", 3) + strings.Repeat("END:X-A\n", 3) + "DTSTART:20260301T100000Z",
		"exdates": "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY\nEXDATE:" + strings.Repeat("20260302T100000Z,", 20_000) + "20260303T100000Z",
	}
	for name, lines := range bombs {
		soon(name, func() { s.want(201, "PUT", cal+name+".ics", event(name, lines)) })
	}
	month := span("20260301T000000Z", "20260401T000000Z")
	for what, query := range map[string]string{
		"month":  calQuery(comp("VEVENT", month), ""),
		"ever":   calQuery(comp("VEVENT", span("20260301T000000Z", "")+`<C:prop-filter name="SUMMARY"/>`), ""),
		"alarms": calQuery(comp("VEVENT", `<C:comp-filter name="VALARM">`+month+`</C:comp-filter>`), ""),
		"decade": calQuery(comp("VEVENT", span("20200101T000000Z", "20300101T000000Z")), ""),
		"limit":  calQuery(comp("VEVENT", month), `<C:calendar-data>`+strings.Replace(month, "time-range", "limit-recurrence-set", 1)+`</C:calendar-data>`),
	} {
		soon(what, func() { s.want(207, "REPORT", cal, query, "Depth: 1") })
	}
	soon("expand", func() {
		a := s.do("REPORT", cal, calQuery(comp("VEVENT", month), `<C:calendar-data>`+strings.Replace(month, "time-range", "expand", 1)+`</C:calendar-data>`), "Depth: 1")
		if a.code != 207 {
			t.Errorf("expand: %d %.300s", a.code, a.body)
		}
		for name := range bombs {
			if name != "never" && name != "setpos" && name != "count" {
				s.has(answer{body: names(a)}, name+".ics")
			}
		}
	})
	soon("busy", func() {
		if a := s.do("REPORT", cal, `<C:free-busy-query xmlns:C="urn:ietf:params:xml:ns:caldav">`+month+`</C:free-busy-query>`); a.code != 200 && a.code != 403 {
			t.Errorf("free-busy: %d %.300s", a.code, a.body)
		}
	})
	for name := range bombs {
		s.want(200, "GET", cal+name+".ics", "")
	}
	big := card("big", "FN:Big\nN:Big;;;;\nPHOTO;ENCODING=b;TYPE=JPEG:"+strings.Repeat("QUJD", 10<<20/4)+"\nX-LAST:1")
	soon("a large card", func() { s.want(201, "PUT", book+"big.vcf", big) })
	s.has(s.want(200, "GET", book+"big.vcf", ""), "X-LAST:1")
	soon("too large a card", func() {
		s.has(s.want(413, "PUT", book+"huge.vcf", card("huge", "FN:"+strings.Repeat("x", MaxObject))), "A:max-resource-size")
	})
	soon("many lines", func() {
		if a := s.do("PUT", cal+"lines.ics", event("lines", "DTSTART:20260301T100000Z\n"+strings.Repeat("X-A:1\n", 300_000))); a.code != 403 {
			t.Errorf("many lines: %d", a.code)
		}
	})
	s.want(404, "GET", cal+"lines.ics", "")
}
