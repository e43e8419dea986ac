package objectfile

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// Became is what an object that is there already became of one with its UID.
type Became int

// What Update may say.
const (
	Same    Became = iota // it says the same
	Older                 // it says something else, and nothing says that the new one is newer
	Updated               // it was changed
)

// Update gives the text that is kept of two with one UID, both in the store's
// form: the new one's only when that is newer, by SEQUENCE and then LAST-MODIFIED,
// or by REV. A calendar that has nothing but overrides changes those instances
// alone.
func Update(old, text []byte) ([]byte, Became, error) {
	if bytes.Equal(old, text) {
		return old, Same, nil
	}
	if bytes.HasPrefix(text, []byte("BEGIN:VCARD")) {
		return updateCard(old, text)
	}
	was, err := oneOf(old)
	if err != nil {
		return nil, Same, err
	}
	is, err := oneOf(text)
	if err != nil {
		return nil, Same, err
	}
	switch {
	case said(was).Equal(said(is)):
		return old, Same, nil
	case master(was) != nil && master(is) == nil:
		if became := mergeInstances(was, is); became != Updated {
			return old, became, nil
		}
		return was.Append(nil), Updated, nil
	case newer(objectsOf(was), objectsOf(is)):
		return text, Updated, nil
	}
	return old, Older, nil
}

func updateCard(old, text []byte) ([]byte, Became, error) {
	was, _, err := vcard.Parse(old, vcard.Object)
	if err != nil {
		return nil, Same, err
	}
	is, _, err := vcard.Parse(text, vcard.Object)
	if err != nil {
		return nil, Same, err
	}
	a, b := was[0].Clone(), is[0].Clone()
	a.Remove("PRODID")
	b.Remove("PRODID")
	from, to := revision(was[0].Text("REV")), revision(is[0].Text("REV"))
	switch {
	case a.Equal(b.Properties):
		return old, Same, nil
	case !from.IsZero() && to.After(from):
		return text, Updated, nil
	}
	return old, Older, nil
}

// revision reads REV, in the basic or the extended form of ISO 8601.
func revision(text string) time.Time {
	text = strings.NewReplacer("-", "", ":", "").Replace(strings.ToUpper(strings.TrimSpace(text)))
	text, _, _ = strings.Cut(text, ".")
	for _, layout := range []string{"20060102T150405", "20060102"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(text, "Z")); err == nil {
			return t
		}
	}
	return time.Time{}
}

func oneOf(text []byte) (*ical.Component, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	return root.Children[0], nil
}

func objectsOf(cal *ical.Component) []*ical.Component {
	return cal.Parts("VEVENT", "VTODO", "VJOURNAL")
}

func master(cal *ical.Component) *ical.Component {
	for _, c := range objectsOf(cal) {
		if c.Prop("RECURRENCE-ID") == nil {
			return c
		}
	}
	return nil
}

// said is what a calendar says but for what every export says anew: the program
// that wrote it, when that was (DTSTAMP), and the rules of zones.
func said(cal *ical.Component) *ical.Component {
	c := &ical.Component{Name: cal.Name, Properties: cal.Properties.Clone()}
	for _, name := range ofTheFile {
		c.Remove(name)
	}
	for _, part := range cal.Children {
		if part.Is("VTIMEZONE") {
			continue
		}
		part = part.Clone()
		part.Remove("DTSTAMP")
		c.Children = append(c.Children, part)
	}
	return c
}

// newer compares two versions (RFC 5545 sections 3.8.7.4 and 3.8.7.3). DTSTAMP
// says nothing: many programs write there when they exported.
func newer(was, is []*ical.Component) bool {
	a, b := sequence(was), sequence(is)
	if a != b {
		return b > a
	}
	from, to := modified(was), modified(is)
	return !from.IsZero() && to.After(from)
}

// sequence is the series' own, and of overrides alone the highest.
func sequence(parts []*ical.Component) (most int) {
	for _, c := range parts {
		n, _ := strconv.Atoi(strings.TrimSpace(c.Text("SEQUENCE")))
		if c.Prop("RECURRENCE-ID") == nil {
			return n
		}
		most = max(most, n)
	}
	return most
}

func modified(parts []*ical.Component) (last time.Time) {
	for _, c := range parts {
		if t, err := c.Time("LAST-MODIFIED"); err == nil && t.Wall.After(last) {
			last = t.Wall
		}
	}
	return last
}

// mergeInstances brings overrides into a series.
func mergeInstances(series, news *ical.Component) Became {
	became := Same
	for _, c := range objectsOf(news) {
		id := c.Prop("RECURRENCE-ID")
		at := -1
		for i, have := range series.Children {
			if p := have.Prop("RECURRENCE-ID"); isObject(have) && p != nil && p.Value == id.Value && p.ParamText("TZID") == id.ParamText("TZID") {
				at = i
			}
		}
		switch {
		case at < 0:
			series.Children = append(series.Children, c)
			for _, zone := range news.Parts("VTIMEZONE") {
				if name := zone.Text("TZID"); !described(series, name) {
					series.Children = append([]*ical.Component{zone}, series.Children...)
				}
			}
			became = Updated
		case newer(series.Children[at:at+1], []*ical.Component{c}):
			series.Children[at] = c
			became = Updated
		case became == Same && !said(&ical.Component{Children: series.Children[at : at+1]}).Equal(said(&ical.Component{Children: []*ical.Component{c}})):
			became = Older
		}
	}
	return became
}

func described(cal *ical.Component, tzid string) bool {
	for _, z := range cal.Parts("VTIMEZONE") {
		if z.Text("TZID") == tzid {
			return true
		}
	}
	return false
}
