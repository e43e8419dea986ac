package dav

import (
	"context"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/store"
	"waypost/store/postgres"
)

// told is a role of meetings that only notes what it is asked.
type told struct {
	st  *postgres.Store
	log []string
}

func (s *told) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, quiet bool) (store.Put, error) {
	s.log = append(s.log, map[bool]string{true: "quiet put", false: "put"}[quiet])
	return s.st.PutObject(ctx, as, box, p)
}

func (s *told) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, quiet bool) (store.Seq, error) {
	s.log = append(s.log, map[bool]string{true: "quiet remove", false: "remove"}[quiet])
	return s.st.RemoveObject(ctx, as, box, r)
}

func (s *told) FreeBusy(_ context.Context, _ directory.Principal, addresses []string, from, to time.Time) ([]store.Availability, error) {
	var list []store.Availability
	for _, a := range addresses {
		list = append(list, store.Availability{
			Address: a, Known: strings.HasSuffix(a, "@example.test"), View: map[bool]store.View{true: store.ViewNone, false: store.ViewBusy}[strings.HasPrefix(a, "closed")],
			Slots: []store.Slot{{Start: from.Add(-time.Hour), End: from.Add(time.Hour), Busy: store.BusyBusy, Summary: "Secret"}, {Start: to.Add(-time.Hour), End: to, Busy: store.BusyOut}},
		})
	}
	return list, nil
}

func TestScheduling(t *testing.T) {
	s := newSite(t, Options{})
	m := &told{st: s.store}
	s.dav.opt.Scheduler = m
	cal, book := s.standard("Calendar"), s.standard("Contacts")
	meeting := func(answer, summary string) string {
		return event("meet", "DTSTART:20260301T100000Z\nSUMMARY:"+summary+"\nORGANIZER:mailto:alice@example.test\nATTENDEE;PARTSTAT="+answer+":mailto:bob@example.test")
	}
	tag := s.want(201, "PUT", cal+"m.ics", meeting("NEEDS-ACTION", "Plan")).Get("Schedule-Tag")
	etag := s.want(200, "GET", cal+"m.ics", "").Get("ETag")
	if g := s.want(200, "GET", cal+"m.ics", ""); tag == "" || g.Get("Schedule-Tag") != tag {
		t.Errorf("%q, then %q", tag, g.Get("Schedule-Tag"))
	}
	// RFC 6638 section 3.2.10: an answer changes the ETag and not the schedule tag.
	s.want(204, "PUT", cal+"m.ics", meeting("ACCEPTED", "Plan"), "If-Schedule-Tag-Match: "+tag)
	g := s.want(200, "GET", cal+"m.ics", "")
	if g.Get("Schedule-Tag") != tag || g.Get("ETag") == etag {
		t.Errorf("after an answer: %v", g.Header)
	}
	s.want(204, "PUT", cal+"m.ics", meeting("ACCEPTED", "Another plan"), "If-Schedule-Tag-Match: "+tag)
	s.want(412, "PUT", cal+"m.ics", meeting("ACCEPTED", "Too late"), "If-Schedule-Tag-Match: "+tag)
	s.want(412, "DELETE", cal+"m.ics", "", "If-Schedule-Tag-Match: "+tag)
	s.has(s.want(207, "PROPFIND", cal+"m.ics", `<propfind xmlns="DAV:"><prop><schedule-tag xmlns="urn:ietf:params:xml:ns:caldav"/></prop></propfind>`, "Depth: 0"), "<C:schedule-tag>")
	s.want(204, "DELETE", cal+"m.ics", "", "Schedule-Reply: F")
	s.want(201, "PUT", cal+"n.ics", event("n", "DTSTART:20260301T100000Z"))
	s.want(204, "DELETE", cal+"n.ics", "")
	s.want(201, "PUT", book+"c.vcf", card("c", "FN:C"))
	if got := strings.Join(m.log, ", "); got != "put, put, put, put, remove, quiet remove, put, remove" {
		t.Error(got)
	}

	ask := func(organizer, more string) string {
		return lf("BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:REQUEST\nBEGIN:VFREEBUSY\nUID:q\nDTSTAMP:20260101T000000Z\nDTSTART:20260301T000000Z\nDTEND:20260302T000000Z\nORGANIZER:" + organizer + "\n" + more + "END:VFREEBUSY\nEND:VCALENDAR\n")
	}
	out := calHome + "outbox/"
	a := s.want(200, "POST", out, ask("mailto:a.smith@example.test", "ATTENDEE:mailto:bob@example.test\nATTENDEE:mailto:x@example.net\nATTENDEE:mailto:closed@example.test\n"))
	s.has(a, "<C:recipient><D:href>mailto:bob@example.test</D:href></C:recipient><C:request-status>2.0;Success", "FREEBUSY:20260301T000000Z/20260301T010000Z", "FBTYPE=BUSY-UNAVAILABLE:20260301T230000Z/20260302T000000Z", "UID:q", "METHOD:REPLY", "3.7;Invalid calendar user", "3.8;No authority")
	s.hasNot(a, "Secret")
	s.has(s.want(403, "POST", out, ask("mailto:bob@example.test", "ATTENDEE:mailto:bob@example.test\n")), "C:organizer-allowed")
	s.has(s.want(403, "POST", out, ask("mailto:alice@example.test", "")), "C:valid-scheduling-message")
	s.has(s.want(403, "POST", out, event("x", "DTSTART:20260301T000000Z")), "C:valid-scheduling-message")
	s.has(s.want(403, "POST", out, ask("mailto:alice@example.test", strings.Repeat("ATTENDEE:mailto:bob@example.test\n", 101))), "C:valid-scheduling-message")
	s.want(405, "POST", cal, "x")
	s.want(207, "PROPFIND", calHome+"inbox/", "", "Depth: 1")
	s.want(404, "PUT", calHome+"inbox/x.ics", event("x", "DTSTART:20260301T000000Z"))
	s.has(s.want(207, "PROPFIND", "/dav/principals/users/alice@example.test/", `<propfind xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><C:schedule-inbox-URL/><C:schedule-outbox-URL/></prop></propfind>`, "Depth: 0"), calHome+"inbox/", out)
}
