package eas

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/ical"
	"waypost/internal/vcard"
	"waypost/internal/zone"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

var itemVersions = []wbxml.Version{wbxml.V25, wbxml.V120, wbxml.V121, wbxml.V140, wbxml.V141, wbxml.V160, wbxml.V161}

func testSide(v wbxml.Version) *side {
	o := defaultOptions()
	return &side{version: v, opts: &o, me: annPrincipal, zone: time.UTC, now: mailNow, made: "made"}
}

// show is an object as a phone gets it.
func show(t testing.TB, c itemClass, s *side, o *store.Object) *wbxml.Node {
	t.Helper()
	n, err := treeOf(func(e *wbxml.Encoder) error {
		e.Start(wbxml.AirSyncApplicationData)
		defer e.End()
		return c.write(e, s, o)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign(n, s.version); err != nil {
		t.Fatalf("%v in\n%s", err, n)
	}
	return n
}

// serversOnly are the elements that phones never send from 16.0 on.
var serversOnly = []wbxml.Tag{
	wbxml.CalendarUID, wbxml.CalendarDtStamp, wbxml.CalendarOrganizerEmail, wbxml.CalendarOrganizerName, wbxml.CalendarExceptions,
}

// never are those that they never send at all.
var never = []wbxml.Tag{
	wbxml.AirSyncBaseAttachments, wbxml.CalendarOnlineMeetingConfLink, wbxml.CalendarOnlineMeetingExternalLink, wbxml.CalendarAppointmentReplyTime, wbxml.CalendarResponseType, wbxml.AirSyncBaseNativeBodyType, wbxml.NotesLastModifiedDate,
}

// said is what a phone says of an item that it was shown.
func said(n *wbxml.Node, v wbxml.Version) *wbxml.Node {
	return wbxml.New(n.Tag, slices.DeleteFunc(slices.Clone(n.Children), func(c *wbxml.Node) bool {
		return slices.Contains(never, c.Tag) || v >= wbxml.V160 && slices.Contains(serversOnly, c.Tag)
	})...)
}

// nameless takes the names out of a zone, which are not kept.
func nameless(n *wbxml.Node) {
	z := n.Child(wbxml.CalendarTimezone)
	if z == nil {
		return
	}
	b, _ := base64.StdEncoding.DecodeString(z.Text)
	if info, err := zone.ParseInfo(b); err == nil {
		info.StandardName, info.DaylightName = "", ""
		z.Text = base64.StdEncoding.EncodeToString(info.Append(nil))
	}
}

// difference lists the lines that only one of two texts has.
func difference(got, want string) string {
	var b strings.Builder
	for _, side := range [][3]string{{"+", got, want}, {"-", want, got}} {
		other := strings.Split(side[2], "\n")
		for line := range strings.SplitSeq(side[1], "\n") {
			if !slices.Contains(other, line) {
				b.WriteString("\n" + side[0] + strings.TrimSpace(line))
			}
		}
	}
	return b.String()
}

// sayAgain tries on one object that a phone which says what it was shown
// changes nothing, and that what it makes of it elsewhere is shown the same.
func sayAgain(t *testing.T, c itemClass, name string, text []byte) {
	t.Helper()
	for _, v := range itemVersions {
		if c == (noteItems{}) && v < wbxml.V140 {
			continue
		}
		s := testSide(v)
		old := &store.Object{Text: text, UID: "made"}
		n := show(t, c, s, old)
		data := said(n, v)
		e, err := c.edit(s, old, &syncCommand{kind: commandChange, data: data})
		if err != nil {
			t.Errorf("%s, %v: %v in\n%s", name, v, err, n)
			continue
		}
		if !bytes.Equal(e.text, text) {
			t.Errorf("%s, %v: said again: %s", name, v, difference(string(e.text), string(text)))
			return
		}
		if e.altered {
			t.Errorf("%s, %v: altered", name, v)
			return
		}
		add := &syncCommand{kind: commandAdd, data: data}
		s.made = c.uid(add, "once")
		if e, err = c.edit(s, nil, add); err != nil {
			t.Errorf("%s, %v: made anew: %v in\n%s", name, v, err, n)
			continue
		}
		again := said(show(t, c, s, &store.Object{Text: e.text}), v)
		if v >= wbxml.V160 { // a new meeting is the phone's own, and nobody has answered
			mine := func(n *wbxml.Node) bool {
				return n.Tag == wbxml.CalendarMeetingStatus || n.Tag == wbxml.CalendarAttendees
			}
			again.Children, data.Children = slices.DeleteFunc(again.Children, mine), slices.DeleteFunc(data.Children, mine)
		}
		nameless(again)
		nameless(data)
		if organizer := data.Get(wbxml.CalendarOrganizerEmail); organizer != "" && !strings.Contains(organizer, "@") {
			continue // cannot be written to, so it is not taken
		}
		if got, want := again.String(), data.String(); got != want && !e.altered {
			t.Errorf("%s, %v: made anew: %s\ntext\n%s", name, v, difference(got, want), e.text)
			return
		}
	}
}

// TestItemsOfTheCorpus: nothing of any calendar or address book is lost or
// changed by a phone that says it again.
func TestItemsOfTheCorpus(t *testing.T) {
	classes := map[string]itemClass{"VEVENT": appointmentItems{}, "VTODO": taskItems{}, "VJOURNAL": noteItems{}}
	n, stamped := map[string]int{}, 0
	for row, data := range corpus.Each(t, "ics") {
		root, _, err := ical.Parse(data, ical.Import)
		if err != nil {
			continue
		}
		for _, parts := range ical.Series(root) {
			c := classes[parts[0].Name]
			if c == nil || strings.TrimSpace(parts[0].Text("UID")) != parts[0].Text("UID") || parts[0].Text("UID") == "" {
				continue
			}
			cal := &ical.Component{Name: "VCALENDAR"}
			cal.SetValue("VERSION", "2.0")
			for _, top := range root.Children {
				cal.Children = append(cal.Children, top.Parts("VTIMEZONE")...)
			}
			cal.Children = append(cal.Children, parts...)
			text := cal.Append(nil)
			if len(text) > 1<<20 {
				continue
			}
			if c == (appointmentItems{}) {
				if x, err := testSide(wbxml.V141).openAppointment(text); err != nil || x.a.Stamp.IsZero() {
					stamped++ // a phone gives it a stamp
					continue
				}
			}
			n[parts[0].Name]++
			sayAgain(t, c, row["path"]+" "+parts[0].Text("UID"), text)
		}
	}
	for row, data := range corpus.Each(t, "vcard") {
		cards, _, err := vcard.Parse(data, vcard.Import)
		if err != nil {
			continue
		}
		for _, card := range cards {
			text := card.Append(nil)
			if strings.TrimSpace(card.Text("FN")) == "" {
				continue // Write gives it one
			}
			n["VCARD"]++
			sayAgain(t, contactItems{}, row["path"]+" "+card.Text("FN"), text)
		}
	}
	t.Logf("%v, %d without a stamp", n, stamped)
}

// FuzzItems: whatever a phone says of whatever object, the text stays one that
// can be read, and saying it again changes nothing more.
func FuzzItems(f *testing.F) {
	classes := []itemClass{appointmentItems{}, contactItems{}, taskItems{}, noteItems{}}
	samples := map[int][]string{0: {"weekly", "day"}, 1: {"ash"}, 2: {"task"}, 3: {"note"}}
	for k, names := range samples {
		for _, name := range names {
			for vi, v := range itemVersions {
				if k == 3 && v < wbxml.V140 {
					continue
				}
				text := crlf(strings.TrimLeft(objectSamples[name], "\n"))
				n := show(f, classes[k], testSide(v), &store.Object{Text: []byte(text)})
				b, err := wbxml.Marshal(n)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(byte(k), byte(vi), []byte(text), b, "")
				f.Add(byte(k), byte(vi), []byte(text), b, "20261116T080000Z")
			}
		}
	}
	f.Fuzz(func(t *testing.T, k, vi byte, text, doc []byte, instance string) {
		c, s := classes[int(k)%len(classes)], testSide(itemVersions[int(vi)%len(itemVersions)])
		data := wbxml.NewDecoder(bytes.NewReader(doc), wbxml.Limits{}).Tree(nil)
		old := &store.Object{Text: text}
		cmd := &syncCommand{kind: commandChange, data: data, instance: instance}
		if len(text) == 0 {
			old, cmd.kind, s.made = nil, commandAdd, c.uid(cmd, "once")
		}
		if data == nil {
			return
		}
		e, err := c.edit(s, old, cmd)
		if err != nil {
			return
		}
		made := &store.Object{Text: e.text}
		again, err := c.edit(s, made, &syncCommand{kind: commandChange, data: data, instance: instance})
		if err != nil && c != (appointmentItems{}) { // an instance may be gone by then
			t.Fatalf("%v of\n%s", err, e.text)
		}
		if err == nil && old != nil && !e.altered && !bytes.Equal(again.text, e.text) {
			t.Errorf("said again: %s", difference(string(again.text), string(e.text)))
		}
		_, _ = treeOf(func(e *wbxml.Encoder) error {
			e.Start(wbxml.AirSyncApplicationData)
			defer e.End()
			return c.write(e, s, made)
		})
	})
}
