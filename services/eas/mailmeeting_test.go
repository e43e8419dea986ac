package eas

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"waypost/services/eas/wbxml"
)

// TestMeetingRequest: an invitation in mail has its fields by version
// (MS-ASEMAIL 2.2.2.48).
func TestMeetingRequest(t *testing.T) {
	m, s := testServer(t)
	m.put(1, samples["invitation"], mailNow, 0)
	for _, v := range itemVersions {
		p := &testPhone{h: s, version: v, device: "m" + itoa(int(v))}
		c := p.sync(t, p.prime(t, "F1"), "F1", "")
		data := c.Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData)
		if got := data.Get(wbxml.EmailMessageClass); got != "IPM.Schedule.Meeting.Request" {
			t.Errorf("%v: class %q", v, got)
		}
		n := data.Child(wbxml.EmailMeetingRequest)
		for tag, want := range map[wbxml.Tag]string{
			wbxml.EmailAllDayEvent: "0", wbxml.EmailStartTime: "2026-12-01T11:00:00.000Z", wbxml.EmailEndTime: "2026-12-01T12:00:00.000Z",
			wbxml.EmailDtStamp: "2026-11-20T10:00:00.000Z", wbxml.EmailInstanceType: "1", wbxml.EmailOrganizer: `"Bob" <bob@example.org>`,
			wbxml.EmailReminder: "900", wbxml.EmailResponseRequested: "1", wbxml.EmailSensitivity: "0", wbxml.EmailBusyStatus: "2",
		} {
			if got := n.Get(tag); got != want {
				t.Errorf("%v: %s is %q, want %q", v, tag.Name(), got, want)
			}
		}
		if b, err := base64.StdEncoding.DecodeString(n.Get(wbxml.EmailTimeZone)); err != nil || len(b) != 172 {
			t.Errorf("%v: zone of %d bytes, %v", v, len(b), err)
		}
		if r := n.Child(wbxml.EmailRecurrences, wbxml.EmailRecurrence); r.Get(wbxml.EmailOccurrences) != "3" || r.Get(wbxml.EmailDayOfWeek) != "4" {
			t.Errorf("%v: pattern %s", v, r)
		}
		place, uid := n.Get(wbxml.EmailLocation), n.Get(wbxml.EmailGlobalObjId)
		if v >= wbxml.V160 {
			place = n.Get(wbxml.AirSyncBaseLocation, wbxml.AirSyncBaseDisplayName)
			if uid = n.Get(wbxml.CalendarUID); uid != "lunch@example.org" {
				t.Errorf("%v: UID %q", v, uid)
			}
		} else if b, err := base64.StdEncoding.DecodeString(uid); err != nil || !strings.HasSuffix(string(b), "vCal-Uid\x01\x00\x00\x00lunch@example.org\x00") {
			t.Errorf("%v: GlobalObjId %q", v, b)
		}
		if place != "Canteen" {
			t.Errorf("%v: place %q", v, place)
		}
		if got := n.Get(wbxml.Email2MeetingMessageType); v >= wbxml.V141 && got != "2" {
			t.Errorf("%v: kind %q", v, got)
		}
	}
}

// TestMeetingRequestOfDays: days are those of the owner's zone; from 16.0 on they
// have none.
func TestMeetingRequestOfDays(t *testing.T) {
	m, s := testServer(t)
	m.settings.Calendar.Zone = "Europe/Berlin"
	m.put(1, samples["days"], mailNow, 0)
	for v, want := range map[wbxml.Version][2]string{
		wbxml.V25:  {"2026-11-30T23:00:00.000Z", "2026-12-02T23:00:00.000Z"},
		wbxml.V141: {"2026-11-30T23:00:00.000Z", "2026-12-02T23:00:00.000Z"},
		wbxml.V161: {"2026-12-01T00:00:00.000Z", "2026-12-03T00:00:00.000Z"},
	} {
		p := &testPhone{h: s, version: v, device: "m" + itoa(int(v))}
		n := p.sync(t, p.prime(t, "F1"), "F1", "").Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData, wbxml.EmailMeetingRequest)
		if got := [2]string{n.Get(wbxml.EmailStartTime), n.Get(wbxml.EmailEndTime)}; got != want {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}

// TestOwnZone: appointments without a zone are where the owner is, unless their
// calendar says where.
func TestOwnZone(t *testing.T) {
	m, s := testServer(t)
	m.object(7, objectSamples["day"])
	for i, tt := range []struct{ own, calendar, want string }{
		{"", "", "20261224T000000Z"}, {"Asia/Tokyo", "", "20261223T150000Z"}, {"Asia/Tokyo", "Europe/Berlin", "20261223T230000Z"},
	} {
		m.settings.Calendar.Zone, m.zone = tt.own, tt.calendar
		p := &testPhone{h: s, version: wbxml.V141, device: "z" + itoa(i)}
		n := p.sync(t, p.prime(t, "F7"), "F7", "").Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData)
		if got := n.Get(wbxml.CalendarStartTime); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// TestProposedTimes: in the mail that proposes and with the attendee (MS-ASCMD
// 2.2.3.140, 2.2.3.141), from 16.1 on.
func TestProposedTimes(t *testing.T) {
	m, s := testServer(t)
	m.put(1, samples["counter"], mailNow, 0)
	m.object(7, strings.Replace(objectSamples["weekly"], "CN=Bob;PARTSTAT=ACCEPTED;X-N=1",
		"CN=Bob;PARTSTAT=TENTATIVE;X-WAYPOST-PROPOSED-FROM=20261202T150000Z;X-WAYPOST-PROPOSED-TO=20261202T160000Z", 1))
	for v, proposed := range map[wbxml.Version]string{wbxml.V160: " ", wbxml.V161: "20261202T150000Z 20261202T160000Z"} {
		p := &testPhone{h: s, version: v, device: "m" + itoa(int(v))}
		first := func(folder string) *wbxml.Node {
			return p.sync(t, p.prime(t, folder), folder, "").Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData)
		}
		n := first("F1").Child(wbxml.EmailMeetingRequest)
		if got := n.Get(wbxml.EmailStartTime) + " " + n.Get(wbxml.EmailEndTime); got != "2026-12-01T10:00:00.000Z 2026-12-01T10:30:00.000Z" {
			t.Errorf("%v: the meeting is at %s", v, got)
		}
		for _, n := range []*wbxml.Node{n, first("F7").Child(wbxml.CalendarAttendees, wbxml.CalendarAttendee)} {
			if got := n.Get(wbxml.MeetingResponseProposedStartTime) + " " + n.Get(wbxml.MeetingResponseProposedEndTime); got != proposed {
				t.Errorf("%v: %q in %s", v, got, n)
			}
		}
	}
}

// An id of Outlook's with the day of one instance, and another's UID.
func TestGlobalObjID(t *testing.T) {
	id := "040000008200E00074C5B7101A82E00800000000900AD080B5F2C901000000000000000010000000B29680BF9E5DC246B5EDDE2"
	id += strings.Repeat("0", 112-len(id))
	b := globalObjID(id, time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC))
	if len(b) != 56 || string(b[16:20]) != "\x07\xEA\x0C\x01" {
		t.Errorf("% x", b)
	}
	if b := globalObjID("u", time.Time{}); len(b) != 54 || b[36] != 14 {
		t.Errorf("% x", b)
	}
}
