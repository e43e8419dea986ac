package eas

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/mail"
	"waypost/internal/zone"
	"waypost/services/eas/calendar"
	"waypost/services/eas/wbxml"
)

// maxInvitation is the longest calendar in a message that is read for a phone.
const maxInvitation = 1 << 20

var emailPattern = recurrenceTags{
	wbxml.EmailType, wbxml.EmailOccurrences, wbxml.EmailInterval, wbxml.EmailWeekOfMonth, wbxml.EmailDayOfWeek,
	wbxml.EmailDayOfMonth, wbxml.EmailMonthOfYear, wbxml.EmailUntil, wbxml.Email2CalendarType, wbxml.Email2FirstDayOfWeek,
}

// Kinds of instances and of messages (MS-ASEMAIL 2.2.2.43, 2.2.2.47).
const (
	instanceSingle    = 0
	instanceMaster    = 1
	instanceException = 3

	meetingSilent  = 0
	meetingInitial = 1
	meetingUpdate  = 2
)

// writeMeeting writes MeetingRequest of a message that invites, cancels or
// proposes another time (MS-ASEMAIL 2.2.2.48). A calendar that nobody can read
// is none: its message is mail like others.
func (w *itemWriter) writeMeeting(e *wbxml.Encoder, x *message) error {
	switch x.m.Summary.CalendarMethod {
	case "REQUEST", "CANCEL", "COUNTER":
	default:
		return nil
	}
	text := x.calendar()
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil
	}
	parts := series(root)
	if len(parts) == 0 || !parts[0].Is("VEVENT") {
		return nil
	}
	s := &side{version: w.version, opts: w.opts, me: w.who.as, now: time.Now()}
	if s.zone, err = w.zone(); err != nil {
		return err
	}
	a, err := s.calendarSide(ical.ZonesOf(root, s.zone)).Read(parts)
	if err != nil {
		return nil
	}
	e.Start(wbxml.EmailMeetingRequest)
	s.writeInvitation(e, a, parts[0], ical.ZonesOf(root, s.zone), x.m.Summary.CalendarMethod)
	e.End()
	return nil
}

// calendar reads the message's calendar.
func (x *message) calendar() []byte {
	var found *mail.Part
	x.m.Summary.Root.Walk(func(p *mail.Part, _ int) bool {
		if t := p.MediaType(); found == nil && (t == "text/calendar" || t == "application/ics") {
			found = p
		}
		return found == nil && !p.IsMessage()
	})
	if found == nil {
		return nil
	}
	c, err := x.received()
	if err != nil {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(found.Text(c), maxInvitation))
	return b
}

