package eas

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/itip"
	"waypost/internal/zone"
	"waypost/services/eas/calendar"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// appointmentItems is the class Calendar (MS-ASCAL).
type appointmentItems struct{}

// maxExceptions is how many exceptions of a series a phone is told, the latest
// (MS-ASCAL 2.2.2.21).
const maxExceptions = 256

var calendarBody = bodyTags{body: wbxml.CalendarBody, truncated: wbxml.CalendarBodyTruncated}

// opened is an appointment's text, read.
type opened struct {
	root  *ical.Component
	parts []*ical.Component
	side  calendar.Side
	a     *calendar.Appointment
}

func (s *side) calendarSide(zones *ical.Zones) calendar.Side {
	return calendar.Side{Zones: zones, Me: s.me.Address, Now: s.now, Proposed: itip.Proposed}
}

func (s *side) openAppointment(text []byte) (*opened, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	o := &opened{root: root, parts: series(root), side: s.calendarSide(ical.ZonesOf(root, s.zone))}
	if len(o.parts) == 0 {
		return nil, fault.New(fault.Invalid, "no appointment")
	}
	o.a, err = o.side.Read(o.parts)
	return o, err
}

func (appointmentItems) write(e *wbxml.Encoder, s *side, o *store.Object) error {
	x, err := s.openAppointment(o.Text)
	if err != nil {
		// What nobody can read is shown as a moment, so that its owner sees it.
		at := o.Starts
		if at.IsZero() {
			at = s.now
		}
		writeAppointment(e, s, &calendar.Appointment{UID: o.UID, Start: at, End: at, Subject: "?", Reminder: -1}, bodyText{})
		return e.Err()
	}
	writeAppointment(e, s, x.a, x.body())
	if s.version >= wbxml.V160 {
		writeFiles(e, o.Item, masterOf(x.parts))
	}
	return e.Err()
}

// body is the text of the whole series.
func (x *opened) body() bodyText {
	for _, c := range x.parts {
		if c.Prop("RECURRENCE-ID") == nil || len(x.parts) == 1 {
			return bodyText{plain: x.a.Body, html: htmlOf(c)}
		}
	}
	return bodyText{plain: x.a.Body}
}

// htmlOf is a description as HTML, as Outlook and Exchange write it.
func htmlOf(c *ical.Component) string {
	for _, p := range c.All("X-ALT-DESC") {
		if strings.EqualFold(p.ParamText("FMTTYPE"), "text/html") {
			return unescape(p.Value)
		}
	}
	return ""
}

// when writes a time of an appointment: a moment, and of a whole day from 16.0
// on the midnight that its digits say (MS-ASCAL 2.2.2.1).
func (s *side) when(t time.Time, day bool) string {
	if day && s.version >= wbxml.V160 {
		return zone.Wall(t, t.Location()).Format(compact)
	}
	return t.UTC().Format(compact)
}

func writeAppointment(e *wbxml.Encoder, s *side, a *calendar.Appointment, body bodyText) {
	if !a.AllDay || s.version < wbxml.V160 {
		e.Text(wbxml.CalendarTimezone, base64.StdEncoding.EncodeToString(a.Zone.Append(nil)))
	}
	if !a.Stamp.IsZero() {
		e.Text(wbxml.CalendarDtStamp, a.Stamp.UTC().Format(compact))
	} else {
		e.Text(wbxml.CalendarDtStamp, a.Start.UTC().Format(compact)) // every phone wants one
	}
	writeOne(e, s, a, nil)
	e.Text(wbxml.CalendarUID, cutText(a.UID, 300))
	if a.Organizer.Email != "" {
		if a.Organizer.Name != "" {
			e.Text(wbxml.CalendarOrganizerName, a.Organizer.Name)
		}
		e.Text(wbxml.CalendarOrganizerEmail, a.Organizer.Email)
	} else if len(a.Attendees) > 0 {
		e.Text(wbxml.CalendarOrganizerEmail, s.me.Address)
	}
	writeRecurrence(e, s, a)
	if a.Recurrence != nil {
		writeExceptions(e, s, a)
	}
	s.writeBody(e, body, calendarBody)
}

