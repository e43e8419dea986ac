package eas

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/services/eas/calendar"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

func unescape(s string) string { return contentline.Unescape(s) }

// uid: before 16.0 the phone makes it; from then on the server does, and the
// phone's ClientUid tells its attempts from each other (MS-ASCAL 2.2.2.13).
func (appointmentItems) uid(c *syncCommand, once string) string {
	for _, tag := range []wbxml.Tag{wbxml.CalendarClientUid, wbxml.CalendarUID} {
		// iOS ends it with a NUL, which travels no further than the decoder.
		if uid := strings.TrimSpace(c.data.Get(tag)); uid != "" && len(uid) <= 300 {
			return uid
		}
	}
	return newUID(once)
}

func (appointmentItems) edit(s *side, old *store.Object, c *syncCommand) (edited, error) {
	x := &opened{root: &ical.Component{}, a: &calendar.Appointment{UID: s.made, Busy: 2, Reminder: -1}}
	x.side = s.calendarSide(ical.ZonesOf(x.root, s.zone))
	var body bodyText
	if old != nil {
		var err error
		if x, err = s.openAppointment(old.Text); err != nil {
			return edited{}, err
		}
		body = x.body()
	}
	r := &appointmentReader{side: s, x: x, existing: old != nil, change: old != nil, body: body}
	var err error
	if c.instance != "" {
		err = r.instance(c)
	} else {
		err = r.whole(c.data)
	}
	if err != nil {
		return edited{}, err
	}
	parts, err := x.side.Write(x.parts, x.a)
	if err != nil {
		return edited{}, err
	}
	r.html(parts)
	if c.instance == "" {
		if err := r.files(c, masterOf(parts)); err != nil {
			return edited{}, err
		}
	}
	text := replaced(x.root, x.parts, parts)
	if old != nil && !bytes.Equal(text, old.Text) {
		stamp(parts, s.now, s.version >= wbxml.V160)
		text = calendarOf(x.root).Append(nil)
	}
	return edited{text: text, altered: s.differs(text, x.a, r.body)}, nil
}

// masterOf gives the component of a whole series, or the only one.
func masterOf(parts []*ical.Component) *ical.Component {
	for _, c := range parts {
		if !c.Is("VTIMEZONE") && c.Prop("RECURRENCE-ID") == nil {
			return c
		}
	}
	return parts[0]
}

// stamp notes when a text was changed; from 16.0 on the server also says which
// of two is the newer one.
func stamp(parts []*ical.Component, now time.Time, dtstamp bool) {
	for _, c := range parts {
		if c.Is("VTIMEZONE") {
			continue
		}
		if dtstamp && c.Prop("RECURRENCE-ID") == nil || c.Prop("DTSTAMP") == nil {
			c.SetTime("DTSTAMP", ical.UTCTime(now.Truncate(time.Second)))
		}
		if c.Prop("LAST-MODIFIED") != nil {
			c.SetTime("LAST-MODIFIED", ical.UTCTime(now.Truncate(time.Second)))
		}
	}
}

// differs tells whether a phone that is shown a text sees something else than
// what it said itself.
func (s *side) differs(text []byte, said *calendar.Appointment, body bodyText) bool {
	x, err := s.openAppointment(text)
	if err != nil {
		return true
	}
	show := func(a *calendar.Appointment, body bodyText) []byte {
		b := *a
		b.Stamp, b.Zone.StandardName, b.Zone.DaylightName = time.Time{}, "", ""
		if b.Zone == (zone.Info{}) {
			b.Zone = x.a.Zone
			b.Zone.StandardName, b.Zone.DaylightName = "", ""
		}
		b.Meeting, b.Response, b.Online, b.Replied = x.a.Meeting, x.a.Response, x.a.Online, x.a.Replied // only read
		b.Exceptions = slices.Clone(b.Exceptions)
		slices.SortStableFunc(b.Exceptions, func(x, y calendar.Exception) int { return x.Original.Compare(y.Original) })
		for i, ex := range b.Exceptions {
			if c := ex.Changed; c != nil {
				d := *c
				d.Meeting, d.Response = b.Meeting, b.Response
				b.Exceptions[i].Changed = &d
			}
		}
		var out buffer
		e := wbxml.NewEncoder(&out)
		e.Start(wbxml.AirSyncApplicationData)
		writeAppointment(e, s, &b, body)
		e.End()
		_ = e.Flush()
		return out
	}
	return !bytes.Equal(show(x.a, x.body()), show(said, body))
}

