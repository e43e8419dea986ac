package objectfile

import (
	"bytes"
	"strings"
	"testing"

	"waypost/internal/fault"
	"waypost/internal/ical"
)

func lines(text ...string) string { return strings.Join(text, "\r\n") + "\r\n" }

func pieces(t *testing.T, text string) (About, []Piece) {
	t.Helper()
	f, err := Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var all []Piece
	for p := range f.Pieces() {
		all = append(all, p)
	}
	return f.About, all
}

func TestCut(t *testing.T) {
	about, all := pieces(t, lines(
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//y//EN", "METHOD:PUBLISH", "X-WR-CALNAME:Team\\, all", "X-WR-TIMEZONE:Europe/Berlin", "X-KEPT:1",
		"BEGIN:VTIMEZONE", "TZID:Ours", "END:VTIMEZONE", "BEGIN:VTIMEZONE", "TZID:Unused", "END:VTIMEZONE",
		"BEGIN:VEVENT", "UID:a", "SUMMARY:Series", "DTSTART;TZID=Ours:20261124T100000", "RRULE:FREQ=DAILY", "END:VEVENT",
		"BEGIN:VTODO", "UID:a", "END:VTODO",
		"BEGIN:VEVENT", "UID:a", "RECURRENCE-ID;TZID=Ours:20261125T100000", "END:VEVENT",
		"BEGIN:VEVENT", "SUMMARY:no UID", "END:VEVENT",
		"BEGIN:VEVENT", "UID:", "END:VEVENT",
		"BEGIN:VJOURNAL", "UID:n", "END:VJOURNAL",
		"BEGIN:VFREEBUSY", "UID:f", "END:VFREEBUSY",
		"END:VCALENDAR",
		"BEGIN:VEVENT", "UID:loose", "END:VEVENT",
	))
	if about.Name != "Team, all" || about.Zone != "Europe/Berlin" {
		t.Errorf("about %+v", about)
	}
	var got []string
	for _, p := range all {
		got = append(got, p.Kind+" "+p.UID)
		if p.Err == nil && !bytes.Contains(p.Text, []byte("BEGIN:"+p.Kind)) || bytes.Contains(p.Text, []byte("METHOD")) || bytes.Contains(p.Text, []byte("X-WR-")) || bytes.Contains(p.Text, []byte("Unused")) {
			t.Errorf("%s: %s", p.Where(), p.Text)
		}
	}
	if want := "VEVENT a,VTODO a,VEVENT ,VEVENT ,VJOURNAL n,VFREEBUSY f,VEVENT loose"; strings.Join(got, ",") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if a := string(all[0].Text); all[0].Line != 14 || strings.Count(a, "UID:a") != 2 || strings.Count(a, "TZID:Ours") != 1 || !strings.Contains(a, "X-KEPT:1") {
		t.Errorf("line %d: %s", all[0].Line, a)
	}
	if all[5].Err == nil || fault.Of(all[5].Err) != fault.Invalid || all[5].Where() != "line 36, UID f" {
		t.Errorf("free/busy: %v at %s", all[5].Err, all[5].Where())
	}
	_, cards := pieces(t, "BEGIN:VCARD\nFN:A\nEND:VCARD\n\nBEGIN:VCARD\nUID:b\nFN:B\nEND:VCARD\n")
	if len(cards) != 2 || cards[0].Line != 1 || cards[1].Line != 5 || cards[1].UID != "b" || cards[0].Name != "A" {
		t.Errorf("cards %+v", cards)
	}
	if _, err := Read([]byte("hello\n")); fault.Of(err) != fault.Invalid || err == nil {
		t.Errorf("a text: %v", err)
	}
}

