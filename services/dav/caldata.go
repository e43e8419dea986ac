package dav

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// dataRequest is what a report wants of the texts of objects (RFC 4791 section
// 9.6, RFC 6352 section 10.4).
type dataRequest struct {
	version string     // of cards
	comp    *partOf    // nil: all
	props   []propWish // of cards; nil: all
	expand  *timeRange
	limit   *timeRange // limit-recurrence-set
	// floating is where times without a zone are.
	floating *time.Location
}

// propWish is a property that is wanted, perhaps without its value.
type propWish struct {
	name    string
	noValue bool
}

// partOf is the part of a component that is wanted (RFC 4791 section 9.6.1).
type partOf struct {
	name     string
	allProps bool
	allComps bool
	props    []propWish
	comps    []*partOf
}

// wants tells whether a card's property is wanted.
func (d *dataRequest) wants(name string) bool {
	return d.props == nil || slices.ContainsFunc(d.props, func(w propWish) bool { return strings.EqualFold(w.name, name) })
}

// readData reads the calendar-data or address-data among the properties that a
// report asks for; nil when it does not ask for texts.
func readData(prop *node, floating *time.Location) (*dataRequest, error) {
	if n := prop.child(calName("calendar-data")); n != nil {
		if t := n.attr("content-type"); t != "" && !strings.EqualFold(t, "text/calendar") {
			return nil, failed(http.StatusForbidden, calName("supported-calendar-data"), "%s", t)
		}
		if v := n.attr("version"); v != "" && v != "2.0" {
			return nil, failed(http.StatusForbidden, calName("supported-calendar-data"), "version %s", v)
		}
		d := &dataRequest{floating: floating}
		var err error
		if d.expand, err = wholeRange(n.child(calName("expand"))); err != nil {
			return nil, err
		}
		if d.limit, err = wholeRange(n.child(calName("limit-recurrence-set"))); err != nil {
			return nil, err
		}
		if d.expand != nil && d.limit != nil { // RFC 4791 section 9.6: either, or
			return nil, calDialect.invalid("expand and limit-recurrence-set exclude each other")
		}
		if c := n.child(calName("comp")); c != nil {
			d.comp = readPart(c)
		}
		return d, nil
	}
	if n := prop.child(cardName("address-data")); n != nil {
		if t := n.attr("content-type"); t != "" && !strings.EqualFold(t, "text/vcard") {
			return nil, failed(http.StatusForbidden, cardName("supported-address-data"), "%s", t)
		}
		d := &dataRequest{version: nonEmpty(n.attr("version"), "3.0")}
		if d.version != "3.0" && d.version != "4.0" {
			return nil, failed(http.StatusForbidden, cardName("supported-address-data"), "version %s", d.version)
		}
		for _, c := range n.children() {
			if c.name == cardName("prop") {
				d.props = append(d.props, propWish{c.attr("name"), c.attr("novalue") == "yes"})
			}
		}
		return d, nil
	}
	return nil, nil
}

// wholeRange reads a range that has to have both ends (RFC 4791 section 9.6.5).
func wholeRange(n *node) (*timeRange, error) {
	t, err := calDialect.timeRange(n)
	if err == nil && t != nil && (t.from.IsZero() || t.to.IsZero()) {
		return nil, calDialect.invalid("start and end are needed")
	}
	return t, err
}

func readPart(n *node) *partOf {
	p := &partOf{name: n.attr("name")}
	for _, c := range n.children() {
		switch c.name {
		case calName("allprop"):
			p.allProps = true
		case calName("allcomp"):
			p.allComps = true
		case calName("prop"):
			p.props = append(p.props, propWish{c.attr("name"), c.attr("novalue") == "yes"})
		case calName("comp"):
			p.comps = append(p.comps, readPart(c))
		}
	}
	return p
}

// writeCalendarData writes the text of an event as the report wants it.
func writeCalendarData(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	if r.data == nil || res.object == nil {
		return errAbsent
	}
	o, err := r.server.text(ctx, r, res)
	if err != nil {
		return err
	}
	b, err := r.data.calendar(o.Text)
	if err != nil {
		return err
	}
	x.escapeBytes(b)
	return nil
}

func writeAddressData(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	if r.data == nil {
		return errAbsent
	}
	b, err := r.bodyOf(ctx, res, nonEmpty(r.data.version, "3.0"))
	if err != nil {
		return err
	}
	if r.data.props != nil {
		if b, err = r.data.card(b); err != nil {
			return err
		}
	}
	x.escapeBytes(b)
	return nil
}

// card is the part of a card that is wanted (RFC 6352 section 10.4.2).
func (d *dataRequest) card(text []byte) ([]byte, error) {
	cards, _, err := vcard.Parse(text, vcard.Object)
	if err != nil || len(cards) == 0 {
		return text, err
	}
	c := &vcard.Card{Properties: pick(cards[0].Properties, d.props, "VERSION", "UID", "FN", "N")}
	return c.Append(nil), nil
}

// pick takes the properties that are wanted, and those that must be there.
func pick(ps contentline.Properties, wishes []propWish, always ...string) (list contentline.Properties) {
	for _, p := range ps {
		take, noValue := slices.ContainsFunc(always, p.Is), false
		for _, w := range wishes {
			if p.Is(w.name) {
				take, noValue = true, w.noValue
			}
		}
		if take {
			if noValue {
				p = p.Clone()
				p.Value = ""
			}
			list = append(list, p)
		}
	}
	return list
}

