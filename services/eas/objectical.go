package eas

import (
	"strings"

	"waypost/internal/ical"
)

// series gives the components of the first UID of a text.
func series(root *ical.Component) []*ical.Component {
	all := ical.Series(root)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// calendarOf gives the calendar of a text that components are put back into.
func calendarOf(root *ical.Component) *ical.Component {
	for _, c := range root.Children {
		if c.Is("VCALENDAR") {
			return c
		}
	}
	c := &ical.Component{Name: "VCALENDAR"}
	c.SetValue("VERSION", "2.0")
	c.SetValue("PRODID", "-//Waypost//ActiveSync//EN")
	root.Children = append(root.Children, c)
	return c
}

// replaced gives the text of a calendar in which the components of one UID are
// replaced by others, in their place.
func replaced(root *ical.Component, old, now []*ical.Component) []byte {
	cal := calendarOf(root)
	was := map[*ical.Component]bool{}
	for _, c := range old {
		was[c] = true
	}
	var kept []*ical.Component
	var zones, parts []*ical.Component
	for _, c := range now {
		if strings.EqualFold(c.Name, "VTIMEZONE") {
			zones = append(zones, c)
		} else {
			parts = append(parts, c)
		}
	}
	done := false
	for _, c := range cal.Children {
		if !was[c] {
			kept = append(kept, c)
		} else if !done {
			done = true
			kept = append(append(kept, zones...), parts...)
		}
	}
	if !done {
		kept = append(append(kept, zones...), parts...)
	}
	cal.Children = kept
	return cal.Append(nil)
}