// TestJoin: zones stand once; what would change its meaning beside the others
// stands apart.
func TestJoin(t *testing.T) {
	event := func(uid, zone string, rules string, head ...string) string {
		text := append([]string{"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//" + uid + "//EN"}, head...)
		if rules != "" {
			text = append(text, "BEGIN:VTIMEZONE", "TZID:"+zone, rules, "END:VTIMEZONE")
		}
		return lines(append(text, "BEGIN:VEVENT", "UID:"+uid, "DTSTART;TZID="+zone+":20261124T100000", "END:VEVENT", "END:VCALENDAR")...)
	}
	var b bytes.Buffer
	c, err := NewCalendar(&b, About{Name: "Work", Color: "#102030"})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		event("one", "Europe/Berlin", ""), event("two", "Europe/Berlin", "X-WRONG:1"), event("own", "Ours", "X-RULES:1"),
		event("same", "Ours", "X-RULES:1"), event("other", "Ours", "X-RULES:2"), event("none", "Ours", ""), event("said", "Europe/Berlin", "", "X-OF-ALL:1"),
	} {
		if err := c.Add([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	root, problems, err := ical.Parse(b.Bytes(), ical.Import)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v %v\n%s", err, problems, b.String())
	}
	if len(root.Children) != 4 || len(root.Children[0].Parts("VTIMEZONE")) != 2 || len(root.Children[0].Parts("VEVENT")) != 4 {
		t.Fatalf("%d calendars:\n%s", len(root.Children), b.String())
	}
	about, all := pieces(t, b.String())
	if about.Name != "Work" || about.Color != "#102030" || len(all) != 7 {
		t.Errorf("%+v, %d objects", about, len(all))
	}
	for _, p := range all {
		text := string(p.Text)
		if p.UID == "other" && !strings.Contains(text, "X-RULES:2") || p.UID == "none" && strings.Contains(text, "VTIMEZONE") || p.UID == "same" && !strings.Contains(text, "X-RULES:1") ||
			p.UID == "one" && !strings.Contains(text, "BEGIN:DAYLIGHT") || p.UID == "said" && !strings.Contains(text, "X-OF-ALL:1") {
			t.Errorf("%s: %s", p.UID, text)
		}
	}
}

func TestUpdate(t *testing.T) {
	cal := func(prodid string, parts ...string) string {
		return lines(append(append([]string{"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:" + prodid}, parts...), "END:VCALENDAR")...)
	}
	ev := func(more ...string) string {
		return strings.TrimSuffix(lines(append(append([]string{"BEGIN:VEVENT", "UID:u"}, more...), "END:VEVENT")...), "\r\n")
	}
	card := func(more ...string) string {
		return lines(append(append([]string{"BEGIN:VCARD", "VERSION:4.0", "UID:c"}, more...), "END:VCARD")...)
	}
	series := ev("DTSTART:20261124T100000Z", "RRULE:FREQ=DAILY", "SEQUENCE:1")
	changed := ev("RECURRENCE-ID:20261125T100000Z", "DTSTART:20261125T110000Z", "SEQUENCE:1")
	later := ev("RECURRENCE-ID:20261125T100000Z", "DTSTART:20261125T120000Z", "SEQUENCE:2")
	for _, tt := range []struct {
		name, old, text string
		became          Became
		want            string // "": by became
	}{
		{"equal", cal("a", ev()), cal("a", ev()), Same, ""},
		{"exported again", cal("a", ev("DTSTAMP:20260101T000000Z")), cal("b", ev("DTSTAMP:20260201T000000Z")), Same, ""},
		{"other text", cal("a", ev("SUMMARY:x")), cal("a", ev("SUMMARY:y")), Older, ""},
		{"later export", cal("a", ev("SUMMARY:x", "DTSTAMP:20260101T000000Z")), cal("a", ev("SUMMARY:y", "DTSTAMP:20260201T000000Z")), Older, ""},
		{"sequence", cal("a", ev("SUMMARY:x")), cal("a", ev("SUMMARY:y", "SEQUENCE:1")), Updated, ""},
		{"sequence before time", cal("a", ev("SEQUENCE:2", "LAST-MODIFIED:20260101T000000Z")), cal("a", ev("SEQUENCE:1", "LAST-MODIFIED:20260201T000000Z")), Older, ""},
		{"modified", cal("a", ev("LAST-MODIFIED:20260101T000000Z")), cal("a", ev("LAST-MODIFIED:20260201T000000Z")), Updated, ""},
		{"modified before", cal("a", ev("LAST-MODIFIED:20260301T000000Z")), cal("a", ev("LAST-MODIFIED:20260201T000000Z")), Older, ""},
		{"an instance", cal("a", series), cal("b", changed), Updated, cal("a", series, changed)},
		{"the same instance", cal("a", series, changed), cal("b", changed), Same, ""},
		{"a newer instance", cal("a", series, changed), cal("b", later), Updated, cal("a", series, later)},
		{"an older instance", cal("a", series, later), cal("b", changed), Older, ""},
		{"REV", card("REV:20260101T000000Z"), card("REV:2026-02-01T00:00:00Z"), Updated, ""},
		{"no REV", card("FN:a"), card("FN:b"), Older, ""},
		{"REV before", card("REV:20260301T000000Z"), card("REV:20260201T000000Z"), Older, ""},
		{"card", card("PRODID:a"), card("PRODID:b"), Same, ""},
	} {
		got, became, err := Update([]byte(tt.old), []byte(tt.text))
		want := tt.want
		if want == "" {
			if want = tt.old; tt.became == Updated {
				want = tt.text
			}
		}
		if err != nil || became != tt.became || string(got) != want {
			t.Errorf("%s: %v, %v, got\n%s\nwant\n%s", tt.name, became, err, got, want)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\nDTSTART;TZID=Europe/Rome:20260101T000000\nEND:VEVENT\nBEGIN:VFREEBUSY\nEND:VCALENDAR\n"))
	f.Add([]byte("BEGIN:VCARD\nFN:a\nEND:VCARD\nBEGIN:VCARD\nBEGIN:VCARD\n"))
	f.Add([]byte("BEGIN:VEVENT\nUID:a\nBEGIN:VTIMEZONE\nEND:VEVENT\nBEGIN:VTODO\nRECURRENCE-ID:x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Read(text)
		if err != nil {
			return
		}
		c, err := NewCalendar(&bytes.Buffer{}, file.About)
		if err != nil {
			t.Fatal(err)
		}
		for p := range file.Pieces() {
			if p.Err != nil || p.Kind == "VCARD" {
				continue
			}
			if err := c.Add(p.Text); err != nil && fault.Of(err) != fault.Limit && fault.Of(err) != fault.TooLarge {
				t.Fatal(err)
			}
			if got, became, err := Update(p.Text, p.Text); err != nil || became != Same || !bytes.Equal(got, p.Text) {
				t.Fatal(became, err)
			}
		}
	})
}
