package notes

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/ical"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const note = `BEGIN:VJOURNAL
UID:n1
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20260101
SUMMARY;LANGUAGE=en:Shopping
DESCRIPTION:milk\nbread
X-ALT-DESC;FMTTYPE=text/html:<p>milk</p>\n<p>bread</p>
CATEGORIES:Blue
X-KEPT;A=b:yes
END:VJOURNAL
`

func parse(t testing.TB, text string) *ical.Component {
	t.Helper()
	root, _, err := ical.Parse([]byte(text), ical.Object)
	if err != nil || len(root.Children) != 1 {
		t.Fatalf("%v", err)
	}
	return root.Children[0]
}

func lines(c *ical.Component) string { return strings.ReplaceAll(c.String(), "\r\n", "\n") }

func TestRead(t *testing.T) {
	want := &Note{
		UID: "n1", Subject: "Shopping", Body: "milk\nbread", HTML: "<p>milk</p>\n<p>bread</p>", Categories: []string{"Blue"},
		Class: Class, Modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	if got := Read(parse(t, note)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What is said again changes nothing; what changes, nothing else.
func TestWrite(t *testing.T) {
	c := parse(t, note)
	if got := lines(Write(c, Read(c), at)); got != note {
		t.Errorf("said again:\n%s", got)
	}
	n := Read(c)
	n.Body, n.HTML, n.Class = "milk", "", Class+".Mine"
	want := strings.NewReplacer("DESCRIPTION:milk\\nbread", "DESCRIPTION:milk", "X-ALT-DESC;FMTTYPE=text/html:<p>milk</p>\\n<p>bread</p>\n", "",
		"X-KEPT;A=b:yes\n", "X-KEPT;A=b:yes\nX-WAYPOST-MESSAGE-CLASS:IPM.StickyNote.Mine\nLAST-MODIFIED:20261124T120000Z\n").Replace(note)
	if got := lines(Write(c, n, at)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	made := Read(Write(nil, &Note{UID: "n2", Subject: "s", Body: "b", Class: Class}, at))
	if want := (&Note{UID: "n2", Subject: "s", Body: "b", Class: Class, Modified: at}); !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v", made)
	}
}

// Every journal entry of the corpus: reading and writing it again leaves it.
func TestCorpus(t *testing.T) {
	n := 0
	for row, data := range corpus.Each(t, "ics") {
		root, _, err := ical.Parse(data, ical.Import)
		if err != nil {
			continue
		}
		for _, parts := range ical.Series(root) {
			for _, c := range parts {
				if !c.Is("VJOURNAL") {
					continue
				}
				n++
				if got := Write(c, Read(c), at).String(); got != c.String() {
					t.Errorf("%v: got\n%s\nwant\n%s", row, got, c)
				}
			}
		}
	}
	t.Logf("%d entries", n)
}
