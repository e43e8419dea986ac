package eas

import (
	"strings"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/services/eas/notes"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// noteItems is the class Notes (MS-ASNOTE), of 14.0 and later.
type noteItems struct{}

// openPart reads a text of one component.
func openPart(text []byte) (*ical.Component, *ical.Component, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, nil, err
	}
	parts := series(root)
	if len(parts) == 0 {
		return nil, nil, fault.New(fault.Invalid, "nothing in it")
	}
	for _, c := range parts {
		if c.Prop("RECURRENCE-ID") == nil {
			return root, c, nil
		}
	}
	return root, parts[0], nil
}

func (noteItems) write(e *wbxml.Encoder, s *side, o *store.Object) error {
	n := &notes.Note{Class: notes.Class}
	if _, c, err := openPart(o.Text); err == nil {
		n = notes.Read(c)
	}
	writeNote(e, s, n)
	return e.Err()
}

func writeNote(e *wbxml.Encoder, s *side, n *notes.Note) {
	subject := n.Subject
	if subject == "" {
		subject = firstLine(n.Body)
	}
	e.Text(wbxml.NotesSubject, subject)
	e.Text(wbxml.NotesMessageClass, n.Class)
	modified := n.Modified
	if modified.IsZero() {
		modified = s.now
	}
	e.Text(wbxml.NotesLastModifiedDate, modified.UTC().Format(compact))
	writeList(e, wbxml.NotesCategories, wbxml.NotesCategory, n.Categories)
	s.writeBody(e, bodyText{plain: n.Body, html: n.HTML}, bodyTags{})
}

// firstLine is what a note without a subject is called.
func firstLine(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			return cutText(line, 255)
		}
	}
	return ""
}

func (noteItems) uid(_ *syncCommand, once string) string { return newUID(once) }

func (noteItems) edit(s *side, old *store.Object, c *syncCommand) (edited, error) {
	root, part := &ical.Component{}, (*ical.Component)(nil)
	n := &notes.Note{UID: s.made, Class: notes.Class}
	var parts []*ical.Component
	if old != nil {
		var err error
		if root, part, err = openPart(old.Text); err != nil {
			return edited{}, err
		}
		parts = []*ical.Component{part}
		n = notes.Read(part)
	}
	if x := c.data.Child(wbxml.NotesSubject); x != nil {
		if v := strings.TrimSpace(x.Value()); n.Subject != "" || v != firstLine(n.Body) || old == nil {
			n.Subject = v
		}
	}
	if v := strings.TrimSpace(c.data.Get(wbxml.NotesMessageClass)); v != "" {
		if !notes.IsClass(v) {
			return edited{}, fault.New(fault.Invalid, "no message class of notes")
		}
		n.Class = v
	}
	if x := c.data.Child(wbxml.NotesCategories); x != nil {
		n.Categories = listOf(n.Categories, x, wbxml.NotesCategory)
	}
	body := s.readBody(c.data, bodyText{plain: n.Body, html: n.HTML}, 0)
	n.Body, n.HTML = body.plain, body.html
	now := notes.Write(part, n, s.now)
	return edited{text: replaced(root, parts, []*ical.Component{now})}, nil
}
