package itip

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/ical"
)

// Product names us in calendars.
const Product = "-//Waypost//Waypost//EN"

// Parameters of ours on the ATTENDEE of an organizer's copy; nobody else sees them.
const (
	paramReplied = "X-WAYPOST-REPLIED"       // SEQUENCE and DTSTAMP of the newest answer
	paramFrom    = "X-WAYPOST-PROPOSED-FROM" // the time that was proposed, UTC
	paramTo      = "X-WAYPOST-PROPOSED-TO"
)

// askedName is the SEQUENCE at which people were last asked anew, on a component
// of the organizer's copy. Answers to it and what came after count: not every new
// number makes an answer void, and not every attendee hears of every number.
const askedName = "X-WAYPOST-ASKED"

func asked(c *ical.Component) int {
	n, err := strconv.Atoi(c.Text(askedName))
	if err != nil {
		return 0
	}
	return n
}

// calendar begins a message with what the components need.
func (s Side) calendar(method string, from *series, parts ...*ical.Component) *ical.Component {
	cal := &ical.Component{Name: "VCALENDAR"}
	cal.SetValue("PRODID", Product)
	cal.SetValue("VERSION", "2.0")
	cal.SetValue("METHOD", method)
	cal.Children = append(zonesFor(from, parts), parts...)
	return cal
}

// zonesFor are the VTIMEZONEs that the components name.
func zonesFor(from *series, parts []*ical.Component) []*ical.Component {
	var all []*ical.Component
	seen := map[string]bool{}
	for _, c := range parts {
		for _, p := range c.Properties {
			id := p.ParamText("TZID")
			if id == "" || seen[id] {
				continue
			}
			seen[id] = true
			at := slices.IndexFunc(from.cal.Children, func(z *ical.Component) bool { return z.Is("VTIMEZONE") && z.Text("TZID") == id })
			if at >= 0 {
				all = append(all, from.cal.Children[at].Clone())
				continue
			}
			if l := from.zones.Location(id); l != nil {
				begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
				if start, _, err := ical.Span(c, from.zones); err == nil {
					begin = start.At
				}
				all = append(all, ical.TimeZone(l, id, begin, begin))
			}
		}
	}
	return all
}

// write makes messages of notices. Cancellations say what was, or what has the
// new numbers; requests what is.
func (s Side) write(list notices, old, now *series) []Message {
	var all []Message
	for _, n := range list {
		m := Message{Kind: n.kind, Method: n.method, Sender: s.sender(), From: s.self()}
		for _, who := range n.to {
			m.To = append(m.To, Person{who.Address, who.Name})
		}
		var parts []*ical.Component
		from := now
		for _, id := range n.ids {
			if n.method == "CANCEL" {
				if c := s.cancel(old, now, id, n); c != nil {
					parts = append(parts, c)
				}
				continue
			}
			c := s.outgoing(now.parts[id])
			if id == "" {
				for _, w := range n.without {
					exclude(c, now.recurrence(w))
				}
			}
			parts = append(parts, c)
		}
		if len(parts) == 0 {
			continue
		}
		if n.method == "CANCEL" && old != nil {
			from = old
		}
		m.Calendar = s.calendar(n.method, from, parts...)
		if who, ok := parts[0].Organizer(); ok {
			m.From = Person{who.Address, who.Name}
			if m.From.Name == "" && s.Mine(who.Address) {
				m.From.Name = s.Name
			}
		}
		all = append(all, m)
	}
	return all
}

// personal tells properties that are the copy's owner's own.
func personal(name string) bool {
	name = strings.ToUpper(name)
	switch name {
	case "CATEGORIES", "X-MICROSOFT-CDO-BUSYSTATUS", "X-MICROSOFT-CDO-INTENDEDSTATUS", "CREATED":
		return true
	}
	for _, prefix := range []string{"X-MOZ-", "X-WAYPOST-", "X-LIC-", "X-EVOLUTION-", "X-APPLE-DEFAULT-ALARM", "X-APPLE-TRAVEL"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// outgoing is a component as others may see it: without its owner's alarms,
// categories and notes of how things stand.
func (s Side) outgoing(c *ical.Component) *ical.Component {
	out := &ical.Component{Name: c.Name}
	for _, p := range c.Properties {
		if personal(p.Name) || p.Is("REQUEST-STATUS") {
			continue
		}
		p = p.Clone()
		if p.Is("ATTENDEE") || p.Is("ORGANIZER") {
			private(p)
		}
		out.Properties = append(out.Properties, p)
	}
	for _, child := range c.Children {
		if !child.Is("VALARM") {
			out.Children = append(out.Children, child.Clone())
		}
	}
	if c.Is("VEVENT") {
		// What Outlook shows before and after an answer.
		out.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", "TENTATIVE")
		out.SetValue("X-MICROSOFT-CDO-INTENDEDSTATUS", intended(c))
	}
	return out
}

// private takes parameters off that are between a copy and its owner.
func private(p *ical.Property) {
	p.Params = slices.DeleteFunc(p.Params, func(param ical.Param) bool {
		name := strings.ToUpper(param.Name)
		return strings.HasPrefix(name, "SCHEDULE-") || strings.HasPrefix(name, "X-WAYPOST-")
	})
}

// intended is how busy the meeting will make those who come.
func intended(c *ical.Component) string {
	for _, name := range []string{"X-MICROSOFT-CDO-INTENDEDSTATUS", "X-MICROSOFT-CDO-BUSYSTATUS"} {
		switch v := strings.ToUpper(strings.TrimSpace(c.Text(name))); v {
		case "FREE", "BUSY", "OOF", "WORKINGELSEWHERE":
			return v
		}
	}
	if strings.EqualFold(c.Text("TRANSP"), "TRANSPARENT") {
		return "FREE"
	}
	return "BUSY"
}

// told are the properties that answers and cancellations have of their event.
var told = []string{"UID", "RECURRENCE-ID", "ORGANIZER", "DTSTART", "DTEND", "DURATION", "DUE", "SUMMARY", "LOCATION", "CLASS"}

// digest is a component with what says which event it is, in a fixed order.
func (s Side) digest(c *ical.Component, n int) *ical.Component {
	d := &ical.Component{Name: c.Name}
	for _, name := range told {
		if p := c.Prop(name); p != nil {
			p = p.Clone()
			if p.Is("ORGANIZER") {
				private(p)
			}
			d.Properties = append(d.Properties, p)
		}
	}
	d.SetTime("DTSTAMP", ical.UTCTime(s.Now))
	d.SetValue("SEQUENCE", "0")
	setSequence(d, n)
	return d
}

// cancel is what takes an instance, or all, back (RFC 5546 section 3.2.5).
func (s Side) cancel(old, now *series, id string, n notice) *ical.Component {
	c := old.before(id)
	if c == nil {
		return nil
	}
	seq := sequence(c)
	switch {
	case now.parts[id] != nil:
		seq = sequence(now.parts[id])
	case now.master != nil:
		seq = max(seq, sequence(now.master))
	}
	// The series has a newer number than any of its instances had.
	d := s.digest(c, seq)
	if n.whole {
		d.SetValue("STATUS", "CANCELLED") // not for one who is only uninvited
	}
	for _, who := range n.to {
		if p := s.attendee(c, who.Address); p != nil {
			p = p.Clone()
			private(p)
			d.Properties = append(d.Properties, p)
		}
	}
	if p := now.parts[id]; p != nil && p.Prop("ORGANIZER") != nil {
		sent := p.Prop("ORGANIZER").Clone()
		private(sent)
		d.Put(sent)
	}
	return d
}
