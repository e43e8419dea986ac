package dav

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/store"
)

func calQuery(filter, data string) string {
	return `<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/>` + data + `</prop><C:filter>` + filter + `</C:filter></C:calendar-query>`
}

func comp(name, inner string) string {
	return `<C:comp-filter name="VCALENDAR"><C:comp-filter name="` + name + `">` + inner + `</C:comp-filter></C:comp-filter>`
}

func span(start, end string) string {
	s := `<C:time-range`
	if start != "" {
		s += ` start="` + start + `"`
	}
	if end != "" {
		s += ` end="` + end + `"`
	}
	return s + `/>`
}

func TestCalendarQuery(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	for name, lines := range map[string]string{
		"a-single": "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:Breakfast\nCATEGORIES:FOOD",
		"b-day":    "DTSTART;VALUE=DATE:20260302\nSUMMARY:Holiday",
		"c-daily":  "DTSTART:20260301T150000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=5\nEXDATE:20260303T150000Z\nSUMMARY:Daily",
		"d-ever":   "DTSTART:20200101T080000Z\nDURATION:PT30M\nRRULE:FREQ=YEARLY\nSUMMARY:New year",
		"e-alarm":  "DTSTART:20260310T120000Z\nDURATION:PT1H\nSUMMARY:Far\nBEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\nTRIGGER:-P1D\nEND:VALARM",
		"f-person": "DTSTART:20260320T120000Z\nDURATION:PT1H\nORGANIZER:mailto:x@y.test\nATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.test",
		"g-moment": "DTSTART:20260401T120000Z\nSUMMARY:Moment",
		"h-float":  "DTSTART:20260501T230000\nDURATION:PT30M\nSUMMARY:Floating",
	} {
		s.want(201, "PUT", cal+name, event(name, lines))
	}
	for _, tt := range []struct{ filter, want string }{
		{`<C:comp-filter name="VCALENDAR"/>`, "a-single b-day c-daily d-ever e-alarm f-person g-moment h-float"},
		{comp("VEVENT", ""), "a-single b-day c-daily d-ever e-alarm f-person g-moment h-float"},
		{comp("VTODO", ""), ""},
		{comp("VTODO", "<C:is-not-defined/>"), "a-single b-day c-daily d-ever e-alarm f-person g-moment h-float"},
		{comp("VEVENT", span("20260301T000000Z", "20260301T120000Z")), "a-single"},
		{comp("VEVENT", span("20260301T110000Z", "20260301T120000Z")), ""}, // it ends as the range begins
		{comp("VEVENT", span("20260302T100000Z", "20260302T110000Z")), "b-day"},
		{comp("VEVENT", span("20260303T000000Z", "20260304T000000Z")), ""}, // taken out
		{comp("VEVENT", span("20260304T153000Z", "20260304T154000Z")), "c-daily"},
		{comp("VEVENT", span("20350101T000000Z", "20350102T000000Z")), "d-ever"},
		{comp("VEVENT", span("20260401T120000Z", "20260401T130000Z")), "g-moment"},
		{comp("VEVENT", span("20260401T110000Z", "20260401T120000Z")), ""},
		{comp("VEVENT", span("20260315T000000Z", "")), "d-ever f-person g-moment h-float"},
		{comp("VEVENT", span("", "20260301T120000Z")), "a-single d-ever"},
		{comp("VEVENT", span("20260301T000000Z", "20280101T000000Z")), "a-single b-day c-daily d-ever e-alarm f-person g-moment h-float"},
		{comp("VEVENT", span("20260301T000000Z", "20260305T000000Z")+`<C:prop-filter name="SUMMARY"><C:text-match>DAI</C:text-match></C:prop-filter>`), "c-daily"},
		{comp("VEVENT", `<C:prop-filter name="SUMMARY"><C:text-match collation="i;octet">DAI</C:text-match></C:prop-filter>`), ""},
		{comp("VEVENT", `<C:prop-filter name="CATEGORIES"/>`), "a-single"},
		{comp("VEVENT", `<C:prop-filter name="SUMMARY"><C:is-not-defined/></C:prop-filter>`), "f-person"},
		{comp("VEVENT", `<C:prop-filter name="ATTENDEE"><C:text-match>mailto:bob@example.test</C:text-match><C:param-filter name="PARTSTAT"><C:text-match>declined</C:text-match></C:param-filter></C:prop-filter>`), "f-person"},
		{comp("VEVENT", `<C:prop-filter name="ATTENDEE"><C:param-filter name="PARTSTAT"><C:is-not-defined/></C:param-filter></C:prop-filter>`), ""},
		{comp("VEVENT", `<C:prop-filter name="UID"><C:text-match collation="i;octet">a-single</C:text-match></C:prop-filter>`), "a-single"},
		{comp("VEVENT", `<C:prop-filter name="DTSTART">`+span("20260310T000000Z", "20260311T000000Z")+`</C:prop-filter>`), "e-alarm"},
		{comp("VEVENT", `<C:comp-filter name="VALARM">`+span("20260309T115900Z", "20260309T120100Z")+`</C:comp-filter>`), "e-alarm"},
		{comp("VEVENT", `<C:comp-filter name="VALARM">`+span("20260310T115900Z", "20260310T120100Z")+`</C:comp-filter>`), ""},
		{comp("VEVENT", `<C:comp-filter name="VALARM"/>`), "e-alarm"},
		{comp("VEVENT", span("20260310T000000Z", "20260311T000000Z")+`<C:comp-filter name="VALARM"><C:is-not-defined/></C:comp-filter>`), ""},
	} {
		a := s.want(207, "REPORT", cal, calQuery(tt.filter, ""), "Depth: 1")
		if got := sorted(names(a)); got != tt.want {
			t.Errorf("%s:\n%s, want %s", tt.filter, got, tt.want)
		}
	}
	// Floating times are where the question, the calendar or its owner says.
	at := comp("VEVENT", span("20260501T210000Z", "20260501T220000Z"))
	if got := names(s.want(207, "REPORT", cal, calQuery(at, ""), "Depth: 1")); got != "" {
		t.Errorf("in UTC: %s", got)
	}
	alice := everyone[0]
	if _, err := s.store.UpdateSettings(t.Context(), directory.System("test"), alice.Mailbox, func(set *store.Settings) error {
		set.Calendar.Zone = "Europe/Berlin"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := names(s.want(207, "REPORT", cal, calQuery(at, ""), "Depth: 1")); got != "h-float" {
		t.Errorf("in the owner's zone: %s", got)
	}
	if _, err := s.store.UpdateSettings(t.Context(), directory.System("test"), alice.Mailbox, func(set *store.Settings) error {
		set.Calendar.Zone = "Asia/Tokyo"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.want(207, "PROPPATCH", cal, `<propertyupdate xmlns="DAV:"><set><prop><C:calendar-timezone xmlns:C="urn:ietf:params:xml:ns:caldav">BEGIN:VCALENDAR
BEGIN:VTIMEZONE
TZID:Europe/Berlin
END:VTIMEZONE
END:VCALENDAR</C:calendar-timezone></prop></set></propertyupdate>`)
	if got := names(s.want(207, "REPORT", cal, calQuery(at, ""), "Depth: 1")); got != "h-float" {
		t.Errorf("in Berlin: %s", got)
	}
	for _, bad := range []string{
		`<C:comp-filter name="VEVENT"/>`,
		comp("VEVENT", `<C:time-range start="yesterday"/>`),
		comp("VEVENT", `<C:time-range/>`),
		comp("VEVENT", span("20260302T000000Z", "20260301T000000Z")),
	} {
		s.has(s.want(403, "REPORT", cal, calQuery(bad, ""), "Depth: 1"), "C:valid-filter")
	}
	s.has(s.want(403, "REPORT", cal, calQuery(comp("VEVENT", `<C:odd-filter/>`), ""), "Depth: 1"), "C:supported-filter")
}

func sorted(s string) string {
	list := strings.Fields(s)
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			if list[j] < list[i] {
				list[i], list[j] = list[j], list[i]
			}
		}
	}
	return strings.Join(list, " ")
}

// RFC 4791 section 9.9: the table of tasks, and of what has no dates.
func TestTasksInTime(t *testing.T) {
	s := newSite(t, Options{})
	tasks := s.standard("Tasks")
	for name, lines := range map[string]string{
		"a-nothing":   "SUMMARY:Sometime",
		"b-due":       "DUE:20260310T120000Z",
		"c-start":     "DTSTART:20260310T120000Z",
		"d-both":      "DTSTART:20260309T000000Z\nDUE:20260311T000000Z",
		"e-lasting":   "DTSTART:20260310T000000Z\nDURATION:P2D",
		"f-completed": "COMPLETED:20260310T120000Z",
		"g-created":   "CREATED:20260310T120000Z",
		"h-done":      "CREATED:20260301T120000Z\nCOMPLETED:20260305T120000Z",
	} {
		s.want(201, "PUT", tasks+name, todo(name, lines))
	}
	for _, tt := range []struct{ from, to, want string }{
		{"20260310T110000Z", "20260310T130000Z", "a-nothing b-due c-start d-both e-lasting f-completed g-created"},
		{"20260310T100000Z", "20260310T120000Z", "a-nothing b-due d-both e-lasting f-completed"},
		{"20260310T120000Z", "20260310T130000Z", "a-nothing c-start d-both e-lasting f-completed g-created"},
		{"20260304T000000Z", "20260306T000000Z", "a-nothing h-done"},
		{"20270101T000000Z", "20270102T000000Z", "a-nothing g-created"},
		{"20260312T000000Z", "20260313T000000Z", "a-nothing e-lasting g-created"}, // it ends as the range begins
	} {
		a := s.want(207, "REPORT", tasks, calQuery(comp("VTODO", span(tt.from, tt.to)), ""), "Depth: 1")
		if got := sorted(names(a)); got != tt.want {
			t.Errorf("%s to %s: %s, want %s", tt.from, tt.to, got, tt.want)
		}
	}
	// What reminders' programs ask for: what is not done.
	a := s.want(207, "REPORT", tasks, calQuery(comp("VTODO", `<C:prop-filter name="COMPLETED"><C:is-not-defined/></C:prop-filter>`), ""), "Depth: 1")
	if got := sorted(names(a)); got != "a-nothing b-due c-start d-both e-lasting g-created" {
		t.Error(got)
	}
}

func TestCalendarData(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	s.want(201, "PUT", cal+"s.ics", event("s", "DTSTART;TZID=Europe/Berlin:20260327T100000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=6\nSUMMARY:Series\nX-ODD:1\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nUID:s\nRECURRENCE-ID;TZID=Europe/Berlin:20260329T100000\nDTSTART;TZID=Europe/Berlin:20260329T120000\nDURATION:PT1H\nSUMMARY:Moved\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nUID:s\nRECURRENCE-ID;TZID=Europe/Berlin:20260331T100000\nDTSTART;TZID=Europe/Berlin:20260331T120000\nDURATION:PT1H\nSUMMARY:Last"))
	s.want(201, "PUT", cal+"d.ics", event("d", "DTSTART;VALUE=DATE:20260328\nRRULE:FREQ=DAILY;COUNT=2\nSUMMARY:Day"))
	in := span("20260328T000000Z", "20260330T000000Z")
	ranged := strings.Replace(in, "C:time-range", "C:expand", 1)
	a := s.want(207, "REPORT", cal, calQuery(comp("VEVENT", in), "<C:calendar-data>"+ranged+"</C:calendar-data>"), "Depth: 1")
	s.has(a, "DTSTART:20260328T090000Z", "RECURRENCE-ID:20260328T090000Z", "DTSTART:20260329T100000Z", "RECURRENCE-ID:20260329T080000Z", "SUMMARY:Moved",
		"DTSTART;VALUE=DATE:20260328", "RECURRENCE-ID;VALUE=DATE:20260329", "X-ODD:1")
	s.hasNot(a, "RRULE", "TZID", "20260327T", "SUMMARY:Last", "VTIMEZONE")
	a = s.want(207, "REPORT", cal, calQuery(comp("VEVENT", in), "<C:calendar-data>"+strings.Replace(in, "C:time-range", "C:limit-recurrence-set", 1)+"</C:calendar-data>"), "Depth: 1")
	s.has(a, "RRULE", "SUMMARY:Moved", "BEGIN:VTIMEZONE")
	s.hasNot(a, "SUMMARY:Last")
	a = s.want(207, "REPORT", cal, calQuery(comp("VEVENT", ""), `<C:calendar-data><C:comp name="VCALENDAR"><C:prop name="VERSION"/><C:comp name="VEVENT"><C:prop name="SUMMARY"/><C:prop name="UID" novalue="yes"/></C:comp></C:comp></C:calendar-data>`), "Depth: 1")
	s.has(a, "BEGIN:VCALENDAR&#13;\nVERSION:2.0&#13;\nBEGIN:VEVENT&#13;\nUID:&#13;\nSUMMARY:Series&#13;\nEND:VEVENT")
	s.hasNot(a, "DTSTART", "VTIMEZONE")
	s.has(s.want(403, "REPORT", cal, calQuery(comp("VEVENT", ""), `<C:calendar-data content-type="text/html"/>`), "Depth: 1"), "C:supported-calendar-data")
	a = s.want(207, "REPORT", cal, `<C:calendar-multiget xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/><C:calendar-data/></prop><href>`+cal+`s.ics</href><href>http://dav.example.test`+strings.ReplaceAll(cal, "@", "%40")+`d.ics</href><href>`+cal+`../x</href></C:calendar-multiget>`)
	if got := sorted(names(a)); got != "d.ics s.ics x" {
		t.Error(got)
	}
	s.has(a, "SUMMARY:Series", "SUMMARY:Day", "404")
}

func TestFreeBusy(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	for name, lines := range map[string]string{
		"a": "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z",
		"b": "DTSTART:20260301T103000Z\nDTEND:20260301T120000Z",
		"c": "DTSTART:20260301T120000Z\nDTEND:20260301T130000Z\nSTATUS:TENTATIVE",
		"d": "DTSTART:20260301T140000Z\nDTEND:20260301T150000Z\nTRANSP:TRANSPARENT",
		"e": "DTSTART:20260301T160000Z\nDTEND:20260301T170000Z\nSTATUS:CANCELLED",
		"f": "DTSTART:20260228T230000Z\nDTEND:20260301T010000Z\nRRULE:FREQ=WEEKLY",
	} {
		s.want(201, "PUT", cal+name, event(name, lines))
	}
	q := `<C:free-busy-query xmlns:C="urn:ietf:params:xml:ns:caldav">` + span("20260301T000000Z", "20260302T000000Z") + `</C:free-busy-query>`
	for _, path := range []string{cal, calHome} {
		a := s.want(200, "REPORT", path, q, "Depth: 1")
		s.has(a, "FREEBUSY:20260301T000000Z/20260301T010000Z", "FREEBUSY:20260301T100000Z/20260301T120000Z", "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20260301T120000Z/20260301T130000Z")
		if strings.Count(a.body, "FREEBUSY") != 5 {
			t.Error(a.body)
		}
	}
	s.want(207, "PROPPATCH", cal, `<propertyupdate xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><set><prop><C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp></prop></set></propertyupdate>`)
	s.hasNot(s.want(200, "REPORT", calHome, q), "FREEBUSY:")
	s.want(400, "REPORT", cal, `<C:free-busy-query xmlns:C="urn:ietf:params:xml:ns:caldav"/>`)
}

func syncBody(token, more string) string {
	return `<sync-collection xmlns="DAV:"><sync-token>` + token + `</sync-token><sync-level>1</sync-level>` + more + `<prop><getetag/></prop></sync-collection>`
}

func tokenOf(a answer) string {
	_, rest, _ := strings.Cut(a.body, "<D:sync-token>")
	token, _, _ := strings.Cut(rest, "</D:sync-token>")
	return token
}

func TestSync(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	put := func(name string, hour int) {
		t.Helper()
		if a := s.do("PUT", cal+name, event(name, fmt.Sprintf("DTSTART:20260301T%02d0000Z", hour))); a.code/100 != 2 {
			t.Fatal(a.code, a.body)
		}
	}
	put("a", 1)
	put("b", 1)
	a := s.want(207, "REPORT", cal, syncBody("", ""))
	if sorted(names(a)) != "a b" {
		t.Fatal(a.body)
	}
	token := tokenOf(a)
	p := s.want(207, "PROPFIND", cal, `<propfind xmlns="DAV:"><prop><sync-token/><getctag xmlns="http://calendarserver.org/ns/"/></prop></propfind>`, "Depth: 0")
	if tokenOf(p) != token {
		t.Errorf("the property is %s, the report's %s", tokenOf(p), token)
	}
	a = s.want(207, "REPORT", cal, syncBody(token, ""))
	if len(hrefs(a)) != 0 || tokenOf(a) != token {
		t.Error(a.body)
	}
	put("a", 2)
	put("c", 1)
	s.want(204, "DELETE", cal+"b", "")
	a = s.want(207, "REPORT", cal, syncBody(token, ""))
	if sorted(names(a)) != "a b c" {
		t.Error(a.body)
	}
	s.has(a, "/b</D:href><D:status>HTTP/1.1 404 Not Found</D:status>")
	// A name that comes again is not gone.
	second := tokenOf(a)
	s.want(204, "DELETE", cal+"c", "")
	put("c", 3)
	a = s.want(207, "REPORT", cal, syncBody(second, ""))
	if names(a) != "c" || strings.Contains(a.body, " 404 ") {
		t.Error(a.body)
	}
	// In pages.
	for i := range 7 {
		put(fmt.Sprint("p", i), 4)
	}
	for i, from := range []string{"", second} {
		seen, at := map[string]bool{}, from
		for page := 0; ; page++ {
			a = s.want(207, "REPORT", cal, syncBody(at, "<limit><nresults>2</nresults></limit>"))
			for _, n := range strings.Fields(names(a)) {
				seen[n] = true
			}
			at = tokenOf(a)
			if !strings.Contains(a.body, "507") {
				break
			}
			if page > 20 {
				t.Fatal("no end")
			}
			s.has(a, "D:number-of-matches-within-limits")
			// What happens between the pages is told too.
			if page == 0 {
				put("new", 5+i)
			}
		}
		for _, n := range []string{"c", "p0", "p6", "new"} {
			if !seen[n] {
				a = s.want(207, "REPORT", cal, syncBody(at, ""))
				if !strings.Contains(names(a), n) {
					t.Errorf("from %q: %s is missing: %v", from, n, seen)
				}
			}
		}
		put("p0", 6+i)
		if a = s.want(207, "REPORT", cal, syncBody(at, "")); !strings.Contains(names(a), "p0") {
			t.Errorf("after the pages: %s", a.body)
		}
	}
	for _, bad := range []string{"x", "urn:waypost:sync:F1:1:1", token + "0000", strings.Replace(token, ":sync:F", ":sync:F1", 1), token + ":x", token + "@x"} {
		s.has(s.want(403, "REPORT", cal, syncBody(bad, "")), "D:valid-sync-token")
	}
}

func TestFolders(t *testing.T) {
	s := newSite(t, Options{})
	const ns = `xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="urn:ietf:params:xml:ns:carddav" xmlns:I="http://apple.com/ns/ical/"`
	s.want(201, "MKCALENDAR", calHome+"work", `<C:mkcalendar `+ns+`><set><prop><displayname>Work</displayname><I:calendar-color>#ff00aaff</I:calendar-color><C:calendar-description>At work</C:calendar-description><x xmlns="urn:test" a="1">dead <b/></x></prop></set></C:mkcalendar>`)
	a := s.want(207, "PROPFIND", calHome+"work/", `<propfind `+ns+`><prop><resourcetype/><displayname/><I:calendar-color/><C:calendar-description/><x xmlns="urn:test"/><C:supported-calendar-component-set/><owner/></prop></propfind>`, "Depth: 0")
	s.has(a, "<C:calendar/>", "<D:displayname>Work<", "#FF00AAFF", "At work", "dead <x:b", `a="1"`, `<C:comp name="VEVENT"/>`, "/dav/principals/users/alice@example.test/")
	s.hasNot(a, "404")
	s.want(405, "MKCALENDAR", calHome+"work/", "")
	s.want(201, "MKCALENDAR", calHome+"todo/", `<C:mkcalendar `+ns+`><set><prop><displayname>Work</displayname><C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set></prop></set></C:mkcalendar>`)
	s.want(201, "PUT", calHome+"todo/x.ics", todo("x", "SUMMARY:X"))
	s.want(201, "MKCOL", bookHome+"friends/", `<mkcol `+ns+`><set><prop><resourcetype><collection/><A:addressbook/></resourcetype><displayname>Friends</displayname></prop></set></mkcol>`)
	s.want(201, "MKCOL", calHome+"other/", `<mkcol `+ns+`><set><prop><resourcetype><collection/><C:calendar/></resourcetype></prop></set></mkcol>`)
	s.has(s.want(403, "MKCOL", bookHome+"wrong/", `<mkcol `+ns+`><set><prop><resourcetype><collection/><C:calendar/></resourcetype><displayname>W</displayname></prop></set></mkcol>`), "D:valid-resourcetype", "424 Failed Dependency")
	s.want(403, "MKCOL", calHome+"plain/", "")
	s.want(403, "MKCALENDAR", calHome+"bad/", `<C:mkcalendar `+ns+`><set><prop><getetag>x</getetag><I:calendar-color>red</I:calendar-color></prop></set></C:mkcalendar>`)
	s.want(404, "PROPFIND", calHome+"bad/", "", "Depth: 0")
	s.want(403, "MKCALENDAR", calHome+"F99/", "")
	s.want(403, "MKCALENDAR", calHome+"work/in/", "")
	s.want(409, "MKCALENDAR", calHome+"none/in/", "")
	s.want(415, "MKCALENDAR", calHome+"y/", `<x/>`)
	a = s.want(207, "PROPFIND", calHome, `<propfind `+ns+`><prop><displayname/></prop></propfind>`, "Depth: 1")
	s.has(a, calHome+"work/", calHome+"todo/", calHome+"other/", ">Work 2<")

	// Properties are changed all or none.
	a = s.want(207, "PROPPATCH", calHome+"work/", `<propertyupdate `+ns+`><set><prop><C:calendar-description>New</C:calendar-description><getetag>x</getetag></prop></set></propertyupdate>`)
	s.has(a, "403 Forbidden", "424 Failed Dependency", "D:cannot-modify-protected-property")
	a = s.want(207, "PROPPATCH", calHome+"work/", `<propertyupdate `+ns+`><set><prop><displayname>Büro/2</displayname><I:calendar-order>3</I:calendar-order></prop></set><remove><prop><x xmlns="urn:test"/><C:calendar-description/></prop></remove></propertyupdate>`)
	s.hasNot(a, "403", "424")
	a = s.want(207, "PROPFIND", calHome+"work/", `<propfind `+ns+`><allprop/></propfind>`, "Depth: 0")
	s.has(a, "Büro∕2")
	s.hasNot(a, "urn:test", "At work")
	if a := s.want(200, "PROPPATCH", calHome+"work/", `<propertyupdate `+ns+`><set><prop><I:calendar-order>4</I:calendar-order></prop></set></propertyupdate>`, "Prefer: return=minimal"); a.body != "" {
		t.Error(a.body)
	}
	s.has(s.want(207, "PROPPATCH", s.standard("Calendar"), `<propertyupdate `+ns+`><set><prop><displayname>Mine</displayname><I:calendar-color>#112233</I:calendar-color></prop></set></propertyupdate>`), "403", "424")
	s.want(507, "PROPPATCH", calHome+"work/", `<propertyupdate `+ns+`><set><prop><y xmlns="urn:test">`+strings.Repeat("x", 70<<10)+`</y></prop></set></propertyupdate>`)
	a = s.want(207, "PROPFIND", calHome+"work/", `<propfind `+ns+`><propname/></propfind>`, "Depth: 0")
	s.has(a, "<D:sync-token/>", "<I:calendar-order/>")
	a = s.want(207, "PROPFIND", calHome+"work/", `<propfind `+ns+`><prop><nothing/><displayname/></prop></propfind>`, "Depth: 0", "Prefer: return=minimal")
	s.hasNot(a, "404", "nothing")

	// Copy and move.
	cal := calHome + "work/"
	s.want(201, "PUT", cal+"m.ics", event("m", "DTSTART:20260301T100000Z\nSUMMARY:M"))
	to := func(path string) string { return "Destination: http://dav.example.test" + path }
	s.want(201, "MOVE", cal+"m.ics", "", to(calHome+"other/m.ics"))
	s.want(404, "GET", cal+"m.ics", "")
	s.has(s.want(200, "GET", calHome+"other/m.ics", ""), "SUMMARY:M")
	s.want(201, "COPY", calHome+"other/m.ics", "", to(cal+"copy.ics"))
	s.want(412, "MOVE", calHome+"other/m.ics", "", to(cal+"copy.ics"), "Overwrite: F")
	s.want(204, "MOVE", calHome+"other/m.ics", "", to(cal+"copy.ics"))
	s.want(404, "GET", calHome+"other/m.ics", "")
	s.has(s.want(409, "COPY", cal+"copy.ics", "", to(cal+"again.ics")), "C:no-uid-conflict")
	s.want(201, "MOVE", cal+"copy.ics", "", to(cal+"renamed.ics"))
	s.want(200, "GET", cal+"renamed.ics", "")
	s.want(404, "GET", cal+"copy.ics", "")
	s.want(403, "MOVE", cal+"renamed.ics", "", to(calHome+"todo/renamed.ics"))
	s.want(403, "MOVE", cal+"renamed.ics", "", to(cal+"renamed.ics"))
	s.want(403, "MOVE", cal+"renamed.ics", "", to(bookHome+"friends/renamed.ics"))
	s.want(409, "MOVE", cal+"renamed.ics", "", to(calHome+"none/x.ics"))
	s.want(502, "MOVE", cal+"renamed.ics", "", "Destination: http://elsewhere.test"+cal+"x.ics")
	s.want(400, "MOVE", cal+"renamed.ics", "")

	s.want(204, "DELETE", cal, "")
	s.want(404, "PROPFIND", cal, "", "Depth: 0")
	s.want(403, "DELETE", s.standard("Calendar"), "")
	s.want(403, "DELETE", calHome, "")
}

func TestDiscovery(t *testing.T) {
	s := newSite(t, Options{})
	const ns = `xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/"`
	a := s.want(207, "PROPFIND", "/dav/", `<propfind `+ns+`><prop><current-user-principal/><resourcetype/></prop></propfind>`, "Depth: 0")
	me := "/dav/principals/users/alice@example.test/"
	s.has(a, "<D:current-user-principal><D:href>"+me+"</D:href>", "1, 3, access-control"[:0])
	a = s.want(207, "PROPFIND", me, `<propfind `+ns+`><prop><displayname/><principal-URL/><C:calendar-home-set/><A:addressbook-home-set/><C:calendar-user-address-set/><C:calendar-user-type/><S:email-address-set/><C:schedule-inbox-URL/><resourcetype/><supported-report-set/><principal-collection-set/><current-user-privilege-set/></prop></propfind>`, "Depth: 0")
	s.has(a, "Alice Smith", calHome, bookHome, "mailto:alice@example.test", "mailto:a.smith@example.test", "INDIVIDUAL", "<D:principal/>", "D:expand-property")
	s.has(a, "<D:prop><C:schedule-inbox-URL/></D:prop><D:status>HTTP/1.1 404 Not Found") // there is no scheduling
	if c := s.want(200, "OPTIONS", calHome, ""); !strings.Contains(c.Get("DAV"), "calendar-access") || strings.Contains(c.Get("DAV"), "2,") || strings.Contains(c.Get("DAV"), "auto-schedule") || !strings.Contains(c.Get("Allow"), "MKCALENDAR") {
		t.Error(c.Header)
	}
	for _, path := range []string{"/dav/", "/dav/principals/", "/dav/principals/users/", "/dav/calendars/", "/dav/addressbooks/", calHome, bookHome, me} {
		for _, depth := range []string{"0", "1"} {
			for _, body := range []string{"", `<propfind ` + ns + `><propname/></propfind>`} {
				a := s.want(207, "PROPFIND", path, body, "Depth: "+depth)
				if body != "" {
					s.hasNot(a, "404")
				}
			}
		}
		s.has(s.want(403, "PROPFIND", path, ""), "D:propfind-finite-depth")
	}
	// Every property that has a name has a value, or says that it has none.
	for _, path := range []string{"/dav/", me, calHome, bookHome, s.standard("Calendar"), s.standard("Contacts"), bookHome + "directory/"} {
		var all strings.Builder
		for _, name := range propertyOrder {
			fmt.Fprintf(&all, `<%s xmlns="%s"/>`, name.Local, name.Space)
		}
		s.want(207, "PROPFIND", path, `<propfind xmlns="DAV:"><prop>`+all.String()+`</prop></propfind>`, "Depth: 1")
	}
	a = s.want(207, "REPORT", "/dav/principals/users/", `<principal-property-search `+ns+` test="anyof"><property-search><prop><displayname/></prop><match>bo</match></property-search><property-search><prop><S:email-address-set/></prop><match>room1@</match></property-search><prop><displayname/></prop></principal-property-search>`, "Depth: 0")
	s.has(a, "Bob Jones", "Room 1")
	a = s.want(207, "REPORT", "/dav/principals/", `<principal-property-search `+ns+`><property-search><prop><displayname/></prop><match>room</match></property-search><property-search><prop><C:calendar-user-type/></prop><match>ROOM</match></property-search><prop><C:calendar-user-address-set/></prop></principal-property-search>`, "Depth: 0")
	s.has(a, "mailto:room1@example.test")
	s.hasNot(a, "bob")
	s.has(s.want(200, "REPORT", "/dav/principals/users/", `<principal-search-property-set xmlns="DAV:"/>`, "Depth: 0"), "<D:displayname/>")
	a = s.want(207, "REPORT", "/dav/principals/", `<S:calendarserver-principal-search `+ns+` context="attendee"><S:search-token>ali</S:search-token><S:limit><S:nresults>50</S:nresults></S:limit><prop><displayname/></prop></S:calendarserver-principal-search>`, "Depth: 0")
	s.has(a, "Alice Smith")
	a = s.want(207, "REPORT", me, `<expand-property `+ns+`><property name="principal-URL"><property name="calendar-home-set" namespace="urn:ietf:params:xml:ns:caldav"><property name="displayname"/></property></property><property name="x" namespace="urn:y"/></expand-property>`, "Depth: 0")
	s.has(a, "<D:principal-URL><D:response><D:href>"+me, "<C:calendar-home-set><D:response><D:href>"+calHome, "<D:displayname>Alice Smith", `<x:x xmlns:x="urn:y"/>`)
	s.has(s.want(403, "REPORT", me, `<sync-collection xmlns="DAV:"/>`), "D:supported-report")
	s.want(405, "LOCK", me, "")
	s.want(405, "GET", calHome, "")
}

func TestBadXML(t *testing.T) {
	s := newSite(t, Options{})
	for name, body := range map[string]string{
		"doctype":   `<!DOCTYPE x [<!ENTITY a "aaaa">]><propfind xmlns="DAV:"><prop><displayname>&a;</displayname></prop></propfind>`,
		"external":  `<!DOCTYPE x SYSTEM "file:///etc/passwd"><propfind xmlns="DAV:"/>`,
		"entity":    `<propfind xmlns="DAV:"><prop>&x;</prop></propfind>`,
		"open":      `<propfind xmlns="DAV:"><prop>`,
		"two":       `<propfind xmlns="DAV:"/><propfind xmlns="DAV:"/>`,
		"prefix":    `<D:propfind><D:prop/></D:propfind>`,
		"undeclare": `<propfind xmlns="DAV:"><prop><a:b xmlns:a=""/></prop></propfind>`,
		"other":     `<x xmlns="DAV:"/>`,
		"noise":     "\x00\x01\x02",
		"text":      "hello",
	} {
		if a := s.do("PROPFIND", "/dav/", body, "Depth: 0"); a.code != 400 {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
	}
	began := time.Now()
	deep := strings.Repeat(`<a>`, 200_000)
	wide := `<propfind xmlns="DAV:"><prop>` + strings.Repeat(`<a/>`, 300_000) + `</prop></propfind>`
	huge := `<propfind xmlns="DAV:"><prop><a>` + strings.Repeat(`x`, MaxBody) + `</a></prop></propfind>`
	for _, body := range []string{deep, wide, huge} {
		if a := s.do("PROPFIND", "/dav/", body, "Depth: 0"); a.code != 413 {
			t.Errorf("%.20s: %d", body, a.code)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func at(s string) time.Time {
	t, err := time.Parse("20060102T150405Z", s)
	if err != nil {
		panic(err)
	}
	return t
}
