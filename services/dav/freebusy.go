package dav

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/store"
)

const (
	maxBusyRange = 5 * 366 * 24 * time.Hour
	maxAsked     = 100 // people in one question
)

// A question reads at most so many occurrences, and so many at a time: a rule of
// every second has more than anybody wants to see.
const (
	occurrencesAtOnce = 10_000
	maxOccurrences    = 50_000
)

// freeBusyQuery tells when a calendar is busy (RFC 4791 section 7.10).
func (s *Server) freeBusyQuery(ctx context.Context, r *request, res *resource, n *node) error {
	t, err := wholeRange(n.child(calName("time-range")))
	if err != nil {
		return err
	}
	if t == nil || t.to.Sub(t.from) > maxBusyRange {
		return fault.New(fault.Invalid, "a time range of at most five years is needed")
	}
	list := []*resource{res}
	if res.is(isCalendarHome) {
		all, err := s.collections(ctx, r, res.owner, isCalendar)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(all, func(c *resource) bool { return c.props.Transparent || c.folder.Class != store.ClassCalendar })
	}
	var busy []store.Slot
	looked := 0
	for _, c := range list {
		floating, err := s.floating(ctx, r, c)
		if err != nil {
			return err
		}
		q := store.Between{Folders: []store.FolderID{c.folder.ID}, From: t.from, To: t.to, Floating: floating, Limit: occurrencesAtOnce}
		for {
			found, err := s.store.Occurrences(ctx, r.who, c.owner.box, q)
			if err != nil {
				return err
			}
			if looked += len(found); looked >= maxOccurrences {
				return failed(http.StatusForbidden, davName("number-of-matches-within-limits"), "ask for less time")
			}
			for i := range found {
				o := &found[i]
				if o.Cancelled || o.Busy == store.BusyFree {
					continue
				}
				busy = append(busy, store.Slot{Start: placed(o.Starts, o.Floating, floating), End: placed(o.Ends, o.Floating, floating), Busy: o.Busy})
			}
			if len(found) < q.Limit {
				break
			}
			q.After = &found[len(found)-1]
		}
	}
	cal := freeBusy("", t, busy, s.opt.Now())
	r.out.code = http.StatusOK
	r.out.header().Set("Content-Type", "text/calendar; charset=utf-8")
	_, err = r.out.Write(cal.Append(nil))
	return err
}

// placed is the moment of an occurrence's time; floating ones are digits.
func placed(t time.Time, isFloating bool, l *time.Location) time.Time {
	if !isFloating {
		return t
	}
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, l)
}

// freeBusy writes busy times as VFREEBUSY: those of one kind that touch are one,
// cut at the range (RFC 4791 section 7.10: periods may be merged).
func freeBusy(method string, t *timeRange, busy []store.Slot, now time.Time) *ical.Component {
	cal := &ical.Component{Name: "VCALENDAR"}
	cal.SetValue("VERSION", "2.0")
	cal.SetValue("PRODID", prodID)
	if method != "" {
		cal.SetValue("METHOD", method)
	}
	fb := &ical.Component{Name: "VFREEBUSY"}
	fb.SetTime("DTSTAMP", ical.UTCTime(now))
	fb.SetTime("DTSTART", ical.UTCTime(t.from))
	fb.SetTime("DTEND", ical.UTCTime(t.to))
	cal.Children = append(cal.Children, fb)
	slices.SortStableFunc(busy, func(a, b store.Slot) int { return a.Start.Compare(b.Start) })
	for _, k := range []struct {
		as   store.Busy
		name string
	}{{store.BusyBusy, ""}, {store.BusyElsewhere, ""}, {store.BusyOut, "BUSY-UNAVAILABLE"}, {store.BusyTentative, "BUSY-TENTATIVE"}} {
		var merged []store.Slot
		for _, b := range busy {
			if b.Busy != k.as {
				continue
			}
			if b.Start.Before(t.from) {
				b.Start = t.from
			}
			if b.End.After(t.to) {
				b.End = t.to
			}
			if !b.Start.Before(b.End) {
				continue
			}
			if n := len(merged); n > 0 && !b.Start.After(merged[n-1].End) {
				if b.End.After(merged[n-1].End) {
					merged[n-1].End = b.End
				}
				continue
			}
			merged = append(merged, b)
		}
		for _, b := range merged {
			p := &ical.Property{Name: "FREEBUSY", Value: ical.Period{Start: ical.UTCTime(b.Start), End: ical.UTCTime(b.End)}.Value()}
			if k.name != "" {
				p.SetParam("FBTYPE", k.name)
			}
			fb.Properties = append(fb.Properties, p)
		}
	}
	return cal
}

