// Package demo makes the mail of the demonstration organisation: conversations
// among its people, newsletters, reports with attachments and mail from abroad;
// and its calendars, contacts, tasks and notes.
// It is deterministic: the same day gives the same mail.
package demo

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"mime"
	"strings"
	"time"
)

// Person is an account of the demonstration organisation.
type Person struct {
	Local, Name, Given, Surname, Title, Department, Phone string
	Admin                                                 bool
}

// Domain and Password are the demonstration organisation's.
const (
	Domain   = "example.test"
	Password = "Waypost-demo-1"
)

// People are the accounts. The group staff@example.test has all of them; the
// room is room1@example.test.
func People() []Person {
	return []Person{
		{Local: "alice", Name: "Alice Archer", Given: "Alice", Surname: "Archer", Title: "Head of Operations", Department: "Operations", Phone: "+44 20 7946 0101"},
		{Local: "bob", Name: "Bob Brandt", Given: "Bob", Surname: "Brandt", Title: "Workshop Manager", Department: "Workshop", Phone: "+44 20 7946 0102"},
		{Local: "carol", Name: "Carol Chen", Given: "Carol", Surname: "Chen", Title: "Accountant", Department: "Finance", Phone: "+44 20 7946 0103"},
		{Local: "dave", Name: "Dave Díaz", Given: "Dave", Surname: "Díaz", Title: "Designer", Department: "Design", Phone: "+44 20 7946 0104"},
		{Local: "admin", Name: "Administrator", Given: "Site", Surname: "Administrator", Title: "Postmaster", Department: "IT", Phone: "+44 20 7946 0100", Admin: true},
	}
}

// Message is one message for one mailbox.
type Message struct {
	To       string // the mailbox's local part
	Folder   string // "inbox", "sent" or "archive"
	Seen     bool
	Flagged  bool
	Received time.Time
	Body     []byte // CRLF lines
}

type turn struct{ from, text string }

type thread struct {
	subject string
	to      []string
	turns   []turn
	file    string // an attachment of the first message: "plan.png", "figures.csv" or "invite.ics"
}

var threads = []thread{
	{"Move to the new workshop", []string{"alice", "bob", "dave"}, []turn{
		{"alice", "Hello both,\n\nthe landlord has confirmed the keys for the first of the month. Can we agree on who moves what? I have attached the floor plan with my first idea.\n\nAlice"},
		{"bob", "Thanks! The lathe needs a three-phase socket, so it has to stand at the north wall. Everything else is flexible.\n\nBob"},
		{"dave", "North wall is fine with me, as long as the drawing table gets the window."},
		{"alice", "Window for Dave, socket for Bob. I will order the electrician for the 28th."},
	}, "plan.png"},
	{"Quarterly figures", []string{"carol", "alice", "admin"}, []turn{
		{"carol", "Dear all,\n\nthe figures of the quarter are attached. Turnover is 4.2 % above plan; the freight costs eat most of it.\n\nCould you look at line 14 before Friday?\n\nCarol"},
		{"alice", "Line 14 is the crane hire. It was a one-off, the invoice is in the shared folder."},
		{"carol", "Perfect, then I can close the quarter."},
	}, "figures.csv"},
	{"Lunch on Thursday?", []string{"dave", "carol", "bob"}, []turn{
		{"dave", "The new place at the harbour does a lunch menu. Thursday, half past twelve?"},
		{"carol", "Count me in."},
		{"bob", "Only if they have soup."},
		{"dave", "They have three kinds of soup. I have checked. :-)"},
	}, ""},
	{"Workshop safety briefing", []string{"bob", "alice", "carol", "dave"}, []turn{
		{"bob", "Hello,\n\nthe yearly safety briefing takes place in room 1. It lasts 45 minutes and everybody who enters the workshop has to attend. The invitation is attached.\n\nBob"},
		{"dave", "I am at a customer's that morning. Is there a second date?"},
		{"bob", "The week after, same time."},
	}, "invite.ics"},
	{"Poster for the open day", []string{"dave", "alice"}, []turn{
		{"dave", "Here is the second draft of the poster. The colours are closer to the new signs now."},
		{"alice", "Lovely. Can the date be larger? From the other side of the street I could not read it."},
		{"dave", "Done, 20 % larger. It goes to the printer this afternoon unless you shout."},
	}, "plan.png"},
	{"Spare parts for the press", []string{"bob", "carol"}, []turn{
		{"bob", "Carol, the press needs a new seal kit. 380 pounds net, the supplier offers 2 % discount for payment within ten days."},
		{"carol", "Approved. Please put the order number on the delivery note, the last one was hard to match."},
	}, ""},
	{"Password of the label printer", []string{"carol", "admin"}, []turn{
		{"carol", "Does anybody know how to sign in to the label printer? It asks for a password since the update."},
		{"admin", "The update has reset it. I have set a new one and will bring it to you on paper, please do not send it by mail."},
		{"carol", "Thank you, labels are printing again."},
	}, ""},
	{"Besuch aus Köln am Dienstag", []string{"alice", "bob"}, []turn{
		{"alice", "Lieber Bob,\n\ndie Gäste aus Köln kommen am Dienstag um zehn. Könntest du die große Presse vorführen? Für Kaffee und Brötchen ist gesorgt.\n\nViele Grüße\nAlice"},
		{"bob", "Mache ich gern. Schöne Grüße zurück!"},
	}, ""},
	{"Réunion avec l’agence de Nîmes", []string{"dave", "alice"}, []turn{
		{"dave", "Bonjour Alice,\n\nl’agence propose deux dates : le 3 à 14 h ou le 5 à 9 h 30. Qu’en penses-tu ?\n\nÀ bientôt,\nDave"},
		{"alice", "Le 5, c’est parfait. Merci d’avoir tout organisé !"},
	}, ""},
	{"Backup report", []string{"admin", "alice"}, []turn{
		{"admin", "Last night's backup took 14 minutes, 61 GB were checked and one file was restored as a test. Nothing to do for you; this note is only so that you know that somebody looks."},
		{"alice", "I like knowing that somebody looks."},
	}, ""},
}

