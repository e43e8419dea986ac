package dav

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/internal/corpus"
	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// corpusTexts gives the texts of the corpus with one of the endings.
func corpusTexts(t *testing.T, endings ...string) map[string][]byte {
	t.Helper()
	dir := corpus.Dir(t)
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, e := range endings {
			if strings.EqualFold(filepath.Ext(path), e) {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				all[strings.TrimPrefix(path, dir+"/")] = b
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCalendarCorpus puts every object of the corpus and reads it back: the same
// components with the same properties, but for what is said in calendarIn: a
// METHOD is taken off, zones that were missing are described.
func TestCalendarCorpus(t *testing.T) {
	texts := corpusTexts(t, ".ics", ".vcs")
	s := newSite(t, Options{})
	folders := map[string]string{"VEVENT": s.standard("Calendar"), "VTODO": s.standard("Tasks"), "VJOURNAL": s.standard("Journal")}
	put, refused, seen := 0, 0, map[string]bool{}
	for path, b := range texts {
		root, _, err := ical.Parse(b, ical.Import)
		if err != nil {
			continue // over the limits
		}
		for _, cal := range root.Parts("VCALENDAR") {
			for i, series := range ical.Series(cal) {
				if i >= 20 { // large ones are the store's test
					break
				}
				uid := series[0].Name + strings.TrimSpace(series[0].Text("UID"))
				if hasUID(series) && seen[uid] {
					continue // files of the corpus share some
				}
				seen[uid] = true
				one := &ical.Component{Name: cal.Name, Properties: cal.Properties.Clone()}
				one.Children = append(one.Children, cal.Parts("VTIMEZONE")...)
				one.Children = append(one.Children, series...)
				href := folders[strings.ToUpper(series[0].Name)] + fmt.Sprintf("c%d.ics", put)
				a := s.do("PUT", href, one.String(), "If-None-Match: *")
				if a.code == 403 && strings.Contains(a.body, "valid-calendar-data") {
					t.Logf("%s %d: %s", path, i, a.body[strings.Index(a.body, "<C:"):])
					refused++
					continue
				}
				if a.code != 201 {
					t.Errorf("%s %d: %d %s", path, i, a.code, a.body)
					continue
				}
				put++
				g := s.want(200, "GET", href, "")
				back, _, err := ical.Parse([]byte(g.body), ical.Object)
				if err != nil || len(back.Children) != 1 {
					t.Fatal(path, err)
				}
				one.Remove("METHOD")
				got := back.Children[0]
				for _, z := range got.Parts("VTIMEZONE") {
					if !hasZone(one, z.Text("TZID")) {
						got.RemovePart(z)
					}
				}
				if !hasUID(series) {
					for _, c := range got.Parts("VEVENT", "VTODO", "VJOURNAL") {
						c.Remove("UID")
					}
					for _, c := range one.Parts("VEVENT", "VTODO", "VJOURNAL") {
						c.Remove("UID")
					}
				}
				if !got.Equal(one) {
					t.Errorf("%s %d: came back as\n%s\nwas\n%s", path, i, got, one)
				}
			}
		}
	}
	t.Logf("%d objects of %d files; %d refused", put, len(texts), refused)
	if put < 300 || refused > 5 {
		t.Errorf("only %d objects", put)
	}
}

func hasZone(c *ical.Component, tzid string) bool {
	for _, z := range c.Parts("VTIMEZONE") {
		if z.Text("TZID") == tzid {
			return true
		}
	}
	return false
}

func hasUID(series []*ical.Component) bool {
	for _, c := range series {
		if strings.TrimSpace(c.Text("UID")) == "" {
			return false
		}
	}
	return true
}

// TestCardCorpus puts every card of the corpus and reads it back in its version.
// What a card of 3.0 says comes back from 4.0 as internal/vcard makes it, which has
// its own test; here nothing may be lost on the way.
func TestCardCorpus(t *testing.T) {
	texts := corpusTexts(t, ".vcf")
	s := newSite(t, Options{})
	book := s.standard("Contacts")
	put := 0
	seen := map[string]bool{}
	for path, b := range texts {
		cards, _, err := vcard.Parse(b, vcard.Import)
		if err != nil {
			t.Fatal(path, err)
		}
		for i, c := range cards[:min(len(cards), 20)] {
			uid := strings.TrimSpace(c.To("4.0").Text("UID"))
			if uid != "" && seen[uid] {
				continue
			}
			seen[uid] = true
			href := book + fmt.Sprintf("c%d.vcf", put)
			a := s.do("PUT", href, c.String(), "If-None-Match: *", "Content-Type: text/vcard")
			if a.code != 201 {
				t.Errorf("%s %d: %d %s\n%.2000s", path, i, a.code, a.body, c)
				continue
			}
			put++
			version := c.Version()
			g := s.want(200, "GET", href, "", "Accept: text/vcard; version="+version)
			back, _, err := vcard.Parse([]byte(g.body), vcard.Object)
			if err != nil || len(back) != 1 {
				t.Fatal(path, err)
			}
			want := c.To("4.0").To(version)
			if uid == "" {
				back[0].Remove("UID")
				want.Remove("UID")
			}
			if !back[0].Equal(want.Properties) {
				t.Errorf("%s %d: came back as\n%s\nwant\n%s", path, i, back[0], want)
			}
		}
	}
	t.Logf("%d cards of %d files", put, len(texts))
	if put < 100 {
		t.Errorf("only %d cards", put)
	}
}