// writeOne writes what an appointment and an exception have alike. Of an
// exception, what is as in its series is left out (MS-ASCAL 2.2.2.21), but for
// lists that an old phone would then not empty.
func writeOne(e *wbxml.Encoder, s *side, a, of *calendar.Appointment) {
	text := func(tag wbxml.Tag, now, was string) {
		if of == nil && now != "" || of != nil && now != was {
			e.Text(tag, now)
		}
	}
	number := func(tag wbxml.Tag, get func(*calendar.Appointment) int) {
		if of == nil || get(a) != get(of) {
			e.Int(tag, int64(get(a)))
		}
	}
	master := of
	if master == nil {
		master = &calendar.Appointment{}
	}
	e.Text(wbxml.CalendarStartTime, s.when(a.Start, a.AllDay))
	e.Text(wbxml.CalendarEndTime, s.when(a.End, a.AllDay))
	if of == nil || a.AllDay != of.AllDay {
		e.Bool(wbxml.CalendarAllDayEvent, a.AllDay)
	}
	text(wbxml.CalendarSubject, a.Subject, master.Subject)
	if s.version >= wbxml.V160 {
		if of == nil && a.Location != "" || of != nil && a.Location != of.Location {
			e.Start(wbxml.AirSyncBaseLocation)
			if a.Location != "" {
				e.Text(wbxml.AirSyncBaseDisplayName, a.Location)
			}
			e.End()
		}
	} else {
		text(wbxml.CalendarLocation, a.Location, master.Location)
	}
	number(wbxml.CalendarBusyStatus, func(a *calendar.Appointment) int { return s.busy(a.Busy) })
	number(wbxml.CalendarSensitivity, func(a *calendar.Appointment) int { return a.Sensitive })
	switch {
	case of != nil && a.Reminder == of.Reminder:
	case a.Reminder >= 0:
		e.Int(wbxml.CalendarReminder, int64(a.Reminder))
	case of != nil:
		e.Empty(wbxml.CalendarReminder) // cleared
	}
	if of == nil || !slices.Equal(a.Categories, of.Categories) {
		if of != nil && len(a.Categories) == 0 {
			e.Empty(wbxml.CalendarCategories)
		}
		writeList(e, wbxml.CalendarCategories, wbxml.CalendarCategory, a.Categories)
	}
	number(wbxml.CalendarMeetingStatus, func(a *calendar.Appointment) int { return a.Meeting })
	// In an exception attendees are of 14.0 and later.
	if of == nil || s.version >= wbxml.V140 && !slices.Equal(a.Attendees, of.Attendees) {
		if of != nil && len(a.Attendees) == 0 {
			e.Empty(wbxml.CalendarAttendees) // none, unlike the series
		}
		writeAttendees(e, s, a)
	}
	if s.version < wbxml.V140 {
		return
	}
	if of == nil || a.Respond != of.Respond {
		if of == nil { // the element is of the whole appointment
			e.Bool(wbxml.CalendarResponseRequested, a.Respond)
		}
	}
	number(wbxml.CalendarResponseType, func(a *calendar.Appointment) int { return a.Response })
	if !a.Replied.IsZero() && (of == nil || !a.Replied.Equal(of.Replied)) {
		e.Text(wbxml.CalendarAppointmentReplyTime, a.Replied.UTC().Format(compact))
	}
	if of == nil {
		e.Bool(wbxml.CalendarDisallowNewTimeProposal, a.NoCounter)
	}
	if s.version >= wbxml.V141 {
		text(wbxml.CalendarOnlineMeetingConfLink, a.Online.Conference, master.Online.Conference)
		text(wbxml.CalendarOnlineMeetingExternalLink, a.Online.Link, master.Online.Link)
	}
}

// busy is a state of free/busy as a version knows it: working elsewhere is of
// 16.0 and later, before it one was free (MS-ASCAL 2.2.2.11).
func (s *side) busy(b int) int {
	if b == 4 && s.version < wbxml.V160 {
		return 0
	}
	return b
}

func writeAttendees(e *wbxml.Encoder, s *side, of *calendar.Appointment) {
	if len(of.Attendees) == 0 {
		return
	}
	e.Start(wbxml.CalendarAttendees)
	for _, a := range of.Attendees {
		e.Start(wbxml.CalendarAttendee)
		e.Text(wbxml.CalendarEmail, a.Email)
		name := a.Name
		if name == "" {
			name = a.Email
		}
		e.Text(wbxml.CalendarName, name)
		if s.version >= wbxml.V120 {
			e.Int(wbxml.CalendarAttendeeStatus, int64(a.Status))
			e.Int(wbxml.CalendarAttendeeType, int64(a.Type))
		}
		if p, ok := of.Proposed[strings.ToLower(a.Email)]; ok && s.version >= wbxml.V161 {
			e.Text(wbxml.MeetingResponseProposedStartTime, p.Start.UTC().Format(compact))
			e.Text(wbxml.MeetingResponseProposedEndTime, p.End.UTC().Format(compact))
		}
		e.End()
	}
	e.End()
}