// appointmentReader takes what a phone says into an appointment.
type appointmentReader struct {
	*side
	x        *opened
	existing bool     // there is one already
	change   bool     // and what is not said is as it was
	body     bodyText // of the series
}

// html keeps the description as HTML in step with the plain one.
func (r *appointmentReader) html(parts []*ical.Component) {
	for _, c := range parts {
		switch {
		case c.Is("VTIMEZONE"):
		case c.Prop("RECURRENCE-ID") == nil || len(parts) == 1:
			setHTML(c, r.body.html)
		case r.body.html != "" && htmlOf(c) == r.body.html && c.Text("DESCRIPTION") != r.x.a.Body:
			setHTML(c, "") // it was copied from the series
		}
	}
}

func setHTML(c *ical.Component, html string) {
	if htmlOf(c) == html {
		return
	}
	c.Remove("X-ALT-DESC")
	if html != "" {
		p := &ical.Property{Name: "X-ALT-DESC", Value: contentline.Escape(html)}
		p.SetParam("FMTTYPE", "text/html")
		c.Properties = append(c.Properties, p)
	}
}

// drops tells whether a property that a Change leaves out is thereby deleted.
// MS-ASCMD 2.2.3.179 wants that of every property of phones that say nothing of
// Supported; here only of those that a phone says it manages. So the attendees
// of a meeting outlive a phone that has never heard of them.
func (r *appointmentReader) drops(tag wbxml.Tag) bool {
	return r.change && r.version < wbxml.V160 && r.opts.ghosts.said && !r.opts.ghosts.keeps(tag)
}

// omitted tells whether leaving a property out says that there is none: so it
// is before 16.0 with what an appointment may have or not have.
func (r *appointmentReader) omitted() bool { return r.change && r.version < wbxml.V160 }

// whole takes an Add, or a Change of the whole appointment.
func (r *appointmentReader) whole(data *wbxml.Node) error {
	a := r.x.a
	was := *a
	if err := r.times(data, a); err != nil {
		return err
	}
	if err := r.one(data, a, r.omitted()); err != nil {
		return err
	}
	r.body = r.readBody(data, r.body, wbxml.CalendarBody)
	a.Body = r.body.plain
	if v := data.Get(wbxml.CalendarUID); v != "" && !r.change && r.version < wbxml.V160 {
		a.UID = r.made
	}
	if t, ok := parseTime(data.Get(wbxml.CalendarDtStamp)); ok && r.version < wbxml.V160 {
		a.Stamp = t
	} else if !r.change {
		a.Stamp = r.now.Truncate(time.Second)
	}
	if !r.change || len(was.Attendees) == 0 {
		r.organizer(data, a)
	}
	if err := r.recurrence(data, a); err != nil {
		return err
	}
	if r.version >= wbxml.V160 {
		// A series that is moved or gets another pattern has no exceptions any more
		// (MS-ASCAL 3.2.4.5).
		if r.change && (!was.Start.Equal(a.Start) || !was.End.Equal(a.End) || !samePattern(was.Recurrence, a.Recurrence)) {
			a.Exceptions = nil
		}
		a.Exceptions = followed(a, &was)
		return nil
	}
	return r.exceptions(data, a, &was)
}

func samePattern(a, b *calendar.Recurrence) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Until, y.Until = time.Time{}, time.Time{}
	return x == y && a.Until.Equal(b.Until)
}

