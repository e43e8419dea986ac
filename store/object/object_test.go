package object

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/vcard"
	"waypost/store"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func event(lines ...string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:u\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		kind       store.Kind
		uid        string // "*": made
		fault      string // part of what is said
	}{
		{name: "event", text: event("DTSTART:20261124T100000Z"), kind: store.KindEvent, uid: "u"},
		{name: "loose", text: "BEGIN:VTODO\nUID:t\nSUMMARY:x\nEND:VTODO\n", kind: store.KindTask, uid: "t"},
		{name: "journal", text: strings.ReplaceAll(event(), "VEVENT", "VJOURNAL"), kind: store.KindJournal, uid: "u"},
		{name: "no UID", text: strings.Replace(event(), "UID:u\r\n", "", 1), kind: store.KindEvent, uid: "*"},
		{name: "card", text: "BEGIN:VCARD\nVERSION:3.0\nUID:c\nFN:Ann\nEND:VCARD\n", kind: store.KindCard, uid: "c"},
		{name: "card without UID", text: "BEGIN:VCARD\nVERSION:3.0\nFN:Ann\nEND:VCARD\n", kind: store.KindCard, uid: "*"},
		{name: "group", text: "begin:vcard\nVERSION:4.0\nKIND:group\nUID:g\nFN:All\nEND:VCARD\n", kind: store.KindGroup, uid: "g"},
		{name: "override without UID", text: event("DTSTART:20261124T100000Z", "RRULE:FREQ=DAILY", "END:VEVENT", "BEGIN:VEVENT", "RECURRENCE-ID:20261125T100000Z", "DTSTART:20261125T110000Z"), kind: store.KindEvent, uid: "u"},
		{name: "empty", text: "", fault: "no calendar"},
		{name: "no event", text: "BEGIN:VCALENDAR\nEND:VCALENDAR\n", fault: "no event"},
		{name: "two UIDs", text: event("END:VEVENT", "BEGIN:VEVENT", "UID:v"), fault: "one UID"},
		{name: "two kinds", text: event("END:VEVENT", "BEGIN:VTODO", "UID:u", "END:VTODO", "BEGIN:VEVENT", "UID:u"), fault: "one kind"},
		{name: "part without UID", text: event("END:VEVENT", "BEGIN:VEVENT", "SUMMARY:x"), fault: "none"},
		{name: "two calendars", text: event() + event(), fault: "several"},
		{name: "two cards", text: strings.Repeat("BEGIN:VCARD\nFN:x\nEND:VCARD\n", 2), fault: "one card"},
		{name: "long UID", text: event("X:y", "UID:"+strings.Repeat("x", 1)), kind: store.KindEvent, uid: "u"},
		{name: "too long UID", text: strings.Replace(event(), "UID:u", "UID:"+strings.Repeat("x", 1001), 1), fault: "longer than"},
	} {
		r, err := Parse([]byte(tt.text), "", now)
		switch {
		case tt.fault != "":
			if fault.Of(err) != fault.Invalid || !strings.Contains(fault.Say(err), tt.fault) {
				t.Errorf("%s: error %v", tt.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case r.Kind != tt.kind, r.UID != tt.uid && tt.uid != "*", r.UID == "", !strings.Contains(string(r.Text), "UID:"+r.UID+"\r\n"):
			t.Errorf("%s: %+v", tt.name, r)
		default:
			again, err := Parse(r.Text, "", now)
			if err != nil || string(again.Text) != string(r.Text) {
				t.Errorf("%s: read again: %v", tt.name, err)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	from, to := Window(now)
	for _, tt := range []struct {
		name         string
		lines        []string
		starts, ends time.Time
		n            int
		whole        bool
	}{
		{"none", nil, time.Time{}, time.Time{}, 0, true},
		{"single", []string{"DTSTART:19700101T100000Z", "DURATION:PT1H"}, at("1970-01-01 10:00"), at("1970-01-01 11:00"), 1, true},
		{"day", []string{"DTSTART;VALUE=DATE:20261124"}, at("2026-11-24 00:00"), at("2026-11-25 00:00"), 1, true},
		{"floating", []string{"DTSTART:20261124T100000"}, at("2026-11-24 10:00"), at("2026-11-24 10:00"), 1, true},
		{"zone", []string{"DTSTART;TZID=Europe/Berlin:20261124T100000"}, at("2026-11-24 09:00"), at("2026-11-24 09:00"), 1, true},
		{"count", []string{"DTSTART:20261124T100000Z", "RRULE:FREQ=DAILY;COUNT=5"}, at("2026-11-24 10:00"), at("2026-11-28 10:00"), 5, true},
		{"endless", []string{"DTSTART:20200107T100000Z", "RRULE:FREQ=WEEKLY"}, at("2020-01-07 10:00"), time.Time{}, 157, false},
		{"many", []string{"DTSTART:20240101T100000Z", "RRULE:FREQ=DAILY;COUNT=1500"}, at("2024-01-01 10:00"), at("2028-02-08 10:00"), Listed, false},
		{"long", []string{"DTSTART;VALUE=DATE:20260101", "DTEND;VALUE=DATE:20260301"}, at("2026-01-01 00:00"), at("2026-03-01 00:00"), 0, false},
		{"first taken out", []string{"DTSTART:20261124T100000Z", "RRULE:FREQ=DAILY;COUNT=5", "EXDATE:20261124T100000Z"}, at("2026-11-25 10:00"), at("2026-11-28 10:00"), 4, true},
	} {
		r, err := Parse([]byte(event(tt.lines...)), "", now)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		n := len(r.Occurrences)
		if tt.name == "many" { // the days of the window that the series has
			tt.n = n
			if n < 700 || n > Listed {
				t.Errorf("many: %d", n)
			}
		}
		if !r.Starts.Equal(tt.starts) || !r.Ends.Equal(tt.ends) || n != tt.n || r.Whole != tt.whole {
			t.Errorf("%s: from %v to %v, %d occurrences, whole %v", tt.name, r.Starts, r.Ends, n, r.Whole)
		}
		if tt.name == "endless" && (!r.From.Equal(from) || !r.To.Equal(to)) {
			t.Errorf("window %v to %v", r.From, r.To)
		}
	}
}

// TestBombs: a rule costs bounded time, whatever it says.
func TestBombs(t *testing.T) {
	var slowest time.Duration
	defer func() { t.Logf("the slowest took %v", slowest) }()
	for _, rule := range []string{
		"FREQ=SECONDLY", "FREQ=SECONDLY;COUNT=100000000", "FREQ=SECONDLY;UNTIL=99991231T235959Z", "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
		"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=SECONDLY;BYSECOND=59;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU;BYSETPOS=-1", "FREQ=DAILY;INTERVAL=2147483647",
		"FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=0,1,2,3,4,5,6,7,8,9;BYMINUTE=0,1,2,3;BYSECOND=0,1,2,3;BYSETPOS=366",
	} {
		for _, start := range []string{"00010101T000000Z", "19700101T000000Z", "20261124T000000Z", "99981231T000000Z"} {
			began := time.Now()
			r, err := Parse([]byte(event("DTSTART:"+start, "RRULE:"+rule)), "", now)
			if err != nil {
				t.Errorf("%s: %v", rule, err)
				continue
			}
			q := &store.Between{From: now.AddDate(100, 0, 0), To: now.AddDate(101, 0, 0), Limit: 1000}
			if _, err := Between(&store.Object{Text: r.Text}, q); err != nil {
				t.Errorf("%s: %v", rule, err)
			}
			took := time.Since(began)
			slowest = max(slowest, took)
			if took > 3*time.Second || len(r.Occurrences) > Listed {
				t.Errorf("%s from %s took %v for %d occurrences", rule, start, took, len(r.Occurrences))
			}
		}
	}
}

// TestCorpus: every object of the corpus goes in, and comes out as the parser
// understands it.
func TestCorpus(t *testing.T) {
	dir := corpus.Dir(t)
	n, odd := 0, 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch strings.ToLower(filepath.Ext(p)) {
		case ".ics", ".ifb", ".vcs":
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			root, _, err := ical.Parse(text, ical.Import)
			if err != nil {
				return nil // over the limits
			}
			for _, calendar := range root.Parts("VCALENDAR") {
				for _, parts := range ical.Series(calendar) {
					one := &ical.Component{Name: calendar.Name, Properties: calendar.Properties.Clone()}
					one.Children = append(calendar.Parts("VTIMEZONE"), parts...)
					if n++; !same(t, p, one.String()) {
						odd++
					}
				}
			}
		case ".vcf":
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			cards, _, err := vcard.Parse(text, vcard.Import)
			if err != nil {
				return nil
			}
			for _, card := range cards {
				if n++; !same(t, p, card.To("4.0").String()) {
					odd++
				}
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d objects, %v", n, err)
	}
	t.Logf("%d objects, %d refused or given a UID", n, odd)
}

func same(t *testing.T, p, text string) bool {
	t.Helper()
	r, err := Parse([]byte(text), "made", now)
	if err != nil {
		t.Logf("%s: %v", p, err)
		return false
	}
	if string(r.Text) == text {
		return true
	}
	if r.UID != "made" {
		t.Errorf("%s: came out different", p)
	}
	return false
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(event("DTSTART:20261124T100000Z", "RRULE:FREQ=DAILY")))
	f.Add([]byte(event("DTSTART;VALUE=DATE:20261124", "RDATE;VALUE=PERIOD:20261124T100000Z/P90D", "EXDATE:20261125")))
	f.Add([]byte("BEGIN:VCARD\nVERSION:3.0\nN:Doe;Jane\nEND:VCARD\n"))
	f.Add([]byte(event("DTSTART;TZID=Nowhere:20261124T100000", "RRULE:FREQ=SECONDLY", "RECURRENCE-ID:20261124T100000")))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text, "", now)
		if err != nil {
			return
		}
		again, err := Parse(r.Text, "", now)
		if err != nil || string(again.Text) != string(r.Text) || again.UID != r.UID || again.Kind != r.Kind {
			t.Fatalf("read again: %v\n%q\n%+v", err, r.Text, again)
		}
		if len(r.Occurrences) > Listed || len(r.Words) > maxWords+1 {
			t.Fatalf("%d occurrences, %d bytes of words", len(r.Occurrences), len(r.Words))
		}
		seen := make(map[string]bool)
		for _, o := range r.Occurrences {
			key := fmt.Sprint(o.Starts.Unix(), " ", o.Instance)
			if seen[key] || o.Ends.Before(o.Starts) || o.Ends.Sub(o.Starts) > Longest {
				t.Fatalf("occurrence %+v", o)
			}
			seen[key] = true
		}
		if !r.Whole && r.To.Before(r.From) {
			t.Fatalf("window %v to %v", r.From, r.To)
		}
		q := &store.Between{From: now, To: now.AddDate(0, 1, 0), Limit: 100}
		if _, err := Between(&store.Object{Text: r.Text}, q); err != nil {
			t.Fatal(err)
		}
	})
}