type outside struct{ name, address, subject, text, html string }

var letters = []outside{
	{"Harbour Gazette", "news@gazette.example", "The week at the harbour", "Three ships, one festival and a new bridge.\nRead more on our pages.", `<html><body style="font-family:sans-serif"><table width="600" cellpadding="0"><tr><td style="background:#0b4f6c;color:#fff;padding:16px"><h1>The week at the harbour</h1></td></tr><tr><td style="padding:16px"><p>Three ships, <b>one festival</b> and a new bridge.</p><ul><li>The <i>Aurora</i> is back from dry dock</li><li>Lantern festival on Saturday, from dusk</li><li>The footbridge opens in spring</li></ul><p><a href="https://gazette.example/week">Read more</a></p></td></tr></table></body></html>`},
	{"Nordic Timber AB", "order@timber.example", "Order confirmation 2041-7", "Thank you for your order.\n\n12 x plywood birch 18 mm\n4 x beam spruce 80x160\n\nDelivery is expected within nine working days.", ""},
	{"山田太郎", "yamada@kobo.example", "お見積りの件", "アーチャー様\n\nお世話になっております。工房の山田です。\n先日ご依頼いただいたお見積りをお送りいたします。ご確認のほど、よろしくお願いいたします。\n\n山田", ""},
	{"مكتب الترجمة", "office@tarjama.example", "عرض سعر الترجمة", "السادة الكرام،\n\nنرسل إليكم عرض السعر لترجمة الكتيب إلى العربية. يسعدنا الرد على أسئلتكم.\n\nمع أطيب التحيات", ""},
	{"City Library", "notice@library.example", "Your book is due on Friday", "The book \"Joinery by Hand\" is due on Friday. You can extend the loan once.", `<p>The book <b>Joinery by Hand</b> is due on <span style="color:#b00020">Friday</span>. You can extend the loan once.</p>`},
	{"Ferry Line", "booking@ferry.example", "Your crossing is booked", "Booking 77121\nDeparture 08:15, gate B, one car, two persons.", ""},
}

