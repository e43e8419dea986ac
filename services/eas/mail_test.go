package eas

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/store"
)

// mailNow is the clock of the conversations about mail.
var mailNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestMailConversations(t *testing.T) {
	for _, files := range []string{"mail-*.txt", "items-*.txt"} {
		converse(t, files, mailDoor)
	}
}

// mailDoor is a door with a mailbox, and what may happen behind a phone's back.
func mailDoor(t *testing.T) (http.Handler, map[string]func([]string) error) {
	m := newMemory()
	now := mailNow
	s := New(m, m, m, Options{Log: quiet(), Now: func() time.Time { return now }, MinHeartbeat: time.Second})
	t.Cleanup(s.Stop)
	ctx, as := context.Background(), directory.System("test")
	item := func(text string) store.ItemID { i, _ := store.ParseItemID(text); return i }
	folder := func(text string) store.FolderID { f, _ := store.ParseFolderID(text); return f }
	return s, map[string]func([]string) error{
		// deliver FOLDER HOURS SUBJECT…
		"deliver": func(a []string) error {
			h, err := strconv.Atoi(a[1])
			m.put(folder(a[0]), plainMail(strings.Join(a[2:], " ")), now.Add(-time.Duration(h)*time.Hour), 0)
			return err
		},
		// file FOLDER NAME: a message of testdata.
		"file": func(a []string) error {
			m.put(folder(a[0]), samples[a[1]], now, 0)
			return nil
		},
		"read": func(a []string) error {
			_, err := m.Flag(ctx, as, 7, store.FlagChange{Folder: folder(a[0]), Items: []store.ItemID{item(a[1])}, Set: store.Seen})
			return err
		},
		"delete": func(a []string) error {
			_, _, err := m.Delete(ctx, as, 7, folder(a[0]), []store.ItemID{item(a[1])}, false)
			return err
		},
		"move": func(a []string) error {
			_, err := m.Move(ctx, as, 7, folder(a[0]), []store.ItemID{item(a[1])}, folder(a[2]))
			return err
		},
		"hours": func(a []string) error {
			h, err := strconv.Atoi(a[0])
			now = now.Add(time.Duration(h) * time.Hour)
			return err
		},
		"floor": func(a []string) error {
			m.floor[folder(a[0])] = m.seq + 1
			return nil
		},
		// is FOLDER ITEM WHAT…: what the store holds.
		"is": func(a []string) error {
			it := m.items[item(a[1])]
			got := "gone"
			if it != nil && !it.gone {
				got = it.e.Folder.String()
				if it.e.Flags&store.Seen != 0 {
					got += " read"
				}
				if it.e.Flags&store.Flagged != 0 {
					got += " flagged"
				}
				for _, k := range it.e.Keywords {
					got += " " + k
				}
				if it.e.Props != nil && it.e.Props.FollowUp != nil {
					got += " " + it.e.Props.FollowUp.Type
				}
			}
			if want := strings.Join(append(a[:1:1], a[2:]...), " "); got != want {
				return fmt.Errorf("%s is %q, want %q", a[1], got, want)
			}
			return nil
		},
		"sent": func(a []string) error {
			if got := strconv.Itoa(len(m.outbox)); got != a[0] {
				return fmt.Errorf("%s messages sent, want %s", got, a[0])
			}
			return nil
		},
		// object FOLDER NAME: an object of objectSamples.
		"object": func(a []string) error {
			m.object(folder(a[0]), objectSamples[a[1]])
			return nil
		},
		// edit ITEM OLD => NEW: another door changes a text.
		"edit": func(a []string) error {
			old, now, _ := strings.Cut(strings.Join(a[1:], " "), " => ")
			if !strings.Contains(m.text(item(a[0])), old) {
				return fmt.Errorf("%s has no %q", a[0], old)
			}
			return m.rewrite(item(a[0]), func(text string) string { return strings.Replace(text, old, now, 1) })
		},
		// has ITEM WORDS…: what its text says.
		"has": func(a []string) error {
			if want := strings.Join(a[1:], " "); !strings.Contains(m.text(item(a[0])), want) {
				return fmt.Errorf("no %q in\n%s", want, m.text(item(a[0])))
			}
			return nil
		},
		"lacks": func(a []string) error {
			if want := strings.Join(a[1:], " "); strings.Contains(m.text(item(a[0])), want) {
				return fmt.Errorf("%q in\n%s", want, m.text(item(a[0])))
			}
			return nil
		},
		"zone": func(a []string) error { m.zone = a[0]; return nil },
	}
}

