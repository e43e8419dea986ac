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
func (w *itemWriter) writeMeeting(e *wbxml.Encoder, x *message) {
	switch x.m.Summary.CalendarMethod {
	case "REQUEST", "CANCEL", "COUNTER":
	default:
		return
	}
	text := x.calendar()
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return
	}
	parts := series(root)
	if len(parts) == 0 || !parts[0].Is("VEVENT") {
		return
	}
	s := &side{version: w.version, opts: w.opts, me: w.who.as, zone: time.UTC, now: time.Now()}
	a, err := s.calendarSide(ical.ZonesOf(root, s.zone)).Read(parts)
	if err != nil {
		return
	}
	e.Start(wbxml.EmailMeetingRequest)
	s.writeInvitation(e, a, parts[0], ical.ZonesOf(root, s.zone), x.m.Summary.CalendarMethod)
	e.End()
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
	at(wbxml.EmailStartTime, a.Start)
	stamp := a.Stamp
	if stamp.IsZero() {
		stamp = a.Start
	}
	e.Text(wbxml.EmailDtStamp, stamp.UTC().Format(dashed))
	at(wbxml.EmailEndTime, a.End)
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
