package eas

import (
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/services/eas/calendar"
	"waypost/services/eas/wbxml"
)

// Exceptions of a series: before 16.0 they come as a whole list within it, from
// then on one by one, named by InstanceId.

// exceptions takes the list. Without one, the exceptions stay as they are
// (MS-ASCAL 3.2.5.3.1); those that the phone was not told stay in any case.
func (r *appointmentReader) exceptions(data *wbxml.Node, a, was *calendar.Appointment) error {
	list := data.Child(wbxml.CalendarExceptions)
	if a.Recurrence == nil {
		return nil
	}
	if list == nil {
		a.Exceptions = followed(a, was)
		return nil
	}
	now := slices.Clone(was.Exceptions[:hidden(was)])
	for n := range list.All(wbxml.CalendarException) {
		at, ok := parseTime(n.Get(wbxml.CalendarExceptionStartTime))
		if !ok {
			return fault.New(fault.Invalid, "an exception without its ExceptionStartTime")
		}
		if len(now) >= 10*maxExceptions {
			return fault.New(fault.Invalid, "too many exceptions")
		}
		if slices.ContainsFunc(now, func(x calendar.Exception) bool { return x.Original.Equal(at) }) {
			continue
		}
		if n.Bool(wbxml.CalendarDeleted, false) {
			now = append(now, calendar.Exception{Original: at, Deleted: true})
			continue
		}
		c := instanceOf(a, at)
		if old := exceptionAt(was, at); old != nil && old.Changed != nil {
			// What the phone has no word for in an exception is as it was.
			c.Organizer, c.Respond, c.NoCounter, c.Stamp, c.Response, c.Meeting = old.Changed.Organizer, old.Changed.Respond, old.Changed.NoCounter, old.Changed.Stamp, old.Changed.Response, old.Changed.Meeting
			c.Body = old.Changed.Body
			theirs := c.Organizer.Email != "" && !strings.EqualFold(c.Organizer.Email, r.me.Address)
			if r.version < wbxml.V140 || theirs && n.Has(wbxml.CalendarAttendees) {
				c.Attendees = old.Changed.Attendees
			}
			c.Zone = old.Changed.Zone
		}
		if err := r.changed(n, c); err != nil {
			return err
		}
		now = append(now, calendar.Exception{Original: at, Changed: c})
	}
	slices.SortStableFunc(now, func(x, y calendar.Exception) int { return x.Original.Compare(y.Original) })
	a.Exceptions = now
	return nil
}

// instanceOf is an instance that is as its series.
func instanceOf(a *calendar.Appointment, at time.Time) *calendar.Appointment {
	c := *a
	c.Recurrence, c.Exceptions, c.Partial = nil, nil, false
	c.Start = at.In(a.Start.Location())
	c.End = c.Start.Add(a.End.Sub(a.Start))
	if a.AllDay { // days are not all of 24 hours
		days := int(zone.Wall(a.End, a.End.Location()).Sub(zone.Wall(a.Start, a.Start.Location())) / (24 * time.Hour))
		c.End = c.Start.AddDate(0, 0, days)
	}
	return &c
}

// followed are the exceptions of a series that changed: a phone takes what an
// exception does not say of itself from its series (MS-ASCAL 2.2.2.21), so what was
// said alike stays alike.
func followed(a, was *calendar.Appointment) []calendar.Exception {
	now := slices.Clone(a.Exceptions)
	for i, x := range now {
		if x.Changed == nil {
			continue
		}
		c := *x.Changed
		for _, f := range []struct {
			has      *string
			was, now string
		}{{&c.Subject, was.Subject, a.Subject}, {&c.Location, was.Location, a.Location}, {&c.Body, was.Body, a.Body}} {
			if *f.has == f.was {
				*f.has = f.now
			}
		}
		now[i].Changed = &c
	}
	return now
}

func exceptionAt(a *calendar.Appointment, at time.Time) *calendar.Exception {
	for i := range a.Exceptions {
		if a.Exceptions[i].Original.Equal(at) {
			return &a.Exceptions[i]
		}
	}
	return nil
}

// changed takes what is said of an instance. What is left out is as before.
func (r *appointmentReader) changed(n *wbxml.Node, c *calendar.Appointment) error {
	whole := r.change
	r.change = true // no defaults for what is left out
	defer func() { r.change = whole }()
	if err := r.times(n, c); err != nil {
		return err
	}
	if err := r.one(n, c, false); err != nil {
		return err
	}
	c.Body = r.readBody(n, bodyText{plain: c.Body}, wbxml.CalendarBody).plain
	return nil
}

// instance carries out a Change or Delete of one occurrence (16.0 and later,
// MS-ASCAL 3.1.5.3.3).
func (r *appointmentReader) instance(c *syncCommand) error {
	a := r.x.a
	at, ok := parseTime(c.instance)
	if !ok || r.version < wbxml.V160 {
		return fault.New(fault.Invalid, "InstanceId is no time")
	}
	if a.AllDay {
		at = zone.Instant(at, r.zone)
	}
	if a.Recurrence == nil && !a.Partial {
		return fault.New(fault.Invalid, "one occurrence of what does not recur")
	}
	old := exceptionAt(a, at)
	if old == nil && !r.occurs(at) || old != nil && old.Deleted && c.kind != commandDelete {
		return fault.New(fault.NotFound, "no such occurrence")
	}
	now := calendar.Exception{Original: at, Deleted: true}
	if c.kind != commandDelete {
		now = calendar.Exception{Original: at, Changed: instanceOf(a, at)}
		if old != nil && old.Changed != nil {
			changed := *old.Changed
			now.Changed = &changed
		}
		if err := r.changed(c.data, now.Changed); err != nil {
			return err
		}
	}
	list := slices.Clone(a.Exceptions)
	if i := slices.IndexFunc(list, func(x calendar.Exception) bool { return x.Original.Equal(at) }); i >= 0 {
		list[i] = now
	} else {
		list = append(list, now)
	}
	slices.SortStableFunc(list, func(x, y calendar.Exception) int { return x.Original.Compare(y.Original) })
	a.Exceptions = list
	return nil
}

// occurs tells whether the series has an instance that begins then.
func (r *appointmentReader) occurs(at time.Time) bool {
	parts := slices.DeleteFunc(slices.Clone(r.x.parts), func(c *ical.Component) bool { return strings.EqualFold(c.Name, "VTIMEZONE") })
	found, _ := ical.NewSet(parts, r.x.side.Zones).List(at, at.Add(time.Second), 1000)
	return slices.ContainsFunc(found, func(o ical.Occurrence) bool { return !o.Override && o.Start.Equal(at) })
}
