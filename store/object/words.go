package object

import (
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// maxWords bounds the words of one object in bytes: enough to find it by.
const maxWords = 8 << 10

// words collects texts up to maxWords.
type words struct{ b strings.Builder }

func (w *words) add(text string) {
	text = strings.Join(strings.Fields(text), " ")
	if room := maxWords - w.b.Len(); text == "" || room <= 0 {
		return
	} else if len(text) > room {
		text = strings.ToValidUTF8(text[:room], "")
	}
	w.b.WriteString(text)
	w.b.WriteByte('\n')
}

func calendarWords(parts []*ical.Component) string {
	var w words
	for _, name := range []string{"SUMMARY", "LOCATION"} {
		for _, c := range parts {
			w.add(c.Text(name))
		}
	}
	for _, c := range parts {
		for _, category := range c.List("CATEGORIES") {
			w.add(category)
		}
		if who, ok := c.Organizer(); ok {
			w.add(who.Name + " " + who.Address)
		}
	}
	for _, c := range parts {
		w.add(c.Text("DESCRIPTION"))
		for _, who := range c.Attendees() {
			w.add(who.Name + " " + who.Address)
		}
	}
	return w.b.String()
}

func cardWords(c *vcard.Card) string {
	var w words
	w.add(c.DisplayName())
	for _, name := range []string{"N", "NICKNAME", "ORG", "TITLE", "EMAIL", "TEL", "CATEGORIES", "ADR", "IMPP", "URL", "NOTE"} {
		for _, p := range c.All(name) {
			w.add(strings.Join(contentline.Fields(p.Value), " "))
		}
	}
	return w.b.String()
}
