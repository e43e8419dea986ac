// Package objectfile cuts files of iCalendar and vCard into the objects that a
// mailbox keeps, and joins objects into files. It does no I/O.
//
// Its law: an object that was joined and is cut again is the same, but for what
// a file has once for all: PRODID, METHOD, and what the calendar says of itself
// as a whole (its name, its colour, where it is published; RFC 7986 section 5).
package objectfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// Product is the PRODID of what is joined.
const Product = "-//Waypost//EN"

// MaxSize bounds a file in bytes.
var MaxSize = max(ical.Import.Size, vcard.Import.Size)

// Piece is one object of a file: an event, task or journal entry with all its
// overrides and the zones that they name, or a card.
type Piece struct {
	Line int    // where it begins
	Kind string // VEVENT, VTODO, VJOURNAL or VCARD
	UID  string // empty: it has none
	Name string // what it shows of itself
	Text []byte
	// Dated tells a journal entry with a day of its own from a note.
	Dated bool
	// Err is why this part of the file, or all that follows, is no object.
	Err error
}

// About is what a calendar says of itself as a whole.
type About struct{ Name, Description, Color, Zone string }

// File is a file that was read.
type File struct {
	About About
	// Refresh is how often a published calendar asks to be read, as a DURATION (RFC
	// 7986 section 5.7, and the name that was used before it).
	Refresh  string
	cards    []byte // of an address book
	calendar *ical.Component
}

// Read reads a file. An empty one is an address book of nobody.
func Read(text []byte) (*File, error) {
	head := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	if len(head) == 0 || len(head) >= 11 && strings.EqualFold(string(head[:11]), "BEGIN:VCARD") {
		return &File{cards: text}, nil
	}
	root, _, err := ical.Parse(text, ical.Import)
	if err != nil {
		return nil, err
	}
	if len(root.Children) == 0 {
		return nil, fault.New(fault.Invalid, "there is no calendar and no contact in the file")
	}
	f := &File{calendar: root}
	for _, cal := range root.Parts("VCALENDAR") {
		f.About.take(cal)
		for _, name := range []string{"REFRESH-INTERVAL", "X-PUBLISHED-TTL"} {
			f.Refresh = cmp.Or(f.Refresh, strings.TrimSpace(cal.Text(name)))
		}
	}
	return f, nil
}

func (a *About) take(cal *ical.Component) {
	for _, x := range []struct {
		to    *string
		names []string
	}{
		{&a.Name, []string{"NAME", "X-WR-CALNAME"}},
		{&a.Description, []string{"DESCRIPTION", "X-WR-CALDESC"}},
		{&a.Color, []string{"X-APPLE-CALENDAR-COLOR", "COLOR"}},
		{&a.Zone, []string{"X-WR-TIMEZONE"}},
	} {
		for _, name := range x.names {
			if *x.to == "" {
				*x.to = strings.TrimSpace(cal.Text(name))
			}
		}
	}
}

// ofTheWhole are properties of a calendar that describe it as a whole (RFC 7986
// section 5, and the X- ones that came before), or a message (METHOD; RFC 4791
// section 4.1: what is kept has none).
var ofTheWhole = []string{
	"METHOD", "NAME", "DESCRIPTION", "UID", "LAST-MODIFIED", "URL", "CATEGORIES", "REFRESH-INTERVAL", "SOURCE", "COLOR", "IMAGE",
	"X-WR-CALNAME", "X-WR-CALDESC", "X-WR-TIMEZONE", "X-WR-RELCALID", "X-PUBLISHED-TTL", "X-APPLE-CALENDAR-COLOR",
}

// Pieces cuts the file, one object after the other.
func (f *File) Pieces() iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		if f.calendar != nil {
			f.calendars(yield)
			return
		}
		stop := errors.New("enough")
		last := 0
		_, err := vcard.Each(f.cards, vcard.Import, func(c *vcard.Card, line int) error {
			last = line
			if !yield(Piece{Line: line, Kind: "VCARD", UID: strings.TrimSpace(c.Text("UID")), Name: c.DisplayName(), Text: c.Append(nil)}) {
				return stop
			}
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			yield(Piece{Line: last, Kind: "VCARD", Err: err})
		}
	}
}