// Messages makes the mail of all people as of now: about 300 messages of the
// ninety days before.
func Messages(now time.Time) []Message {
	g := &generator{rnd: rand.New(rand.NewPCG(20, 3)), name: names{}, now: now.UTC().Truncate(24 * time.Hour).Add(8 * time.Hour)}
	for _, p := range People() {
		g.name[p.Local] = p.Name
	}
	for round := range 4 {
		for i, th := range threads {
			g.conversation(th, g.now.AddDate(0, 0, -(round*21+i*2)), round)
		}
		for i, l := range letters {
			for _, p := range People() {
				if g.rnd.IntN(3) > 0 {
					g.letter(l, p.Local, g.now.AddDate(0, 0, -(round*20+i*3)).Add(-time.Duration(g.rnd.IntN(600))*time.Minute), round)
				}
			}
		}
	}
	return g.out
}

type generator struct {
	rnd  *rand.Rand
	now  time.Time
	name names
	out  []Message
	n    int
}

type names map[string]string

func (g *generator) conversation(th thread, at time.Time, round int) {
	subject := th.subject
	if round > 0 {
		subject = fmt.Sprintf("%s (%s)", th.subject, at.Format("January"))
	}
	var refs []string
	quoted := ""
	for i, tn := range th.turns {
		at = at.Add(time.Duration(20+g.rnd.IntN(200)) * time.Minute)
		if at.After(g.now) {
			return
		}
		g.n++
		id := fmt.Sprintf("<%s.%d@%s>", at.Format("20060102150405"), g.n, Domain)
		var b bytes.Buffer
		head := subject
		if i > 0 {
			head = "Re: " + subject
		}
		var to []string
		for _, p := range th.to {
			if p != tn.from {
				to = append(to, address(g.name[p], p+"@"+Domain))
			}
		}
		field(&b, "From", address(g.name[tn.from], tn.from+"@"+Domain))
		field(&b, "To", strings.Join(to, ",\r\n "))
		field(&b, "Subject", mime.QEncoding.Encode("utf-8", head))
		field(&b, "Date", at.Format(time.RFC1123Z))
		field(&b, "Message-ID", id)
		if len(refs) > 0 {
			field(&b, "In-Reply-To", refs[len(refs)-1])
			field(&b, "References", strings.Join(refs, "\r\n "))
		}
		refs = append(refs, id)
		text := tn.text
		if quoted != "" {
			text += "\n\n" + quoted
		}
		quoted = "> " + strings.ReplaceAll(tn.text, "\n", "\n> ")
		if i == 0 && th.file != "" {
			g.withFile(&b, text, th.file, at)
		} else {
			field(&b, "MIME-Version", "1.0")
			textPart(&b, "plain", text)
		}
		for _, p := range th.to {
			m := Message{To: p, Folder: "inbox", Received: at, Body: b.Bytes(), Seen: g.now.Sub(at) > 48*time.Hour || g.rnd.IntN(3) == 0, Flagged: g.rnd.IntN(15) == 0}
			if p == tn.from {
				m.Folder, m.Seen = "sent", true
			}
			g.out = append(g.out, m)
		}
	}
}

func (g *generator) letter(l outside, to string, at time.Time, round int) {
	g.n++
	var b bytes.Buffer
	field(&b, "From", address(l.name, l.address))
	field(&b, "To", address(g.name[to], to+"@"+Domain))
	field(&b, "Subject", mime.BEncoding.Encode("utf-8", l.subject))
	field(&b, "Date", at.Format(time.RFC1123Z))
	field(&b, "Message-ID", fmt.Sprintf("<%d.%d@%s>", round, g.n, l.address[strings.IndexByte(l.address, '@')+1:]))
	field(&b, "MIME-Version", "1.0")
	if l.html == "" {
		textPart(&b, "plain", l.text)
	} else {
		bound := fmt.Sprintf("alt-%d", g.n)
		field(&b, "Content-Type", `multipart/alternative; boundary="`+bound+`"`)
		b.WriteString("\r\n--" + bound + "\r\n")
		textPart(&b, "plain", l.text)
		b.WriteString("\r\n--" + bound + "\r\n")
		textPart(&b, "html", l.html)
		b.WriteString("\r\n--" + bound + "--\r\n")
	}
	g.out = append(g.out, Message{To: to, Folder: "inbox", Received: at, Body: b.Bytes(), Seen: g.now.Sub(at) > 72*time.Hour || g.rnd.IntN(2) == 0})
}

