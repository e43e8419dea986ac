// Package notes says a note, which is kept as VJOURNAL, in the words of
// ActiveSync's Notes class (MS-ASNOTE) and carries a change of the one into the
// other. It does no I/O and knows no WBXML.
//
// Its law is that of services/eas/calendar: the text is the truth, Read gives
// what ActiveSync has words for, and Write changes only what differs from that.
package notes

import (
	"slices"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/ical"
)

// Class is what a note is when nothing else is said of it.
const Class = "IPM.StickyNote"

// Note is an item of the class.
type Note struct {
	UID        string
	Subject    string
	Body       string // plain text
	HTML       string // the same as HTML; empty: it has none
	Categories []string
	Class      string    // IPM.StickyNote, or one below it
	Modified   time.Time // only read; Write notes when anything changed
}

// classMark keeps a class below IPM.StickyNote, which iCalendar has no word for.
const classMark = "X-WAYPOST-MESSAGE-CLASS"

// Read says a VJOURNAL in ActiveSync's words.
func Read(c *ical.Component) *Note {
	n := &Note{
		UID: c.Text("UID"), Subject: c.Text("SUMMARY"), Body: c.Text("DESCRIPTION"), HTML: html(c), Categories: c.List("CATEGORIES"), Class: Class,
	}
	if v := c.Text(classMark); IsClass(v) {
		n.Class = v
	}
	for _, name := range []string{"LAST-MODIFIED", "DTSTAMP", "CREATED"} {
		if t, err := c.Time(name); err == nil && !t.IsZero() {
			n.Modified = t.Wall
			break
		}
	}
	return n
}

// IsClass tells whether a message class is one of notes (MS-ASNOTE 2.2.2.5).
func IsClass(s string) bool {
	return len(s) < 256 && (strings.EqualFold(s, Class) || len(s) > len(Class) && strings.EqualFold(s[:len(Class)+1], Class+"."))
}

func html(c *ical.Component) string {
	for _, p := range c.All("X-ALT-DESC") {
		if strings.EqualFold(p.ParamText("FMTTYPE"), "text/html") {
			return contentline.Unescape(p.Value)
		}
	}
	return ""
}

// Write carries a note into a VJOURNAL and gives it anew; nil makes one.
func Write(c *ical.Component, now *Note, at time.Time) *ical.Component {
	fresh := c == nil
	if fresh {
		c = &ical.Component{Name: "VJOURNAL"}
		c.SetText("UID", now.UID)
	} else {
		c = c.Clone()
	}
	was := Read(c)
	changed := fresh
	text := func(name, was, now string) {
		if was != now {
			c.SetText(name, now)
			changed = true
		}
	}
	text("SUMMARY", was.Subject, now.Subject)
	text("DESCRIPTION", was.Body, now.Body)
	if was.HTML != now.HTML {
		changed = true
		c.Remove("X-ALT-DESC")
		if now.HTML != "" {
			p := &ical.Property{Name: "X-ALT-DESC", Value: contentline.Escape(now.HTML)}
			p.SetParam("FMTTYPE", "text/html")
			c.Properties = append(c.Properties, p)
		}
	}
	if !slices.Equal(was.Categories, now.Categories) {
		c.SetList("CATEGORIES", now.Categories)
		changed = true
	}
	if !strings.EqualFold(was.Class, now.Class) && IsClass(now.Class) {
		c.Remove(classMark)
		if !strings.EqualFold(now.Class, Class) {
			c.SetText(classMark, now.Class)
		}
		changed = true
	}
	if changed {
		stamp := ical.UTCTime(at.Truncate(time.Second))
		if fresh {
			c.SetTime("DTSTAMP", stamp)
			c.SetTime("CREATED", stamp)
		}
		c.SetTime("LAST-MODIFIED", stamp)
	}
	return c
}