func (s *side) writeInvitation(e *wbxml.Encoder, a *calendar.Appointment, c *ical.Component, zones *ical.Zones, method string) {
	at := func(tag wbxml.Tag, t time.Time) {
		if a.AllDay && s.version >= wbxml.V160 {
			t = zone.Wall(t, t.Location())
		}
		e.Text(tag, t.UTC().Format(dashed))
	}
	instance, id := instanceSingle, time.Time{}
	if t, err := c.Time("RECURRENCE-ID"); err == nil && !t.IsZero() {
		instance = instanceException
		id, _ = zones.Instant(t)
	} else if a.Recurrence != nil || a.Partial {
		instance = instanceMaster
	}
	e.Bool(wbxml.EmailAllDayEvent, a.AllDay)
	start, end := a.Start, a.End
	if method == "COUNTER" {
		start, end = original(c, zones, start, end)
	}
	at(wbxml.EmailStartTime, start)
	stamp := a.Stamp
	if stamp.IsZero() {
		stamp = a.Start
	}
	e.Text(wbxml.EmailDtStamp, stamp.UTC().Format(dashed))
	at(wbxml.EmailEndTime, end)
	e.Int(wbxml.EmailInstanceType, int64(instance))
	switch {
	case a.Location == "":
	case s.version >= wbxml.V160:
		e.Start(wbxml.AirSyncBaseLocation)
		e.Text(wbxml.AirSyncBaseDisplayName, a.Location)
		e.End()
	default:
		e.Text(wbxml.EmailLocation, cutText(a.Location, maxList))
	}
	e.Text(wbxml.EmailOrganizer, joinAddresses([]mail.Address{addressOf(a.Organizer)}, ","))
	if !id.IsZero() {
		at(wbxml.EmailRecurrenceId, id)
	}
	if a.Reminder >= 0 {
		e.Int(wbxml.EmailReminder, int64(a.Reminder)*60) // seconds here (2.2.2.63)
	}
	e.Bool(wbxml.EmailResponseRequested, a.Respond)
	if a.Recurrence != nil {
		e.Start(wbxml.EmailRecurrences)
		e.Start(wbxml.EmailRecurrence)
		until := ""
		if !a.Recurrence.Until.IsZero() {
			until = a.Recurrence.Until.UTC().Format(compact)
		}
		s.writePattern(e, emailPattern, a.Recurrence, until)
		e.End()
		e.End()
	}
	e.Int(wbxml.EmailSensitivity, int64(a.Sensitive))
	e.Int(wbxml.EmailBusyStatus, int64(s.busy(a.Busy)))
	e.Text(wbxml.EmailTimeZone, base64.StdEncoding.EncodeToString(a.Zone.Append(nil)))
	if s.version >= wbxml.V160 {
		e.Text(wbxml.CalendarUID, cutText(a.UID, 300))
	} else {
		e.Text(wbxml.EmailGlobalObjId, base64.StdEncoding.EncodeToString(globalObjID(a.UID, id)))
	}
	if s.version >= wbxml.V140 {
		e.Bool(wbxml.EmailDisallowNewTimeProposal, a.NoCounter)
	}
	if s.version >= wbxml.V161 && method == "COUNTER" {
		e.Text(wbxml.MeetingResponseProposedStartTime, a.Start.UTC().Format(compact))
		e.Text(wbxml.MeetingResponseProposedEndTime, a.End.UTC().Format(compact))
	}
	if s.version >= wbxml.V141 {
		kind := meetingInitial
		switch seq := strings.TrimSpace(c.Text("SEQUENCE")); {
		case method != "REQUEST":
			kind = meetingSilent
		case seq != "" && seq != "0":
			kind = meetingUpdate
		}
		e.Int(wbxml.Email2MeetingMessageType, int64(kind))
	}
}

// original is when the meeting is for which somebody proposes another time, as
// far as the proposal says it ([MS-OXCICAL] 2.1.3.1.1.20.36, .37).
func original(c *ical.Component, zones *ical.Zones, start, end time.Time) (time.Time, time.Time) {
	t, err := c.Time("X-MS-OLK-ORIGINALSTART")
	if err != nil || t.IsZero() {
		return start, end
	}
	length := end.Sub(start)
	start, _ = zones.Instant(t)
	if t, err := c.Time("X-MS-OLK-ORIGINALEND"); err == nil && !t.IsZero() {
		end, _ = zones.Instant(t)
		return start, end
	}
	return start, start.Add(length)
}

func addressOf(p calendar.Person) mail.Address {
	as := mail.ParseAddresses(p.Email)
	if len(as) != 1 {
		return mail.Address{Name: p.Name}
	}
	as[0].Name = p.Name
	return as[0]
}

// outlookID begins every id that Outlook makes.
var outlookID = []byte{4, 0, 0, 0, 0x82, 0, 0xE0, 0, 0x74, 0xC5, 0xB7, 0x10, 0x1A, 0x82, 0xE0, 8}

// globalObjID writes a UID as Outlook keeps it, with the day of the instance
// that is meant, if one is (MS-ASEMAIL 2.2.2.37).
func globalObjID(uid string, instance time.Time) []byte {
	b, err := hex.DecodeString(uid)
	if err != nil || len(b) < 40 || string(b[:16]) != string(outlookID) {
		b = append([]byte(nil), outlookID...)
		b = append(b, make([]byte, 20)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(13+len(uid)))
		b = append(b, "vCal-Uid\x01\x00\x00\x00"...)
		b = append(append(b, uid...), 0)
	}
	clear(b[16:20])
	if !instance.IsZero() {
		binary.BigEndian.PutUint16(b[16:], uint16(instance.Year()))
		b[18], b[19] = byte(instance.Month()), byte(instance.Day())
	}
	return b
}