// times reads zone, beginning, end and whether it is of whole days.
func (r *appointmentReader) times(data *wbxml.Node, a *calendar.Appointment) error {
	if n := data.Child(wbxml.CalendarTimezone); n != nil {
		blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(n.Value()))
		if err != nil {
			return fault.New(fault.Invalid, "a zone that cannot be read")
		}
		if len(blob) > 0 {
			if a.Zone, err = zone.ParseInfo(blob); err != nil {
				return err
			}
		}
	}
	a.AllDay = data.Bool(wbxml.CalendarAllDayEvent, a.AllDay)
	midnights := a.AllDay && r.version >= wbxml.V160
	if midnights {
		a.Zone = zone.Info{} // a day has none (MS-ASCAL 2.2.2.1)
	}
	start, err := r.at(data, wbxml.CalendarStartTime, midnights)
	if err != nil {
		return err
	}
	end, err := r.at(data, wbxml.CalendarEndTime, midnights)
	if err != nil {
		return err
	}
	if !r.change {
		if start, end, err = r.defaults(start, end, a.AllDay); err != nil {
			return err
		}
	}
	length := a.End.Sub(a.Start)
	if !start.IsZero() {
		a.Start = start
		if end.IsZero() {
			end = start.Add(length)
		}
	}
	if !end.IsZero() {
		a.End = end
	}
	return nil
}

// at reads a time; the zero time when there is none.
func (r *appointmentReader) at(data *wbxml.Node, tag wbxml.Tag, midnight bool) (time.Time, error) {
	v := data.Get(tag)
	if v == "" {
		return time.Time{}, nil
	}
	t, ok := parseTime(v)
	if !ok {
		return t, fault.New(fault.Invalid, "%s is no time", tag.Name())
	}
	if midnight {
		return zone.Instant(t, r.zone), nil
	}
	return t, nil
}

// defaults are the times that an Add from 16.0 on may leave out (MS-ASCAL
// 3.2.4.4).
func (r *appointmentReader) defaults(start, end time.Time, days bool) (time.Time, time.Time, error) {
	const half = 30 * time.Minute
	next := r.now.Truncate(half)
	if next.Before(r.now) {
		next = next.Add(half)
	}
	switch {
	case !start.IsZero() && !end.IsZero():
		return start, end, nil
	case r.version < wbxml.V160 && start.IsZero():
		return start, end, fault.New(fault.Invalid, "an appointment without a beginning")
	case r.version < wbxml.V160 || days:
		if start.IsZero() {
			start = end.AddDate(0, 0, -1)
		}
		return start, max2(end, start), nil
	case start.IsZero() && end.IsZero():
		return next, next.Add(half), nil
	case start.IsZero() && end.Before(r.now), start.IsZero() && next.After(end), end.IsZero() && start.After(r.now):
		return start, end, fault.New(fault.Invalid, "beginning and end do not fit")
	case start.IsZero():
		return next, end, nil
	}
	return start, next.Add(half), nil
}

