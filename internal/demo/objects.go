package demo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// Room is the address of the room.
const Room = "room1"

// Object is an event, contact, task or note for one mailbox.
type Object struct {
	To   string // the mailbox's local part
	Role string // of the folder: "calendar", "contacts", "tasks" or "notes"
	UID  string
	Text []byte
}

// Objects makes the calendars, contacts, tasks and notes of all people as of
// now: around the week of that day, the same for every moment of it.
func Objects(now time.Time) []Object {
	day := now.UTC().Truncate(24 * time.Hour)
	d := &desk{day: day, monday: day.AddDate(0, 0, -int(day.Weekday()+6)%7)}
	d.meetings()
	d.appointments()
	d.tasks()
	d.notes()
	d.contacts()
	return d.out
}

// desk is where the objects are written.
type desk struct {
	day    time.Time // of now
	monday time.Time // of its week
	out    []Object
}

// zoneHere is the organisation's.
const zoneHere = "Europe/London"

// at is a time in the organisation's zone: days after this week's Monday.
func (d *desk) at(days, hour, minute int) string { return d.in(zoneHere, days, hour, minute) }

func (d *desk) in(zone string, days, hour, minute int) string {
	return ";TZID=" + zone + ":" + d.monday.AddDate(0, 0, days).Format("20060102") + fmt.Sprintf("T%02d%02d00", hour, minute)
}

// on is a day.
func (d *desk) on(days int) string {
	return ";VALUE=DATE:" + d.monday.AddDate(0, 0, days).Format("20060102")
}

