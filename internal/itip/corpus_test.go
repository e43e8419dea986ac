package itip

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/ical"
	"waypost/internal/mail"
)

// calendars are the messages that other systems write: calendars with a METHOD,
// and those in the corpus's mails.
func calendars(t *testing.T) map[string]*Incoming {
	t.Helper()
	all := map[string]*Incoming{}
	take := func(name string, text []byte, method string) {
		if in, err := ReadIncoming(text, method); err == nil && in.Method != "" && in.Method != "PUBLISH" {
			all[name] = in
		}
	}
	for _, kind := range []string{"ics", "mail"} {
		err := filepath.WalkDir(filepath.Join(corpus.Dir(t), kind), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if kind == "ics" {
				take(filepath.Base(path), text, "")
				return nil
			}
			if !bytes.Contains(text, []byte("calendar")) {
				return nil
			}
			sum, err := mail.Parse(bytes.NewReader(text))
			if err != nil {
				return err
			}
			sum.Root.Walk(func(p *mail.Part, _ int) bool {
				if p.MediaType() == "text/calendar" {
					if b, err := io.ReadAll(p.Decoded(bytes.NewReader(text))); err == nil {
						take(filepath.Base(path), b, "")
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Everybody named in a message of another system takes it, and takes it once.
func TestCorpus(t *testing.T) {
	all := calendars(t)
	if len(all) < 80 {
		t.Fatalf("only %d messages", len(all))
	}
	placed := map[string]int{}
	for name, in := range all {
		people := map[string]bool{"guest@example.test": true}
		for _, c := range in.Calendar.Parts(names...) {
			for _, p := range append(c.Attendees(), organizerPerson(c)) {
				people[strings.ToLower(p.Address)] = true
			}
		}
		for who := range people {
			if who == "" {
				continue
			}
			s := Side{Address: who, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
			in.From = []string{organizerPerson(in.Calendar.Parts(names...)[0]).Address}
			r, err := s.Receive(nil, in)
			if err != nil {
				t.Errorf("%s for %s: %v", name, who, err)
				continue
			}
			if r.Text == nil {
				continue
			}
			placed[in.Method]++
			again, err := s.Receive(r.Text, in)
			if err != nil || again.Text != nil {
				t.Errorf("%s for %s changes something when it comes again (%s), %v", name, who, again.Why, err)
			}
			same, err := s.Change(r.Text, r.Text)
			if err != nil || len(same.Messages) > 0 {
				t.Errorf("%s for %s: writing the copy as it is says %d messages, %v", name, who, len(same.Messages), err)
			}
			if a, err := s.Answer(r.Text, Answer{Status: Accepted}); err != nil {
				t.Errorf("%s for %s: the answer: %v", name, who, err)
			} else if len(a.Messages) > 0 && !strings.Contains(string(a.Messages[0].Mail("x", s.Now)), "method=REPLY") {
				t.Errorf("%s for %s: no reply in the mail", name, who)
			}
		}
	}
	if placed["REQUEST"] < 50 {
		t.Errorf("placed %v", placed)
	}
	t.Logf("%d messages, placed %v", len(all), placed)
}

func organizerPerson(c *ical.Component) ical.Person {
	who, _ := c.Organizer()
	return who
}

// What we send is read by our own reader of mail as what it is, whatever is in it.
func TestMail(t *testing.T) {
	s := Side{Address: "älice@example.test", Name: "Älice \"The\" Archer, Dr.", Now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), SentBy: "dave@example.test"}
	text := wrap("BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Berlin:20270111T100000\nDURATION:PT1H\nSUMMARY:Grüße aus Köln\\, <b>und</b> eine sehr lange Zeile\\, die gefaltet werden muß\nDESCRIPTION:one\\n.\\nFrom two\nATTENDEE:mailto:bob@example.test\nATTENDEE:urn:uuid:1\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU;COUNT=3\nEND:VEVENT\n")
	r, err := s.Change(nil, text)
	if err != nil || len(r.Messages) != 1 {
		t.Fatalf("%d messages, %v", len(r.Messages), err)
	}
	body := r.Messages[0].Mail("key", s.Now)
	if !bytes.Equal(body, r.Messages[0].Mail("key", s.Now)) {
		t.Error("the same message in other bytes")
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(body, []byte("\r\n")), []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
	sum, err := mail.Parse(bytes.NewReader(body))
	if err != nil || len(sum.Defects) > 0 {
		t.Fatalf("%v, %v", sum.Defects, err)
	}
	if sum.CalendarMethod != "REQUEST" || sum.Subject != "Grüße aus Köln, <b>und</b> eine sehr lange Zeile, die gefaltet werden muß" ||
		sum.From[0].Name != s.Name || sum.From[0].Addr() != s.Address || sum.Sender[0].Addr() != "dave@example.test" || len(sum.To) != 1 {
		t.Errorf("%+v", sum.Envelope)
	}
	plain, html, files := sum.Bodies()
	if plain == nil || html == nil || !slices.ContainsFunc(files, func(p *mail.Part) bool { return p.Filename() == "invite.ics" }) {
		t.Errorf("bodies %v %v %v", plain, html, files)
	}
	words, _ := io.ReadAll(plain.Text(bytes.NewReader(body)))
	for _, want := range []string{"Archer, Dr. invites you. (Sent by dave@example.test.)", "Monday, 11 January 2027, 10:00 to 11:00 (Europe/Berlin), every week on Monday, Tuesday, 3 times", "From two"} {
		if !strings.Contains(string(words), want) {
			t.Errorf("%q is not in\n%s", want, words)
		}
	}
	page, _ := io.ReadAll(html.Text(bytes.NewReader(body)))
	if strings.Contains(string(page), "<b>und") {
		t.Error("words became HTML")
	}
}

// Whatever comes, there is an answer, and it comes only once.
func FuzzReceive(f *testing.F) {
	copyText := wrap("BEGIN:VEVENT\nUID:plan@example.test\nDTSTART:20270111T100000Z\nRRULE:FREQ=DAILY;COUNT=9\nORGANIZER:mailto:alice@example.test\nATTENDEE:mailto:bob@example.test\nEND:VEVENT\n")
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "BEGIN:VCALENDAR")[1:] {
			f.Add("BEGIN:VCALENDAR" + part)
		}
	}
	f.Add("BEGIN:VCALENDAR\nMETHOD:REPLY\nBEGIN:VEVENT\nUID:plan@example.test\nRECURRENCE-ID:20270112T100000Z\nATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.test\nEND:VEVENT\nEND:VCALENDAR\n")
	f.Add("BEGIN:VCALENDAR\nMETHOD:CANCEL\nBEGIN:VEVENT\nUID:plan@example.test\nRECURRENCE-ID;VALUE=DATE:20270112\nSEQUENCE:1\nEND:VEVENT\nEND:VCALENDAR\n")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := ReadIncoming([]byte(text), "REQUEST")
		if err != nil {
			return
		}
		in.From = []string{"alice@example.test", "bob@example.test"}
		for _, s := range []Side{{Address: "alice@example.test"}, {Address: "bob@example.test"}} {
			s.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var had []byte
			if in.UID == "plan@example.test" {
				had = copyText
			}
			r, err := s.Receive(had, in)
			if err != nil || r.Text == nil {
				continue
			}
			if again, err := s.Receive(r.Text, in); err != nil || again.Text != nil {
				t.Errorf("%s changes something when it comes again: %v\n%s\n%s", s.Address, err, r.Text, again.Text)
			}
			for _, m := range r.Messages {
				m.Mail("x", s.Now)
			}
		}
	})
}