// recurrenceTags are the elements of a pattern, which Calendar, Tasks and Email
// have each on a page of their own.
type recurrenceTags struct {
	kind, occurrences, interval, week, dayOfWeek, dayOfMonth, month, until, calendar, firstDay wbxml.Tag
}

var calendarPattern = recurrenceTags{
	wbxml.CalendarType, wbxml.CalendarOccurrences, wbxml.CalendarInterval, wbxml.CalendarWeekOfMonth, wbxml.CalendarDayOfWeek,
	wbxml.CalendarDayOfMonth, wbxml.CalendarMonthOfYear, wbxml.CalendarUntil, wbxml.CalendarCalendarType, wbxml.CalendarFirstDayOfWeek,
}

func writeRecurrence(e *wbxml.Encoder, s *side, a *calendar.Appointment) {
	r := a.Recurrence
	if r == nil {
		return
	}
	e.Start(wbxml.CalendarRecurrence)
	until := ""
	if !r.Until.IsZero() {
		until = s.when(r.Until.In(a.Start.Location()), a.AllDay)
	}
	s.writePattern(e, calendarPattern, r, until)
	e.End()
}

// writePattern writes the elements of a pattern that its type has (MS-ASCAL
// 2.2.2.37).
func (s *side) writePattern(e *wbxml.Encoder, t recurrenceTags, r *calendar.Recurrence, until string) {
	e.Int(t.kind, int64(r.Type))
	if r.Occurrences > 0 {
		e.Int(t.occurrences, int64(r.Occurrences))
	}
	e.Int(t.interval, int64(max(r.Interval, 1)))
	switch r.Type {
	case calendar.TypeWeekly:
		e.Int(t.dayOfWeek, int64(r.DayOfWeek))
	case calendar.TypeMonthly, calendar.TypeYearly:
		e.Int(t.dayOfMonth, int64(r.DayOfMonth))
	case calendar.TypeMonthlyNth, calendar.TypeYearlyNth:
		e.Int(t.week, int64(r.WeekOfMonth))
		e.Int(t.dayOfWeek, int64(r.DayOfWeek))
	}
	if r.Type == calendar.TypeYearly || r.Type == calendar.TypeYearlyNth {
		e.Int(t.month, int64(r.MonthOfYear))
	}
	if until != "" && r.Occurrences == 0 {
		e.Text(t.until, until)
	}
	if r.Type >= calendar.TypeMonthly && s.version >= wbxml.V140 {
		e.Int(t.calendar, 1) // Gregorian
	}
	if r.Type == calendar.TypeWeekly && s.version >= wbxml.V141 {
		e.Int(t.firstDay, int64(r.FirstDay))
	}
}

// hidden is how many exceptions, the first of them, a phone is not told.
func hidden(a *calendar.Appointment) int { return max(len(a.Exceptions)-maxExceptions, 0) }

func writeExceptions(e *wbxml.Encoder, s *side, a *calendar.Appointment) {
	if len(a.Exceptions) == 0 {
		return
	}
	e.Start(wbxml.CalendarExceptions)
	for _, ex := range a.Exceptions[hidden(a):] {
		e.Start(wbxml.CalendarException)
		at := s.when(ex.Original.In(a.Start.Location()), a.AllDay)
		if s.version >= wbxml.V160 {
			e.Text(wbxml.AirSyncBaseInstanceId, at)
		} else {
			e.Text(wbxml.CalendarExceptionStartTime, at)
		}
		if ex.Deleted || ex.Changed == nil {
			e.Text(wbxml.CalendarDeleted, "1")
			e.End()
			continue
		}
		c := ex.Changed
		writeOne(e, s, c, a)
		if c.Body != a.Body {
			if s.version < wbxml.V120 {
				e.Text(wbxml.CalendarBody, crlf(c.Body))
			} else {
				s.writeText(e, bodyText{plain: c.Body})
			}
		}
		e.End()
	}
	e.End()
}