func (g *generator) withFile(b *bytes.Buffer, text, file string, at time.Time) {
	bound := fmt.Sprintf("mixed-%d", g.n)
	field(b, "MIME-Version", "1.0")
	field(b, "Content-Type", `multipart/mixed; boundary="`+bound+`"`)
	b.WriteString("\r\n--" + bound + "\r\n")
	textPart(b, "plain", text)
	b.WriteString("\r\n--" + bound + "\r\n")
	var kind string
	var data []byte
	switch file {
	case "plan.png":
		kind, data = "image/png", g.drawing()
	case "figures.csv":
		kind, data = "text/csv; charset=utf-8", g.figures()
	case "invite.ics":
		kind, data = "text/calendar; charset=utf-8; method=REQUEST", invitation(at, g.n)
	}
	field(b, "Content-Type", fmt.Sprintf("%s; name=%q", kind, file))
	field(b, "Content-Disposition", fmt.Sprintf("attachment; filename=%q", file))
	base64Part(b, data)
	b.WriteString("\r\n--" + bound + "--\r\n")
}

func (g *generator) drawing() []byte {
	img := image.NewPaletted(image.Rect(0, 0, 480, 320), color.Palette{
		color.White, color.RGBA{11, 79, 108, 255}, color.RGBA{232, 119, 34, 255}, color.RGBA{120, 140, 93, 255},
	})
	for range 7 {
		x, y := g.rnd.IntN(400), g.rnd.IntN(260)
		w, h, c := 30+g.rnd.IntN(80), 20+g.rnd.IntN(60), uint8(1+g.rnd.IntN(3))
		for dx := range w {
			for dy := range h {
				img.SetColorIndex(x+dx, y+dy, c)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // a paletted picture in memory can always be encoded
	}
	return b.Bytes()
}

func (g *generator) figures() []byte {
	var b bytes.Buffer
	b.WriteString("line,account,plan,actual\r\n")
	for i := 1; i <= 20; i++ {
		plan := 1000 + g.rnd.IntN(9000)
		fmt.Fprintf(&b, "%d,%d,%d,%d\r\n", i, 4000+10*i, plan, plan+g.rnd.IntN(900)-400)
	}
	return b.Bytes()
}

func invitation(at time.Time, n int) []byte {
	start := at.AddDate(0, 0, 7).Truncate(24 * time.Hour).Add(9 * time.Hour)
	lines := []string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Waypost//Demonstration//EN", "METHOD:REQUEST", "BEGIN:VEVENT",
		fmt.Sprintf("UID:demo-%d@%s", n, Domain), "DTSTAMP:" + at.Format("20060102T150405Z"),
		"DTSTART:" + start.Format("20060102T150405Z"), "DTEND:" + start.Add(45*time.Minute).Format("20060102T150405Z"),
		"SUMMARY:Workshop safety briefing", "LOCATION:Room 1", "ORGANIZER;CN=Bob Brandt:mailto:bob@" + Domain,
		"ATTENDEE;CN=Alice Archer;RSVP=TRUE:mailto:alice@" + Domain, "ATTENDEE;CUTYPE=ROOM:mailto:room1@" + Domain,
		"SEQUENCE:0", "END:VEVENT", "END:VCALENDAR", "",
	}
	return []byte(strings.Join(lines, "\r\n"))
}

func field(b *bytes.Buffer, name, value string) { b.WriteString(name + ": " + value + "\r\n") }

func address(name, addr string) string {
	return mime.QEncoding.Encode("utf-8", name) + " <" + addr + ">"
}

func textPart(b *bytes.Buffer, subtype, text string) {
	field(b, "Content-Type", "text/"+subtype+"; charset=utf-8")
	base64Part(b, []byte(strings.ReplaceAll(text, "\n", "\r\n")+"\r\n"))
}

func base64Part(b *bytes.Buffer, data []byte) {
	field(b, "Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	enc := base64.StdEncoding.EncodeToString(data)
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	b.WriteString(enc + "\r\n")
}
