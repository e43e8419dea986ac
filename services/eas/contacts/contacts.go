// Package contacts says a vCard in the words of ActiveSync's Contacts classes
// (MS-ASCNTC) and carries a change of the one into the other. It does no I/O and
// knows no WBXML.
//
// Its law is that of services/eas/calendar: the card's text is the truth, Read
// gives what ActiveSync has words for, and Write changes only what differs from
// what Read would give.
package contacts

import (
	"slices"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/vcard"
)

// Contact is an item of the classes. Fields has the values of its elements that
// are one text, by the element's name; the empty ones are left out.
type Contact struct {
	Fields     map[string]string
	Birthday   time.Time // a day, as midnight in UTC; the zero time: none
	Jubilee    time.Time // Anniversary
	Categories []string
	Children   []string
	Picture    []byte
	Body       string // plain text
}

// Fields lists the names that Contact.Fields may have, in order.
func Fields() []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// Read says a card in ActiveSync's words.
func Read(card *vcard.Card) *Contact {
	c := &Contact{Fields: map[string]string{}, Body: card.Text("NOTE"), Categories: card.List("CATEGORIES")}
	for _, f := range fields {
		if v := f.read(card); v != "" {
			c.Fields[f.name] = v
		}
	}
	c.Birthday, c.Jubilee = readDate(card, "BDAY"), readDate(card, anniversary(card))
	for _, p := range card.All(childName) {
		c.Children = append(c.Children, contentline.Unescape(p.Value))
	}
	c.Picture, _, _ = card.Photo()
	return c
}

// Write carries a contact into a card and gives it anew; the card given stays.
func Write(card *vcard.Card, now *Contact) *vcard.Card {
	card = card.Clone()
	was := Read(card)
	var writes []func()
	for _, f := range fields {
		if v := strings.TrimSpace(now.Fields[f.name]); was.Fields[f.name] != v {
			write := f.bind(card)
			writes = append(writes, func() { write(v) })
		}
	}
	for _, write := range writes {
		write()
	}
	if !was.Birthday.Equal(now.Birthday) {
		writeDate(card, "BDAY", now.Birthday)
	}
	if !was.Jubilee.Equal(now.Jubilee) {
		writeDate(card, anniversary(card), now.Jubilee)
	}
	if was.Body != now.Body {
		card.SetText("NOTE", now.Body)
	}
	if !slices.Equal(was.Categories, now.Categories) {
		card.SetList("CATEGORIES", now.Categories)
	}
	if !slices.Equal(was.Children, now.Children) {
		card.Remove(childName)
		for _, child := range now.Children {
			card.Properties = append(card.Properties, &vcard.Property{Name: childName, Value: contentline.Escape(child)})
		}
	}
	if !slices.Equal(was.Picture, now.Picture) {
		card.SetPhoto(now.Picture, media(now.Picture))
	}
	if card.Prop("FN") == nil { // every card has one (RFC 6350 section 6.2.1)
		card.Properties = append(card.Properties, &vcard.Property{Name: "FN", Value: contentline.Escape(card.DisplayName())})
	}
	return card
}

// childName is what Evolution and KDE have no word for either.
const childName = "X-CHILD"

// media tells pictures apart by how they begin.
func media(data []byte) string {
	switch {
	case len(data) > 3 && string(data[:3]) == "GIF":
		return "image/gif"
	case len(data) > 4 && string(data[1:4]) == "PNG":
		return "image/png"
	}
	return "image/jpeg"
}

// anniversary is the name that the card's version has for it.
func anniversary(card *vcard.Card) string {
	if card.Version() == "4.0" {
		return "ANNIVERSARY"
	}
	return "X-ANNIVERSARY"
}

// readDate reads a day; one without a year is none for ActiveSync.
func readDate(card *vcard.Card, name string) time.Time {
	p := card.Prop(name)
	if p == nil {
		return time.Time{}
	}
	if p.Param("X-APPLE-OMIT-YEAR") != nil {
		return time.Time{}
	}
	for _, layout := range []string{"20060102", "2006-01-02"} {
		if len(p.Value) >= len(layout) {
			if t, err := time.Parse(layout, p.Value[:len(layout)]); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

func writeDate(card *vcard.Card, name string, t time.Time) {
	if t.IsZero() {
		card.Remove(name)
		return
	}
	layout := "20060102"
	if card.Version() != "4.0" {
		layout = "2006-01-02"
	}
	// Phones send midnight of where they are, or noon: twelve hours make the day.
	card.SetValue(name, t.UTC().Add(12*time.Hour).Format(layout))
}