// calendar is what is wanted of a calendar's text.
func (d *dataRequest) calendar(text []byte) ([]byte, error) {
	if d.comp == nil && d.expand == nil && d.limit == nil {
		return calendarOut(text)
	}
	cal, err := parseCalendar(text)
	if err != nil {
		return nil, err
	}
	switch {
	case d.expand != nil:
		if err := d.expanded(cal); err != nil {
			return nil, err
		}
	case d.limit != nil:
		d.limited(cal)
		describeZones(cal)
	default:
		describeZones(cal)
	}
	if d.comp != nil {
		cal = d.comp.of(cal)
	}
	return cal.Append(nil), nil
}

// of is the wanted part of a component.
func (p *partOf) of(c *ical.Component) *ical.Component {
	out := &ical.Component{Name: c.Name}
	if p.allProps {
		out.Properties = c.Properties
	} else {
		out.Properties = pick(c.Properties, p.props)
	}
	for _, child := range c.Children {
		if p.allComps {
			out.Children = append(out.Children, child)
			continue
		}
		for _, q := range p.comps {
			if child.Is(q.name) {
				out.Children = append(out.Children, q.of(child))
				break
			}
		}
	}
	return out
}

// maxExpanded bounds the instances that one object is expanded to.
const maxExpanded = 10_000

// expanded replaces a series by its instances in a range, in UTC and without the
// rule (RFC 4791 section 9.6.5).
func (d *dataRequest) expanded(cal *ical.Component) error {
	zones := ical.ZonesOf(cal, d.floating)
	var parts []*ical.Component
	for _, series := range ical.Series(cal) {
		set := ical.NewSet(series, zones)
		if !set.Recurs() {
			for _, c := range series {
				if partWithin(c, d.expand, zones) {
					parts = append(parts, inUTC(c.Clone(), zones))
				}
			}
			continue
		}
		list, err := set.List(d.expand.from, d.expand.to, maxExpanded)
		if err != nil {
			return failed(http.StatusForbidden, calName("max-instances"), "more than %d instances", maxExpanded)
		}
		for _, o := range list {
			c := o.Component.Clone()
			for _, name := range []string{"RRULE", "RDATE", "EXDATE", "EXRULE", "DTEND", "DUE", "DURATION", "RECURRENCE-ID"} {
				if name != "DURATION" || !c.Is("VTODO") || c.Prop("DTSTART") != nil {
					c.Remove(name)
				}
			}
			had := func(names ...string) bool {
				return slices.ContainsFunc(names, func(n string) bool { return o.Component.Prop(n) != nil })
			}
			start, end, id := ical.UTCTime(o.Start), ical.UTCTime(o.End), o.ID
			switch {
			case o.AllDay:
				start, end = dateOf(o.Start), dateOf(o.End)
			case o.Floating:
				start, end = wallOf(o.Start), wallOf(o.End)
			}
			if at, ok := zones.Instant(id); ok && !id.Date && !id.Floating() {
				id = ical.UTCTime(at)
			}
			c.SetTime("DTSTART", start)
			switch {
			case c.Is("VEVENT") && had("DTEND", "DURATION"):
				c.SetTime("DTEND", end)
			case c.Is("VTODO") && had("DUE", "DURATION"):
				c.SetTime("DUE", end)
			}
			c.SetTime("RECURRENCE-ID", id)
			parts = append(parts, inUTC(c, zones))
		}
	}
	cal.Children = parts // and no zones: nothing names them any more
	return nil
}

func dateOf(t time.Time) ical.Time {
	y, m, day := t.Date()
	return ical.DateOf(y, m, day)
}

func wallOf(t time.Time) ical.Time {
	return ical.Time{Wall: time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)}
}

// inUTC writes the times of a component in UTC; days and floating times stay.
func inUTC(c *ical.Component, zones *ical.Zones) *ical.Component {
	for _, p := range c.Properties {
		if p.ParamText("TZID") == "" {
			continue
		}
		list, err := ical.ParseTimes(p)
		if err != nil || len(list) == 0 {
			continue
		}
		var values []string
		for _, t := range list {
			at, ok := zones.Instant(t)
			if !ok || t.Date {
				values = nil
				break
			}
			values = append(values, ical.UTCTime(at).Value())
		}
		if values != nil {
			p.SetParam("TZID")
			p.Value = strings.Join(values, ",")
		}
	}
	return c
}

// limited leaves out the overrides that have nothing to do with a range (RFC
// 4791 section 9.6.6): neither the instance nor where it was is in it.
func (d *dataRequest) limited(cal *ical.Component) {
	zones := ical.ZonesOf(cal, d.floating)
	cal.Children = slices.DeleteFunc(cal.Children, func(c *ical.Component) bool {
		p := c.Prop("RECURRENCE-ID")
		if p == nil || partWithin(c, d.limit, zones) || strings.EqualFold(p.ParamText("RANGE"), "THISANDFUTURE") {
			return false
		}
		id, err := ical.ParseTime(p)
		if err != nil {
			return false
		}
		// Where the instance would have been, for as long as it lasts now.
		at, _ := zones.Instant(id)
		start, end, err := ical.Span(c, zones)
		if err != nil {
			return false
		}
		from, to := d.limit.closed()
		return !at.Before(to) || !at.Add(end.At.Sub(start.At)).After(from) && at.Before(from)
	})
}