// nth is how many days after this week's Monday a month has its nth such day
// of the week, counted from its end when n is negative.
func (d *desk) nth(months int, day time.Weekday, n int) int {
	first := time.Date(d.day.Year(), d.day.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	at := first.AddDate(0, 0, (int(day-first.Weekday())+7)%7+7*(n-1))
	if n < 0 {
		last := first.AddDate(0, 1, -1)
		at = last.AddDate(0, 0, -(int(last.Weekday()-day)+7)%7+7*(n+1))
	}
	return d.since(at)
}

func (d *desk) since(day time.Time) int { return int(day.Sub(d.monday).Hours() / 24) }

// stamp is a moment, days before today.
func (d *desk) stamp(days int) string { return d.day.AddDate(0, 0, -days).Format("20060102T070000Z") }

func uid(name string) string { return "demo-" + name + "@" + Domain }

func text(name, value string) string { return name + ":" + contentline.Escape(value) }

// part is a component: the properties that all have, and lines.
func (d *desk) part(kind, name string, lines ...string) string {
	all := []string{"BEGIN:" + kind, "UID:" + uid(name), "DTSTAMP:" + d.stamp(7), "CREATED:" + d.stamp(7), "LAST-MODIFIED:" + d.stamp(7)}
	return strings.Join(append(append(all, lines...), "END:"+kind), "\r\n") + "\r\n"
}

func (d *desk) put(to, role, name string, parts ...string) {
	text := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Waypost//Demonstration//EN\r\n" + strings.Join(parts, "") + "END:VCALENDAR\r\n"
	root, _, err := ical.Parse([]byte(text), ical.Object)
	if err != nil {
		panic(err) // the texts are below
	}
	d.out = append(d.out, Object{To: to, Role: role, UID: uid(name), Text: root.Children[0].Append(nil)})
}

func (d *desk) event(to, name, summary string, lines ...string) {
	d.put(to, "calendar", name, d.part("VEVENT", name, append([]string{text("SUMMARY", summary)}, lines...)...))
}

func nameOf(local string) string {
	for _, p := range People() {
		if p.Local == local {
			return p.Name
		}
	}
	return "Room 1"
}

// guest is somebody who is invited, and the answer.
type guest struct{ local, answer string }

// meeting puts a meeting into the calendars of its organizer, of all who are
// invited and have not declined, and of the room. series are the lines of each
// component, the series' own first.
func (d *desk) meeting(organizer, name string, guests []guest, series ...[]string) {
	people := []string{
		"ORGANIZER;CN=" + nameOf(organizer) + ":mailto:" + organizer + "@" + Domain,
		"ATTENDEE;CN=" + nameOf(organizer) + ";ROLE=CHAIR;PARTSTAT=ACCEPTED:mailto:" + organizer + "@" + Domain,
	}
	for _, g := range guests {
		kind := ""
		if g.local == Room {
			kind = ";CUTYPE=ROOM;ROLE=NON-PARTICIPANT"
		}
		ask := ""
		if g.answer == "NEEDS-ACTION" {
			ask = ";RSVP=TRUE"
		}
		people = append(people, "ATTENDEE;CN="+nameOf(g.local)+kind+";PARTSTAT="+g.answer+ask+":mailto:"+g.local+"@"+Domain)
	}
	for _, g := range append([]guest{{organizer, "ACCEPTED"}}, guests...) {
		busy := "BUSY"
		switch g.answer {
		case "DECLINED":
			continue
		case "NEEDS-ACTION", "TENTATIVE":
			busy = "TENTATIVE"
		}
		var parts []string
		for _, lines := range series {
			all := append(append([]string{}, lines...), people...)
			parts = append(parts, d.part("VEVENT", name, append(all, "SEQUENCE:0", "X-MICROSOFT-CDO-BUSYSTATUS:"+busy)...))
		}
		d.put(g.local, "calendar", name, parts...)
	}
}

func (d *desk) meetings() {
	const alarm = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:Reminder\r\nTRIGGER:-PT15M\r\nEND:VALARM"
	d.meeting("alice", "monday", []guest{{"bob", "ACCEPTED"}, {"carol", "ACCEPTED"}, {"dave", "TENTATIVE"}, {Room, "ACCEPTED"}},
		[]string{
			"SUMMARY:Monday meeting", "LOCATION:Room 1", text("DESCRIPTION", "The week, the workshop, open questions.\nWhoever is first makes the coffee."), "CATEGORIES:Team",
			"DTSTART" + d.at(-56, 9, 30), "DTEND" + d.at(-56, 10, 15), "RRULE:FREQ=WEEKLY;BYDAY=MO", "EXDATE" + d.at(14, 9, 30), alarm,
		},
		[]string{"SUMMARY:Monday meeting (on Tuesday this once)", "LOCATION:Room 1", "RECURRENCE-ID" + d.at(7, 9, 30), "DTSTART" + d.at(8, 11, 0), "DTEND" + d.at(8, 11, 45)},
		[]string{"SUMMARY:Monday meeting", "LOCATION:Room 1", text("DESCRIPTION", "With the figures of the quarter."), "RECURRENCE-ID" + d.at(21, 9, 30), "DTSTART" + d.at(21, 9, 30), "DTEND" + d.at(21, 11, 0)})
	d.meeting("bob", "safety", []guest{{"alice", "ACCEPTED"}, {"carol", "NEEDS-ACTION"}, {"dave", "DECLINED"}, {Room, "ACCEPTED"}},
		[]string{"SUMMARY:Workshop safety briefing", "LOCATION:Room 1", text("DESCRIPTION", "It lasts 45 minutes; everybody who enters the workshop has to attend."), "DTSTART" + d.at(9, 14, 0), "DTEND" + d.at(9, 14, 45), alarm})
	d.meeting("carol", "budget", []guest{{"alice", "ACCEPTED"}, {"bob", "TENTATIVE"}, {Room, "ACCEPTED"}},
		[]string{"SUMMARY:Budget of next year", "LOCATION:Room 1", "CATEGORIES:Finance", "DTSTART" + d.at(3, 10, 0), "DTEND" + d.at(3, 12, 0), alarm})
	d.meeting("dave", "poster", []guest{{"alice", "NEEDS-ACTION"}, {"bob", "ACCEPTED"}},
		[]string{"SUMMARY:Poster for the open day", text("LOCATION", "Drawing table, by the window"), "DTSTART" + d.at(4, 15, 0), "DTEND" + d.at(4, 15, 30)})
	d.meeting("alice", "review", []guest{{"carol", "ACCEPTED"}, {Room, "ACCEPTED"}},
		[]string{"SUMMARY:Review of the quarter", "LOCATION:Room 1", "CLASS:CONFIDENTIAL", "DTSTART" + d.at(-4, 13, 0), "DTEND" + d.at(-4, 14, 0)})
}

func (d *desk) appointments() {
	// Across zones.
	d.event("alice", "kobo", "Call with 山田さん, Kobo", "DTSTART"+d.in("Asia/Tokyo", 3, 17, 0), "DTEND"+d.in("Asia/Tokyo", 3, 17, 30), "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=10",
		text("LOCATION", "https://meet.example.test/kobo"), "URL:https://meet.example.test/kobo")
	d.event("alice", "flight", "Flight LHR - CGN", "DTSTART"+d.at(10, 17, 20), "DTEND"+d.in("Europe/Berlin", 10, 19, 45), "LOCATION:London Heathrow", "X-MICROSOFT-CDO-BUSYSTATUS:OOF")
	agency := d.nth(0, time.Wednesday, 2)
	d.event("dave", "newyork", "Agency in New York", "DTSTART"+d.in("America/New_York", agency, 10, 0), "DTEND"+d.in("America/New_York", agency, 11, 0), "RRULE:FREQ=MONTHLY;BYDAY=2WE;COUNT=6")
	// Whole days.
	d.event("alice", "fair", "Trade fair, Cologne", "DTSTART"+d.on(11), "DTEND"+d.on(14), "LOCATION:Köln", "X-MICROSOFT-CDO-BUSYSTATUS:OOF")
	d.event("bob", "holiday", "Holiday", "DTSTART"+d.on(28), "DTEND"+d.on(42), "X-MICROSOFT-CDO-BUSYSTATUS:OOF")
	d.event("carol", "birthday", "Mum's birthday", "DTSTART;VALUE=DATE:19580314", "RRULE:FREQ=YEARLY", "TRANSP:TRANSPARENT", "CLASS:PRIVATE", "CATEGORIES:Birthday")
	for _, p := range People() {
		d.event(p.Local, "openday-"+p.Local, "Open day", "DTSTART"+d.on(26), "DTEND"+d.on(27), "TRANSP:TRANSPARENT", "CATEGORIES:Everybody")
	}
	// Series of all sorts.
	d.event("bob", "press", "Press: maintenance", "DTSTART"+d.at(d.nth(-3, time.Friday, -1), 16, 0), "DURATION:PT1H30M", "RRULE:FREQ=MONTHLY;BYDAY=-1FR", "LOCATION:Workshop")
	d.event("bob", "delivery", "Timber delivery", "DTSTART"+d.at(1, 7, 30), "DTEND"+d.at(1, 8, 0), "RRULE:FREQ=WEEKLY;BYDAY=TU,FR;UNTIL="+d.monday.AddDate(0, 2, 0).Format("20060102T000000Z"), "EXDATE"+d.at(4, 7, 30))
	end := d.since(time.Date(d.day.Year(), d.day.Month()-1, 0, 0, 0, 0, 0, time.UTC)) // of a month
	d.event("carol", "close", "Close the month", "DTSTART"+d.at(end, 15, 0), "DTEND"+d.at(end, 17, 0), "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1", "CATEGORIES:Finance")
	d.put("dave", "calendar", "drawing",
		d.part("VEVENT", "drawing", "SUMMARY:Drawing hour", "DTSTART"+d.at(0, 8, 0), "DTEND"+d.at(0, 9, 0), "RRULE:FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR;COUNT=30"),
		d.part("VEVENT", "drawing", "SUMMARY:Drawing hour\\, in the park", "RECURRENCE-ID"+d.at(2, 8, 0), "DTSTART"+d.at(2, 7, 0), "DTEND"+d.at(2, 8, 30), "LOCATION:Harbour park"))
	test := d.nth(-1, time.Tuesday, 1)
	d.event("admin", "backup", "Restore test of the backup", "DTSTART"+d.at(test, 6, 30), "DTEND"+d.at(test, 7, 0), "RRULE:FREQ=MONTHLY;BYDAY=1TU")
	// Single ones.
	d.event("alice", "dentist", "Dentist", "DTSTART"+d.at(2, 8, 15), "DTEND"+d.at(2, 9, 0), "CLASS:PRIVATE", "LOCATION:Dr. Okafor")
	d.event("alice", "cologne", "Besuch aus Köln", "DTSTART"+d.at(1, 10, 0), "DTEND"+d.at(1, 12, 30), text("DESCRIPTION", "Bob führt die große Presse vor. Kaffee und Brötchen."))
	d.event("bob", "electrician", "Electrician: three-phase socket", "DTSTART"+d.at(3, 13, 0), "DTEND"+d.at(3, 15, 0), "LOCATION:Workshop, north wall")
	d.event("carol", "bank", "Bank", "DTSTART"+d.at(1, 11, 0), "DTEND"+d.at(1, 11, 45), "LOCATION:High Street 4")
	d.event("dave", "lunch", "Lunch: three kinds of soup", "DTSTART"+d.at(3, 12, 30), "DTEND"+d.at(3, 13, 30), "LOCATION:At the harbour", "TRANSP:TRANSPARENT")
}

func (d *desk) task(to, name, summary string, lines ...string) {
	d.put(to, "tasks", name, d.part("VTODO", name, append([]string{text("SUMMARY", summary)}, lines...)...))
}

func (d *desk) tasks() {
	d.task("alice", "t-keys", "Collect the keys of the new workshop", "DTSTART"+d.on(1), "DUE"+d.on(4), "PRIORITY:1", "STATUS:NEEDS-ACTION", "CATEGORIES:Move")
	d.task("alice", "t-landlord", "Answer the landlord", "DUE"+d.on(-3), "STATUS:IN-PROCESS", "PERCENT-COMPLETE:50", text("DESCRIPTION", "He wants to know who has the second key."))
	d.task("alice", "t-chairs", "Order chairs", "STATUS:COMPLETED", "COMPLETED:"+d.stamp(2), "PERCENT-COMPLETE:100")
	d.task("bob", "t-seal", "Fit the seal kit", "DUE"+d.on(8), "PRIORITY:5", "BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Reminder", "TRIGGER;VALUE=DATE-TIME:"+d.monday.AddDate(0, 0, 8).Format("20060102T080000Z"), "END:VALARM")
	d.task("bob", "t-oil", "Oil the lathe", "DTSTART"+d.on(-6), "DUE"+d.on(-6), "RRULE:FREQ=WEEKLY;INTERVAL=2")
	d.task("bob", "t-lamp", "Replace the lamp over the bench", "STATUS:COMPLETED", "COMPLETED:"+d.stamp(5), "PERCENT-COMPLETE:100")
	d.task("carol", "t-vat", "VAT return", "DTSTART"+d.on(2), "DUE"+d.on(2), "RRULE:FREQ=MONTHLY;INTERVAL=3", "PRIORITY:1", "CATEGORIES:Finance")
	d.task("carol", "t-line14", "Look at line 14", "DUE"+d.on(-5), "STATUS:COMPLETED", "COMPLETED:"+d.stamp(1), "PERCENT-COMPLETE:100")
	d.task("carol", "t-freight", "Compare offers for freight", "DUE"+d.on(18), "STATUS:NEEDS-ACTION")
	d.task("dave", "t-poster", "Poster to the printer", "DUE"+d.at(4, 16, 0), "PRIORITY:1")
	d.task("dave", "t-fonts", "Pay for the fonts", "DUE"+d.on(-1), "STATUS:NEEDS-ACTION", "CLASS:PRIVATE")
	d.task("dave", "t-signs", "Photograph the new signs", "STATUS:COMPLETED", "COMPLETED:"+d.stamp(9), "PERCENT-COMPLETE:100")
	d.task("admin", "t-updates", "Install updates", "DTSTART"+d.on(-13), "DUE"+d.on(-13), "RRULE:FREQ=WEEKLY")
}

func (d *desk) notes() {
	for _, n := range []struct{ to, name, subject, body string }{
		{"alice", "n-door", "Door codes", "Workshop: ask Bob.\nOffice: on paper only."},
		{"alice", "n-ideas", "Ideas for the open day", "- a tour every half hour\n- something to hammer for children\n- coffee, much coffee"},
		{"bob", "n-press", "Press, settings", "Birch 18 mm: 3.2 bar\nSpruce: 2.4 bar\nNever above 4."},
		{"carol", "n-accounts", "Accounts", "4150 crane hire\n4160 freight\n4170 everything else"},
		{"dave", "n-colours", "Colours of the signs", "Blue #0B4F6C\nOrange #E87722\nGreen #788C5D"},
		{"dave", "n-soup", "Soups", "1. pumpkin\n2. fish\n3. ¿gazpacho en noviembre?"},
	} {
		d.put(n.to, "notes", n.name, d.part("VJOURNAL", n.name, text("SUMMARY", n.subject), text("DESCRIPTION", n.body)))
	}
}

// person is a contact.
type person struct {
	key, given, family, org, title, email, phone, mobile, address, birthday, note string
	photo                                                                         bool
}

var outsiders = []person{
	{key: "ingrid", given: "Ingrid", family: "Sjöberg", org: "Nordic Timber AB", title: "Sales", email: "ingrid@timber.example", phone: "+46 8 5550 0110", mobile: "+46 70 555 0110", address: ";;Hamngatan 12;Stockholm;;111 47;Sweden", birthday: "19790621", photo: true},
	{key: "yamada", given: "太郎", family: "山田", org: "工房", email: "yamada@kobo.example", phone: "+81 3 5550 1234", address: ";;1-2-3 木場;江東区;東京都;135-0042;日本", note: "Answers in the morning, his time.", photo: true},
	{key: "samir", given: "سمير", family: "الخطيب", org: "مكتب الترجمة", email: "office@tarjama.example", phone: "+20 2 5550 4321"},
	{key: "chloe", given: "Chloé", family: "Fabre", org: "Agence de Nîmes", title: "Directrice", email: "chloe@agence.example", mobile: "+33 6 55 50 12 34", birthday: "--0412", photo: true},
	{key: "klaus", given: "Klaus", family: "Weiß", org: "Messebau Weiß GmbH", email: "weiss@messebau.example", phone: "+49 221 5550 77", address: ";;Deutzer Straße 5;Köln;;50679;Germany", photo: true},
	{key: "okafor", given: "Ngozi", family: "Okafor", title: "Dentist", phone: "+44 20 7946 0188", note: "Ring, no mail."},
	{key: "ferry", org: "Ferry Line", email: "booking@ferry.example", phone: "+44 20 7946 0177"},
}

// address books: who knows whom.
var knows = map[string][]string{
	"alice": {"ingrid", "yamada", "samir", "chloe", "klaus", "okafor", "ferry"},
	"bob":   {"ingrid", "klaus", "ferry"},
	"carol": {"ingrid", "samir", "ferry"},
	"dave":  {"chloe", "yamada", "klaus"},
}

func (d *desk) contacts() {
	for _, who := range People() {
		var members []string
		for _, key := range knows[who.Local] {
			for _, p := range outsiders {
				if p.key == key {
					id := cardID(who.Local, key)
					d.card(who.Local, id, p.card(id, d.stamp(30)))
					if p.email != "" {
						members = append(members, id)
					}
				}
			}
		}
		if len(members) == 0 {
			continue
		}
		id := cardID(who.Local, "partners")
		g := begun(id, "Partners", d.stamp(30))
		g.SetValue("KIND", "group")
		for _, m := range members {
			g.Properties = append(g.Properties, &vcard.Property{Name: "MEMBER", Value: m})
		}
		d.card(who.Local, id, g)
	}
}

func (d *desk) card(to, id string, c *vcard.Card) {
	d.out = append(d.out, Object{To: to, Role: "contacts", UID: id, Text: c.Append(nil)})
}

// cardID is a UID that members of groups name (RFC 6350 section 6.6.5: a URI).
func cardID(owner, key string) string {
	h := sha256.Sum256([]byte("waypost demonstration " + owner + " " + key))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // RFC 9562 section 5.8
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func begun(id, name, rev string) *vcard.Card {
	c := &vcard.Card{}
	c.SetValue("VERSION", "4.0")
	c.SetValue("UID", id)
	c.SetText("FN", name)
	c.SetValue("REV", rev)
	return c
}

func (p person) card(id, rev string) *vcard.Card {
	name := strings.TrimSpace(p.given + " " + p.family)
	if name == "" {
		name = p.org
	}
	c := begun(id, name, rev)
	if p.given != "" {
		c.SetName(vcard.Name{Family: p.family, Given: p.given})
	} else {
		c.SetValue("KIND", "org")
	}
	c.SetText("ORG", p.org)
	c.SetText("TITLE", p.title)
	c.SetText("NOTE", p.note)
	for _, x := range []struct{ name, kind, value string }{
		{"EMAIL", "work", p.email}, {"TEL", "work", p.phone}, {"TEL", "cell", p.mobile}, {"ADR", "work", p.address}, {"BDAY", "", p.birthday},
	} {
		if x.value == "" {
			continue
		}
		one := &vcard.Property{Name: x.name, Value: x.value}
		if x.kind != "" {
			one.SetParam("TYPE", x.kind)
		}
		c.Properties = append(c.Properties, one)
	}
	if p.photo {
		c.SetPhoto(portrait(p.key), "image/jpeg")
	}
	return c
}

// portrait draws a head before a wall whose colours follow from the name.
func portrait(key string) []byte {
	h := sha256.Sum256([]byte(key))
	wall := color.RGBA{h[0]/2 + 100, h[1]/2 + 100, h[2]/2 + 100, 255}
	coat := color.RGBA{h[3] / 2, h[4] / 2, h[5] / 2, 255}
	skin := color.RGBA{200 - h[6]/3, 160 - h[6]/3, 130 - h[6]/4, 255}
	hair := color.RGBA{h[7] / 3, h[8] / 4, h[9] / 5, 255}
	const size = 96
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	inside := func(x, y, cx, cy, rx, ry int) bool {
		dx, dy := (x-cx)*ry, (y-cy)*rx
		return dx*dx+dy*dy <= rx*rx*ry*ry
	}
	for y := range size {
		for x := range size {
			c := wall
			switch {
			case inside(x, y, 48, 46, 19, 24) && y > 34:
				c = skin
			case inside(x, y, 48, 42, 23, 26) && y < 52:
				c = hair
			case inside(x, y, 48, 100, 38, 32):
				c = coat
			}
			img.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 85}); err != nil {
		panic(err) // a picture in memory can always be encoded
	}
	return b.Bytes()
}
