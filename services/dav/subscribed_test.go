package dav

import (
	"strings"
	"testing"

	"waypost/directory"
	"waypost/store"
	"waypost/store/storetest"
)

// TestSubscribed: a program subscribes to a calendar elsewhere, reads what the
// server puts there, and changes nothing in it.
func TestSubscribed(t *testing.T) {
	t.Parallel()
	const ns = `xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:I="http://apple.com/ns/ical/" xmlns:S="http://calendarserver.org/ns/"`
	s := newSite(t, Options{})
	ctx := t.Context()
	mkcol := func(props string) string {
		return `<mkcol ` + ns + `><set><prop><resourcetype><collection/><S:subscribed/></resourcetype>` + props + `</prop></set></mkcol>`
	}
	s.want(403, "MKCOL", calHome+"none/", mkcol(`<displayname>None</displayname>`))
	s.has(s.want(403, "MKCOL", calHome+"none/", mkcol(`<S:source><href/></S:source>`)), "424 Failed Dependency")
	for _, bad := range []string{"file:///etc/passwd", "gopher://x.example/", "x.ics", "javascript:alert(1)"} {
		if a := s.do("MKCOL", calHome+"none/", mkcol(`<S:source><href>`+bad+`</href></S:source>`)); a.code < 400 || a.code >= 500 {
			t.Errorf("%s: %d", bad, a.code)
		}
	}
	s.want(403, "MKCOL", calHome+"own/", `<mkcol `+ns+`><set><prop><resourcetype><collection/><C:calendar/></resourcetype><S:source><href>https://x.example/</href></S:source></prop></set></mkcol>`)
	s.want(403, "MKCOL", bookHome+"none/", mkcol(`<S:source><href>https://x.example/</href></S:source>`))
	s.want(404, "PROPFIND", calHome+"none/", "", "Depth: 0")

	s.want(201, "MKCOL", calHome+"holidays/", mkcol(`<displayname>Holidays</displayname><S:source><href>webcal://x.example/h.ics?a=1&amp;b=2</href></S:source>`+
		`<I:calendar-color>#FF2968</I:calendar-color><I:refreshrate>P1W</I:refreshrate><S:subscribed-strip-alarms/>`))
	s.want(201, "MKCALENDAR", calHome+"second/", `<C:mkcalendar `+ns+`><set><prop><resourcetype><collection/><C:calendar/><S:subscribed/></resourcetype><S:source><href>https://x.example/2.ics</href></S:source></prop></set></C:mkcalendar>`)
	box := store.MailboxID(0)
	for _, u := range everyone {
		if strings.HasPrefix(u.Address, "alice@") {
			box = u.Mailbox
		}
	}
	feeder := directory.System("test")
	feeds, err := s.store.Feeds(ctx, feeder, box)
	if err != nil || len(feeds) != 2 || feeds[0].URL != "webcal://x.example/h.ics?a=1&b=2" {
		t.Fatalf("%+v, %v", feeds, err)
	}
	_, err = s.store.PutObject(ctx, feeder, box, store.PutObject{
		Folder: feeds[0].Folder, UID: "h", Name: "h.ics", Feed: true, Edit: storetest.SetText(storetest.Event("h", "Holiday", ";VALUE=DATE:20261225")),
	})
	if err != nil {
		t.Fatal(err)
	}

	find := `<propfind ` + ns + `><prop><resourcetype/><displayname/><S:source/><current-user-privilege-set/><C:schedule-calendar-transp/><I:refreshrate/><I:calendar-color/></prop></propfind>`
	a := s.want(207, "PROPFIND", calHome+"holidays/", find, "Depth: 0")
	s.has(a, "S:subscribed", "C:calendar", "<S:source><D:href>webcal://x.example/h.ics?a=1&amp;b=2</D:href></S:source>", "D:write-properties", "C:transparent", "P1W", "#FF2968")
	s.hasNot(a, "D:write-content", "<D:write/>", "D:bind", "D:unbind")
	s.hasNot(s.want(207, "PROPFIND", s.standard("Calendar"), find, "Depth: 0"), "S:subscribed", "<S:source><D:href>")
	s.has(s.want(207, "PROPFIND", calHome, find, "Depth: 1"), "webcal://x.example/h.ics", "https://x.example/2.ics")
	s.has(s.want(200, "GET", calHome+"holidays/h.ics", ""), "SUMMARY:Holiday")

	own := s.standard("Calendar")
	s.want(201, "PUT", own+"mine.ics", event("mine", "DTSTART:20260301T100000Z"))
	for _, tt := range [][]string{
		{"PUT", "holidays/h.ics", event("h", "DTSTART:20260301T100000Z")},
		{"PUT", "holidays/new.ics", event("new", "DTSTART:20260301T100000Z")},
		{"DELETE", "holidays/h.ics", ""},
		{"MOVE", "holidays/h.ics", "", "Destination: " + own + "h.ics"},
		{"MOVE", "holidays/h.ics", "", "Destination: " + calHome + "holidays/other.ics"},
	} {
		s.has(s.want(403, tt[0], calHome+tt[1], tt[2], tt[3:]...), "D:need-privileges")
	}
	s.has(s.want(403, "MOVE", own+"mine.ics", "", "Destination: "+calHome+"holidays/mine.ics"), "D:need-privileges")
	s.has(s.want(200, "GET", calHome+"holidays/h.ics", ""), "SUMMARY:Holiday")
	s.want(200, "GET", own+"mine.ics", "")
	s.has(s.want(207, "PROPPATCH", calHome+"holidays/", `<propertyupdate `+ns+`><set><prop><S:source><href>https://y.example/</href></S:source></prop></set></propertyupdate>`), "cannot-modify-protected-property")
	s.want(207, "PROPPATCH", calHome+"holidays/", `<propertyupdate `+ns+`><set><prop><displayname>Days off</displayname></prop></set></propertyupdate>`)
	s.want(204, "DELETE", calHome+"holidays/", "")
	if feeds, err = s.store.Feeds(ctx, feeder, box); err != nil || len(feeds) != 1 {
		t.Errorf("%+v, %v", feeds, err)
	}
}