func max2(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// one reads what an appointment and an exception have alike. omitted: leaving
// out says that there is none.
func (r *appointmentReader) one(data *wbxml.Node, a *calendar.Appointment, omitted bool) error {
	if n := data.Child(wbxml.CalendarSubject); n != nil {
		a.Subject = n.Value()
	}
	switch n := data.Child(wbxml.AirSyncBaseLocation); {
	case r.version >= wbxml.V160 && n != nil:
		a.Location = n.Get(wbxml.AirSyncBaseDisplayName)
		if a.Location == "" {
			a.Location = placeOf(n)
		}
	case r.version >= wbxml.V160:
	case data.Has(wbxml.CalendarLocation):
		a.Location = data.Get(wbxml.CalendarLocation)
	case omitted:
		a.Location = ""
	}
	number := func(tag wbxml.Tag, dst *int, most int) error {
		n, err := data.Int(tag, *dst)
		if err == nil && n >= 0 && n <= most {
			*dst = n
		}
		return err
	}
	busy := r.busy(a.Busy)
	if err := number(wbxml.CalendarBusyStatus, &busy, 4); err != nil {
		return err
	}
	if busy != r.busy(a.Busy) { // what it was shown is no change
		a.Busy = busy
	}
	if err := number(wbxml.CalendarSensitivity, &a.Sensitive, 3); err != nil {
		return err
	}
	if a.Sensitive == 1 {
		a.Sensitive = 2 // personal is private
	}
	switch n := data.Child(wbxml.CalendarReminder); {
	case n != nil && n.Value() == "", n == nil && omitted:
		a.Reminder = -1
	case n != nil:
		v, ok := parseUint(n.Value(), 1<<24)
		if !ok {
			return fault.New(fault.Invalid, "Reminder is no number")
		}
		a.Reminder = int(v)
	}
	if n := data.Child(wbxml.CalendarCategories); n != nil || r.drops(wbxml.CalendarCategories) {
		a.Categories = listOf(a.Categories, n, wbxml.CalendarCategory)
	}
	if n, err := data.Int(wbxml.CalendarMeetingStatus, a.Meeting); err != nil {
		return err
	} else if data.Has(wbxml.CalendarMeetingStatus) {
		a.Meeting = a.Meeting&^4 | n&4
	}
	if n := data.Child(wbxml.CalendarAttendees); n != nil || r.drops(wbxml.CalendarAttendees) {
		r.attendees(n, a)
	}
	a.Respond = data.Bool(wbxml.CalendarResponseRequested, a.Respond)
	a.NoCounter = data.Bool(wbxml.CalendarDisallowNewTimeProposal, a.NoCounter)
	return nil
}

// placeOf makes one line of the parts of a Location (MS-ASAIRS 2.2.2.29).
func placeOf(n *wbxml.Node) string {
	var parts []string
	for _, t := range []wbxml.Tag{
		wbxml.AirSyncBaseAnnotation, wbxml.AirSyncBaseStreet, wbxml.AirSyncBasePostalCode, wbxml.AirSyncBaseCity, wbxml.AirSyncBaseState, wbxml.AirSyncBaseCountry,
	} {
		if v := strings.TrimSpace(n.Get(t)); v != "" {
			parts = append(parts, v)
		}
	}
	return strings.Join(parts, ", ")
}

// maxAttendees bounds those of one appointment.
const maxAttendees = 2000

// attendees reads who is invited. In somebody else's meeting that is not the
// phone's to say.
func (r *appointmentReader) attendees(n *wbxml.Node, a *calendar.Appointment) {
	if r.existing && a.Organizer.Email != "" && !strings.EqualFold(a.Organizer.Email, r.me.Address) {
		return
	}
	was := map[string]calendar.Attendee{}
	for _, x := range a.Attendees {
		was[strings.ToLower(x.Email)] = x
	}
	var now []calendar.Attendee
	seen := map[string]bool{}
	for c := range n.All(wbxml.CalendarAttendee) {
		email := strings.TrimSpace(c.Get(wbxml.CalendarEmail))
		key := strings.ToLower(email)
		// Outlook 2016 sends some without an address; the organizer is no guest.
		if !strings.Contains(email, "@") || seen[key] || strings.EqualFold(email, a.Organizer.Email) || len(now) >= maxAttendees {
			continue
		}
		seen[key] = true
		x, known := was[key]
		if !known {
			x = calendar.Attendee{Person: calendar.Person{Email: email}, Status: 5, Type: 1}
		}
		if name := strings.TrimSpace(c.Get(wbxml.CalendarName)); name != "" && !strings.EqualFold(name, email) {
			x.Name = name
		}
		// From 16.0 on the answers are the server's to know.
		if v, err := c.Int(wbxml.CalendarAttendeeStatus, 0); err == nil && r.version < wbxml.V160 && v >= 2 && v <= 5 {
			x.Status = v
		}
		if v, err := c.Int(wbxml.CalendarAttendeeType, 0); err == nil && v >= 1 && v <= 3 {
			x.Type = v
		}
		now = append(now, x)
	}
	a.Attendees = now
}

// organizer is whoever made the meeting; that does not change.
func (r *appointmentReader) organizer(data *wbxml.Node, a *calendar.Appointment) {
	if a.Organizer.Email != "" {
		return
	}
	if email := strings.TrimSpace(data.Get(wbxml.CalendarOrganizerEmail)); strings.Contains(email, "@") && r.version < wbxml.V160 {
		a.Organizer = calendar.Person{Name: strings.TrimSpace(data.Get(wbxml.CalendarOrganizerName)), Email: email}
	}
	if len(a.Attendees) > 0 && a.Organizer.Email == "" {
		a.Organizer = calendar.Person{Name: r.me.Name, Email: r.me.Address}
	}
	a.Attendees = slices.DeleteFunc(slices.Clone(a.Attendees), func(x calendar.Attendee) bool { return strings.EqualFold(x.Email, a.Organizer.Email) })
	if a.Organizer.Email != "" && len(a.Attendees) == 0 && strings.EqualFold(a.Organizer.Email, r.me.Address) && !r.change {
		a.Organizer = calendar.Person{} // nobody is invited: no meeting
	}
}

// recurrence reads the pattern; an empty one makes a single appointment of a
// series (MS-ASCAL 2.2.2.37).
func (r *appointmentReader) recurrence(data *wbxml.Node, a *calendar.Appointment) error {
	n := data.Child(wbxml.CalendarRecurrence)
	switch {
	case n == nil && !r.omitted():
		return nil
	case n == nil || len(n.Children) == 0:
		a.Recurrence = nil
		if !a.Partial {
			a.Exceptions = nil
		}
		return nil
	}
	p, err := r.pattern(n, calendarPattern, a.Recurrence)
	if err != nil {
		return err
	}
	if v := n.Get(wbxml.CalendarUntil); v != "" {
		t, ok := parseTime(v)
		if !ok {
			return fault.New(fault.Invalid, "Until is no time")
		}
		if a.AllDay && r.version >= wbxml.V160 {
			t = zone.Instant(t, r.zone)
		}
		p.Until = t
		if old := a.Recurrence; old != nil && old.Until.UTC().Truncate(time.Second).Equal(t) {
			p.Until = old.Until
		}
	}
	a.Recurrence = p
	return nil
}

// pattern reads a recurrence but for its end. was is what it was before.
func (s *side) pattern(n *wbxml.Node, t recurrenceTags, was *calendar.Recurrence) (*calendar.Recurrence, error) {
	p := &calendar.Recurrence{Interval: 1, FirstDay: time.Monday}
	if was != nil {
		p.FirstDay = was.FirstDay // of versions that have no word for it
	}
	first := int(p.FirstDay)
	for tag, dst := range map[wbxml.Tag]*int{
		t.kind: &p.Type, t.occurrences: &p.Occurrences, t.interval: &p.Interval, t.dayOfWeek: &p.DayOfWeek,
		t.dayOfMonth: &p.DayOfMonth, t.week: &p.WeekOfMonth, t.month: &p.MonthOfYear, t.firstDay: &first,
	} {
		v, err := n.Int(tag, *dst)
		if err != nil {
			return nil, err
		}
		*dst = v
	}
	if first < 0 || first > 6 {
		return nil, fault.New(fault.Invalid, "FirstDayOfWeek out of range")
	}
	p.FirstDay = time.Weekday(first)
	if c, err := n.Int(t.calendar, 0); err != nil || c > 2 {
		return nil, fault.New(fault.Invalid, "a calendar that is not Gregorian")
	}
	p.Interval = max(p.Interval, 1)
	// Parts that the type has no use for say nothing (MS-ASCAL 2.2.2.37).
	switch p.Type {
	case calendar.TypeDaily, calendar.TypeWeekly:
		p.DayOfMonth, p.WeekOfMonth, p.MonthOfYear = 0, 0, 0
		if p.DayOfWeek != 0 {
			p.Type = calendar.TypeWeekly
		}
	case calendar.TypeMonthly:
		p.DayOfWeek, p.WeekOfMonth, p.MonthOfYear = 0, 0, 0
	case calendar.TypeMonthlyNth:
		p.DayOfMonth, p.MonthOfYear = 0, 0
	case calendar.TypeYearly:
		p.DayOfWeek, p.WeekOfMonth = 0, 0
	case calendar.TypeYearlyNth:
		p.DayOfMonth = 0
	}
	return p, nil
}