// post asks when people are busy, at the outbox (RFC 6638 section 5).
func (s *Server) post(ctx context.Context, r *request) error {
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	if !res.is(isOutbox) {
		r.out.header().Set("Allow", allowed(res.kind))
		return httpError(http.StatusMethodNotAllowed)
	}
	if res.owner.id != r.who.ID {
		return fault.New(fault.Denied, "not your outbox")
	}
	sent, err := io.ReadAll(http.MaxBytesReader(r.out.w, r.http.Body, MaxBody))
	if err != nil {
		return fault.From(fault.TooLarge, err, "the question is too large")
	}
	if isBlank(sent) {
		return fault.New(fault.Invalid, "no question")
	}
	root, _, err := ical.Parse(sent, ical.Object)
	if err != nil {
		return err
	}
	cals := root.Parts("VCALENDAR")
	invalid := func(why string) error {
		return failed(http.StatusForbidden, calName("valid-scheduling-message"), "%s", why)
	}
	if len(cals) != 1 {
		return failed(http.StatusForbidden, calName("valid-calendar-data"), "not one calendar")
	}
	questions := cals[0].Parts("VFREEBUSY")
	if !strings.EqualFold(cals[0].Text("METHOD"), "REQUEST") || len(questions) != 1 {
		return invalid("only REQUEST of one VFREEBUSY is asked here")
	}
	ask := questions[0]
	from, to, err := ical.Span(ask, ical.ZonesOf(cals[0], nil))
	if err != nil || !from.At.Before(to.At) || to.At.Sub(from.At) > maxBusyRange {
		return invalid("a time of at most five years is needed")
	}
	u, err := r.userOf(ctx, res)
	if err != nil {
		return err
	}
	organizer, ok := ask.Organizer()
	if !ok || !slices.ContainsFunc(addressesOf(u), func(a string) bool { return strings.EqualFold(a, organizer.Address) }) && !s.isPrincipal(r, organizer.Address) {
		return failed(http.StatusForbidden, calName("organizer-allowed"), "ask in your own name")
	}
	people := ask.All("ATTENDEE")
	if len(people) == 0 || len(people) > maxAsked {
		return invalid("from one to " + strconv.Itoa(maxAsked) + " attendees")
	}
	r.out.code = http.StatusOK
	r.out.header().Set("Content-Type", xmlType)
	var x xmlWriter
	x.begin(calName("schedule-response"))
	t := &timeRange{from.At.UTC(), to.At.UTC()}
	var addresses []string
	for _, p := range people {
		addresses = append(addresses, ical.ParsePerson(p).Address)
	}
	list, err := s.opt.Scheduler.FreeBusy(ctx, r.who, addresses, t.from, t.to)
	if err != nil {
		return err
	}
	for i, p := range people {
		s.answerBusy(&x, ask, p, t, list[i])
	}
	x.end(calName("schedule-response"))
	_, err = r.out.Write(x.b)
	return err
}

// isPrincipal tells whether an address is one's own principal, which clients may
// write too.
func (s *Server) isPrincipal(r *request, address string) bool {
	path, err := r.target(address)
	return err == nil && strings.EqualFold(strings.TrimSuffix(path, "/"), strings.TrimSuffix(s.me(r).principal(), "/"))
}

// answerBusy writes one person's part of the answer (RFC 6638 section 5.1 and 10.2).
func (s *Server) answerBusy(x *xmlWriter, ask *ical.Component, who *ical.Property, t *timeRange, a store.Availability) {
	status := "2.0;Success"
	switch {
	case !a.Known:
		status = "3.7;Invalid calendar user"
	case a.View == store.ViewNone:
		status = "3.8;No authority"
	case a.Partly: // a part would be taken for the whole
		status = "5.1;Too much to tell"
	}
	x.open(calName("response"))
	x.open(calName("recipient"))
	x.href(who.Value)
	x.close(calName("recipient"))
	x.text(calName("request-status"), status)
	if status[0] == '2' {
		cal := freeBusy("REPLY", t, a.Slots, s.opt.Now())
		fb := cal.Children[0]
		for _, name := range []string{"UID", "ORGANIZER"} {
			if p := ask.Prop(name); p != nil {
				fb.Properties = append(fb.Properties, p.Clone())
			}
		}
		fb.Properties = append(fb.Properties, &ical.Property{Name: "ATTENDEE", Value: who.Value})
		x.text(calName("calendar-data"), cal.String())
	}
	x.close(calName("response"))
}