func (f *File) calendars(yield func(Piece) bool) {
	var loose *ical.Component // parts without a calendar around them
	for _, cal := range f.calendar.Children {
		if !cal.Is("VCALENDAR") {
			if loose == nil {
				loose = begun()
			}
			loose.Children = append(loose.Children, cal)
			continue
		}
		if !cut(cal, yield) {
			return
		}
	}
	if loose != nil {
		cut(loose, yield)
	}
}

func begun() *ical.Component {
	cal := &ical.Component{Name: "VCALENDAR"}
	cal.SetValue("VERSION", "2.0")
	cal.SetValue("PRODID", Product)
	return cal
}

func isObject(c *ical.Component) bool { return c.Is("VEVENT") || c.Is("VTODO") || c.Is("VJOURNAL") }

// cut gives the objects of one calendar; one inside stands for itself.
func cut(cal *ical.Component, yield func(Piece) bool) bool {
	if inner := cal.Parts("VCALENDAR"); len(inner) > 0 {
		cal = &ical.Component{Name: cal.Name, Properties: cal.Properties, Children: slices.Clone(cal.Children)}
		cal.Children = slices.DeleteFunc(cal.Children, func(c *ical.Component) bool { return c.Is("VCALENDAR") })
		for _, c := range inner {
			if !cut(c, yield) {
				return false
			}
		}
	}
	head := &ical.Component{Name: "VCALENDAR", Properties: cal.Properties.Clone()}
	for _, name := range ofTheWhole {
		head.Remove(name)
	}
	zones := map[string]*ical.Component{}
	var others []*ical.Component
	for _, c := range cal.Children {
		switch {
		case c.Is("VTIMEZONE"):
			if id := c.Text("TZID"); zones[id] == nil {
				zones[id] = c
			}
		case !isObject(c):
			others = append(others, c)
		}
	}
	series := ical.Series(cal)
	alone := len(series) == 1
	for _, parts := range series {
		one := &ical.Component{Name: head.Name, Properties: head.Properties}
		if alone { // what else there is belongs to it
			one.Children = append(one.Children, others...)
		}
		one.Children = append(one.Children, parts...)
		for _, id := range zonesNamed(one.Children) {
			if z := zones[id]; z != nil {
				one.Children = append([]*ical.Component{z}, one.Children...)
			}
		}
		c := parts[0]
		p := Piece{Line: c.Line, Kind: strings.ToUpper(c.Name), UID: strings.TrimSpace(c.Text("UID")), Name: c.Text("SUMMARY"), Text: one.Append(nil)}
		p.Dated = c.Prop("DTSTART") != nil
		if !yield(p) {
			return false
		}
	}
	if alone {
		return true
	}
	for _, c := range others {
		p := Piece{Line: c.Line, Kind: strings.ToUpper(c.Name), UID: strings.TrimSpace(c.Text("UID"))}
		p.Err = fault.New(fault.Invalid, "%s is no event, task or journal entry", strings.ToValidUTF8(c.Name, "\ufffd"))
		if !yield(p) {
			return false
		}
	}
	return true
}

// zonesNamed are the TZIDs that parts name, in order.
func zonesNamed(parts []*ical.Component) []string {
	var all []string
	var walk func(c *ical.Component)
	walk = func(c *ical.Component) {
		for _, p := range c.Properties {
			if id := p.ParamText("TZID"); id != "" && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
		for _, child := range c.Children {
			walk(child)
		}
	}
	for _, c := range parts {
		walk(c)
	}
	return all
}

// Where says where a piece is, for a report.
func (p Piece) Where() string {
	switch {
	case p.UID != "":
		return fmt.Sprintf("line %d, UID %s", p.Line, p.UID)
	case p.Name != "":
		return fmt.Sprintf("line %d, %s", p.Line, contentline.Escape(p.Name))
	}
	return fmt.Sprintf("line %d", p.Line)
}
