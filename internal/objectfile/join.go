package objectfile

import (
	"io"
	"slices"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/ical"
)

// Calendar writes objects into one calendar, with every zone once. A zone whose
// name says which it is gets our description, from 1970 on. What cannot stand
// there, because it has a zone of the same name with other rules or says
// something of its calendar that the others do not, becomes a calendar of its own
// behind it (RFC 5545 section 3.4 allows for several).
type Calendar struct {
	w     io.Writer
	zones map[string]string // text by TZID
	known *ical.Zones       // by name alone
	apart [][]byte
}

// NewCalendar begins a calendar.
func NewCalendar(w io.Writer, a About) (*Calendar, error) {
	head := begun()
	head.SetValue("CALSCALE", "GREGORIAN")
	head.SetText("X-WR-CALNAME", a.Name)
	head.SetText("X-WR-CALDESC", a.Description)
	head.SetText("X-APPLE-CALENDAR-COLOR", a.Color)
	head.SetText("X-WR-TIMEZONE", a.Zone)
	text := head.Append(nil)
	_, err := w.Write([]byte(strings.TrimSuffix(string(text), "END:VCALENDAR\r\n")))
	return &Calendar{w: w, zones: map[string]string{}, known: ical.ZonesOf(&ical.Component{}, nil)}, err
}

// ofTheFile are properties that every calendar has and that say nothing.
var ofTheFile = []string{"VERSION", "PRODID", "CALSCALE"}

// Add writes an object of the store.
func (c *Calendar) Add(text []byte) error {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return err
	}
	cals := root.Parts("VCALENDAR")
	if len(cals) != 1 || !c.fits(cals[0]) {
		c.apart = append(c.apart, text)
		return nil
	}
	cal := cals[0]
	var out []byte
	for _, id := range zonesNamed(cal.Children) {
		l := c.known.Location(id)
		if _, there := c.zones[id]; there || l == nil {
			continue
		}
		c.zones[id] = ""
		out = ical.TimeZone(l, id, describeFrom, describeTo).Append(out)
	}
	for _, part := range cal.Children {
		if part.Is("VTIMEZONE") {
			id := part.Text("TZID")
			if _, there := c.zones[id]; there || c.known.Location(id) != nil {
				continue
			}
			c.zones[id] = part.String()
		}
		out = part.Append(out)
	}
	_, err = c.w.Write(out)
	return err
}

// How far a description of a known zone reaches at least.
var (
	describeFrom = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	describeTo   = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
)

// fits tells whether an object may stand beside the others.
func (c *Calendar) fits(cal *ical.Component) bool {
	if scale := cal.Text("CALSCALE"); scale != "" && !strings.EqualFold(scale, "GREGORIAN") {
		return false
	}
	own := &ical.Component{Properties: cal.Properties.Clone()}
	for _, name := range slices.Concat(ofTheFile, ofTheWhole) {
		own.Remove(name)
	}
	if len(own.Properties) > 0 {
		return false
	}
	described := map[string]bool{}
	for _, part := range cal.Children {
		switch {
		case part.Is("VTIMEZONE"):
			id := part.Text("TZID")
			if c.known.Location(id) != nil {
				continue
			}
			if text, there := c.zones[id]; described[id] || there && text != part.String() {
				return false
			}
			described[id] = true
		case !isObject(part):
			return false
		}
	}
	// A zone that nobody knows must not get the description of another's.
	for _, id := range zonesNamed(cal.Children) {
		if _, there := c.zones[id]; there && !described[id] && c.known.Location(id) == nil {
			return false
		}
	}
	return true
}

// Close ends the calendar.
func (c *Calendar) Close() error {
	if _, err := c.w.Write(contentline.Fold(nil, "END:VCALENDAR")); err != nil {
		return err
	}
	for _, text := range c.apart {
		if _, err := c.w.Write(text); err != nil {
			return err
		}
	}
	return nil
}
