package dav

import (
	"errors"
	"slices"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/recur"
)

// endOfTime and beginOfTime close ranges that are open.
var (
	beginOfTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	endOfTime   = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

func (t *timeRange) closed() (from, to time.Time) {
	from, to = beginOfTime, endOfTime
	if t != nil && !t.from.IsZero() {
		from = t.from
	}
	if t != nil && !t.to.IsZero() {
		to = t.to
	}
	return from, to
}

// has tells whether a moment is in the range.
func (t *timeRange) has(at time.Time) bool {
	from, to := t.closed()
	return !at.Before(from) && at.Before(to)
}

// calendarMatcher judges calendar objects by a filter (RFC 4791 section 9.7).
type calendarMatcher struct {
	filter   compFilter // of VCALENDAR
	floating *time.Location
}

// matches tells whether a calendar is what the filter wants.
func (m *calendarMatcher) matches(cal *ical.Component) bool {
	zones := ical.ZonesOf(cal, m.floating)
	within := func(p *contentline.Property, t *timeRange) bool { return propWithin(p, t, zones) }
	if m.filter.absent {
		return false
	}
	for i := range m.filter.props {
		if !m.filter.props[i].among(&cal.Properties, within) {
			return false
		}
	}
	for i := range m.filter.comps {
		if !m.component(cal, &m.filter.comps[i], zones, within) {
			return false
		}
	}
	return true
}

// component judges the parts of a calendar by one comp-filter.
func (m *calendarMatcher) component(cal *ical.Component, f *compFilter, zones *ical.Zones, within func(*contentline.Property, *timeRange) bool) bool {
	parts := cal.Parts(f.name)
	if f.absent {
		return len(parts) == 0
	}
	if len(parts) == 0 {
		return false
	}
	self := func(c *ical.Component) bool {
		for i := range f.props {
			if !f.props[i].among(&c.Properties, within) {
				return false
			}
		}
		return true
	}
	if f.during == nil && !alarmsInTime(f) || !recurrable(f.name) {
		for _, c := range parts {
			if self(c) && inner(c, f) && (f.during == nil || partWithin(c, f.during, zones)) {
				return true
			}
		}
		return false
	}
	// A series is judged by its instances.
	for _, series := range ical.Series(cal) {
		if len(series) == 0 || !series[0].Is(f.name) {
			continue
		}
		if m.series(series, f, zones, self) {
			return true
		}
	}
	return false
}

func recurrable(name string) bool { return name == "VEVENT" || name == "VTODO" || name == "VJOURNAL" }

// inner judges what is in a component where no time is asked for.
func inner(c *ical.Component, f *compFilter) bool {
	for i := range f.comps {
		in := &f.comps[i]
		found := false
		for _, child := range c.Parts(in.name) {
			ok := inner(child, in)
			for j := range in.props {
				ok = ok && in.props[j].among(&child.Properties, nil)
			}
			found = found || ok
		}
		if found == in.absent {
			return false
		}
	}
	return true
}

// alarmsInTime tells whether a filter asks when alarms ring.
func alarmsInTime(f *compFilter) bool {
	for _, in := range f.comps {
		if in.name == "VALARM" && in.during != nil {
			return true
		}
	}
	return false
}

// maxAlarmLead is how far before or after its event an alarm is looked for.
const maxAlarmLead = 400 * 24 * time.Hour

// maxInstances bounds how many instances of a series are looked at for one
// question.
const maxInstances = 20_000

// series judges the instances of a series, or one component that does not recur.
func (m *calendarMatcher) series(parts []*ical.Component, f *compFilter, zones *ical.Zones, self func(*ical.Component) bool) bool {
	set := ical.NewSet(parts, zones)
	// What recurs not is judged by the tables of section 9.9 as it is written.
	if !set.Recurs() {
		for _, c := range parts {
			if (f.during == nil || partWithin(c, f.during, zones)) && self(c) && m.alarms(c, f, occurrenceOf(c, zones), zones) {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(parts, self) {
		return false
	}
	from, to := f.during.closed()
	if alarmsInTime(f) {
		a, b := alarmRange(f).closed()
		if f.during == nil {
			from, to = a.Add(-maxAlarmLead), b.Add(maxAlarmLead)
		}
		if from.Before(a.Add(-maxAlarmLead)) {
			from = a.Add(-maxAlarmLead)
		}
		if to.After(b.Add(maxAlarmLead)) {
			to = b.Add(maxAlarmLead)
		}
	}
	n := 0
	for o, err := range set.Occurrences(from, to) {
		if n++; err != nil || n > maxInstances {
			// A rule that costs too much is shown rather than hidden.
			return errors.Is(err, recur.ErrSteps)
		}
		if self(o.Component) && m.alarms(o.Component, f, o, zones) {
			return true
		}
	}
	return false
}

func alarmRange(f *compFilter) *timeRange {
	for _, in := range f.comps {
		if in.name == "VALARM" && in.during != nil {
			return in.during
		}
	}
	return nil
}

func occurrenceOf(c *ical.Component, zones *ical.Zones) ical.Occurrence {
	start, end, err := ical.Span(c, zones)
	o := ical.Occurrence{Component: c}
	if err == nil {
		o.Start, o.End = start.At, end.At
	}
	return o
}

// alarms judges the parts of an instance: its alarms ring in time (RFC 4791
// section 9.9: trigger and repetitions), whatever else is as asked for.
func (m *calendarMatcher) alarms(c *ical.Component, f *compFilter, o ical.Occurrence, zones *ical.Zones) bool {
	for i := range f.comps {
		in := &f.comps[i]
		if in.name != "VALARM" || in.during == nil {
			one := compFilter{comps: []compFilter{*in}}
			if !inner(c, &one) {
				return false
			}
			continue
		}
		found := false
		for _, child := range c.Parts("VALARM") {
			a, err := ical.ParseAlarm(child)
			if err != nil {
				continue
			}
			ok := false
			for _, at := range a.Rings(o, zones) {
				ok = ok || in.during.has(at)
			}
			for j := range in.props {
				ok = ok && in.props[j].among(&child.Properties, nil)
			}
			found = found || ok
		}
		if found == in.absent {
			return false
		}
	}
	return true
}

// propWithin tells whether a property's time is in a range.
func propWithin(p *contentline.Property, t *timeRange, zones *ical.Zones) bool {
	at, err := ical.ParseTime(p)
	if err != nil {
		return false
	}
	begin, _ := zones.Instant(at)
	if !at.Date {
		return t.has(begin)
	}
	from, to := t.closed()
	return begin.Before(to) && begin.AddDate(0, 0, 1).After(from)
}

// partWithin is the tables of RFC 4791 section 9.9 for a component by itself.
func partWithin(c *ical.Component, t *timeRange, zones *ical.Zones) bool {
	from, to := t.closed()
	moment := func(name string) (at time.Time, day, ok bool) {
		v, err := c.Time(name)
		if err != nil || v.IsZero() {
			return at, false, false
		}
		at, _ = zones.Instant(v)
		return at, v.Date, true
	}
	switch {
	case c.Is("VEVENT"):
		start, end, err := ical.Span(c, zones)
		if err != nil || start.At.IsZero() {
			return false
		}
		if !end.At.After(start.At) {
			return !start.At.Before(from) && start.At.Before(to)
		}
		return from.Before(end.At) && to.After(start.At)
	case c.Is("VJOURNAL"):
		at, day, ok := moment("DTSTART")
		switch {
		case !ok:
			return false
		case day:
			return from.Before(at.AddDate(0, 0, 1)) && to.After(at)
		}
		return !from.After(at) && to.After(at)
	case !c.Is("VTODO"):
		return true
	}
	start, _, hasStart := moment("DTSTART")
	due, _, hasDue := moment("DUE")
	created, _, hasCreated := moment("CREATED")
	completed, _, hasCompleted := moment("COMPLETED")
	duration, err := ical.ParseDuration(c.Text("DURATION"))
	hasDuration := err == nil && c.Prop("DURATION") != nil
	switch {
	case hasStart && hasDuration:
		end := duration.After(start)
		return !from.After(end) && (to.After(start) || !to.Before(end))
	case hasStart && hasDue:
		return (from.Before(due) || !from.After(start)) && (to.After(start) || !to.Before(due))
	case hasStart:
		return !from.After(start) && to.After(start)
	case hasDue:
		return from.Before(due) && !to.Before(due)
	case hasCompleted && hasCreated:
		return (!from.After(created) || !from.After(completed)) && (!to.Before(created) || !to.Before(completed))
	case hasCompleted:
		return !from.After(completed) && !to.Before(completed)
	case hasCreated:
		return to.After(created)
	}
	return true
}