// samples are messages that conversations name.
var samples = map[string]string{
	"files": strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>, =?utf-8?q?Z=C3=BCrich?= <z@example.org>", "Cc: c@example.org",
		"Subject: Two files", "Message-ID: <files@example.org>", "Date: Mon, 2 Mar 2026 10:00:00 +0000", "Importance: high",
		"MIME-Version: 1.0", `Content-Type: multipart/mixed; boundary="m"`, "",
		"--m", `Content-Type: multipart/related; boundary="r"`, "",
		"--r", "Content-Type: text/html; charset=utf-8", "", `<html><body><p>Look: <img src="cid:pic"></p></body></html>`,
		"--r", "Content-Type: image/png", "Content-ID: <pic>", "Content-Transfer-Encoding: base64", "", "iVBORw0KGgo=", "--r--",
		"--m", `Content-Type: text/plain; name="notes.txt"`, `Content-Disposition: attachment; filename="notes.txt"`, "", "0123456789", "--m--", "",
	}, "\n"),
	"invitation": strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>", "Subject: Lunch", "Message-ID: <invite@example.org>",
		"MIME-Version: 1.0", `Content-Type: text/calendar; method=REQUEST; charset=utf-8`, "",
		"BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:lunch@example.org", "DTSTAMP:20261120T100000Z", "SEQUENCE:1",
		"DTSTART;TZID=Europe/Berlin:20261201T120000", "DTEND;TZID=Europe/Berlin:20261201T130000", "RRULE:FREQ=WEEKLY;COUNT=3",
		"SUMMARY:Lunch", "LOCATION:Canteen", "ORGANIZER;CN=Bob:mailto:bob@example.org",
		"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:ann@example.test",
		"BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT15M", "DESCRIPTION:x", "END:VALARM", "END:VEVENT", "END:VCALENDAR", "",
	}, "\n"),
	"days": strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>", "Subject: Fair", "Message-ID: <fair@example.org>",
		"MIME-Version: 1.0", `Content-Type: text/calendar; method=REQUEST; charset=utf-8`, "",
		"BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:fair@example.org", "DTSTAMP:20261120T100000Z",
		"DTSTART;VALUE=DATE:20261201", "DTEND;VALUE=DATE:20261203", "SUMMARY:Fair", "ORGANIZER;CN=Bob:mailto:bob@example.org",
		"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:ann@example.test", "END:VEVENT", "END:VCALENDAR", "",
	}, "\n"),
	"counter": strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>", "Subject: New time proposed: Talk", "Message-ID: <counter@example.org>",
		"MIME-Version: 1.0", `Content-Type: text/calendar; method=COUNTER; charset=utf-8`, "",
		"BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:COUNTER", "BEGIN:VEVENT", "UID:talk@example.test", "DTSTAMP:20261120T100000Z",
		"X-MS-OLK-ORIGINALSTART:20261201T100000Z", "X-MS-OLK-ORIGINALEND:20261201T103000Z",
		"DTSTART:20261202T150000Z", "DTEND:20261202T160000Z", "SUMMARY:Talk", "ORGANIZER:mailto:ann@example.test",
		"ATTENDEE;PARTSTAT=TENTATIVE:mailto:bob@example.org", "END:VEVENT", "END:VCALENDAR", "",
	}, "\n"),
	"meeting": strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>", "Subject: Accepted: Lunch", "Message-ID: <meet@example.org>",
		"MIME-Version: 1.0", `Content-Type: text/calendar; method=REPLY; charset=utf-8`, "",
		"BEGIN:VCALENDAR", "METHOD:REPLY", "BEGIN:VEVENT", "ATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.org", "END:VEVENT", "END:VCALENDAR", "",
	}, "\n"),
}
