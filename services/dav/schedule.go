package dav

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"waypost/store"
)

// scheduleTag is an event's schedule tag (RFC 6638 section 3.2.10): it stays the
// same while nothing changes but what attendees answered. Empty: the event is of
// no meeting.
func (r *request) scheduleTag(ctx context.Context, res *resource) (string, error) {
	if r.server.opt.Scheduler == nil || !res.is(isEvent) || res.object == nil {
		return "", nil
	}
	o, err := r.server.text(ctx, r, res)
	if err != nil {
		return "", err
	}
	return tagOf(o.Text), nil
}

func tagOf(text []byte) string {
	if !bytes.Contains(text, []byte("ORGANIZER")) {
		return ""
	}
	cal, err := parseCalendar(text)
	if err != nil {
		return ""
	}
	meeting := false
	for _, c := range cal.Parts("VEVENT", "VTODO", "VJOURNAL") {
		if c.Prop("ORGANIZER") != nil {
			meeting = true
		}
		for _, p := range c.All("ATTENDEE") {
			for _, param := range []string{"PARTSTAT", "SCHEDULE-STATUS", "RSVP"} {
				p.SetParam(param)
			}
		}
		for _, name := range []string{"DTSTAMP", "LAST-MODIFIED", "REQUEST-STATUS", "X-WAYPOST-REPLIED"} {
			c.Remove(name)
		}
	}
	if !meeting {
		return ""
	}
	sum := sha256.Sum256(cal.Append(nil))
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// sameSchedule demands what If-Schedule-Tag-Match says (RFC 6638 section 8.3).
func (r *request) sameSchedule(res *resource, old *store.Object) error {
	want := strings.TrimSpace(r.http.Header.Get("If-Schedule-Tag-Match"))
	if want == "" || r.server.opt.Scheduler == nil || !res.is(isEvent) {
		return nil
	}
	if old == nil || tagOf(old.Text) != want {
		return errPrecondition
	}
	return nil
}
