package calendar

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Write carries an appointment into the components of its UID and gives them
// anew, with a VTIMEZONE where a zone of nobody else's is named. Without parts it
// makes them. What Read would say of the parts already is not touched.
func (s Side) Write(parts []*ical.Component, a *Appointment) ([]*ical.Component, error) {
	if !a.End.IsZero() && a.End.Before(a.Start) {
		return nil, fault.New(fault.Invalid, "an appointment that ends before it begins")
	}
	w := &writer{Side: s, year: s.year(a), old: &Appointment{Busy: 2, Reminder: -1}}
	if len(parts) == 0 {
		w.master = &ical.Component{Name: "VEVENT"}
		w.master.SetText("UID", a.UID)
		w.parts = []*ical.Component{w.master}
	} else {
		for _, part := range parts {
			w.parts = append(w.parts, part.Clone())
		}
		old, err := s.Read(w.parts)
		if err != nil {
			return nil, err
		}
		w.old = old
		w.master = w.parts[0]
		if set := ical.NewSet(w.parts, s.Zones); set.Master != nil {
			w.master, w.set = set.Master, set
		}
	}
	if err := w.one(w.master, w.old, a); err != nil {
		return nil, err
	}
	if err := w.recurrence(a); err != nil {
		return nil, err
	}
	if err := w.exceptions(a); err != nil {
		return nil, err
	}
	return w.parts, nil
}

type writer struct {
	Side
	year   int // whose rules the phone's zone has
	old    *Appointment
	parts  []*ical.Component
	master *ical.Component
	set    *ical.Set // of the old parts; nil when there were none
}

// one writes what differs between was and now into a component.
func (w *writer) one(c *ical.Component, was, now *Appointment) error {
	if err := w.times(c, was, now); err != nil {
		return err
	}
	text := func(name, was, now string) {
		if was != now {
			c.SetText(name, now)
		}
	}
	text("SUMMARY", was.Subject, now.Subject)
	text("LOCATION", was.Location, now.Location)
	text("DESCRIPTION", was.Body, now.Body)
	if !slices.Equal(was.Categories, now.Categories) {
		c.SetList("CATEGORIES", now.Categories)
	}
	if !now.Stamp.IsZero() && !was.Stamp.Equal(now.Stamp) {
		c.SetTime("DTSTAMP", ical.UTCTime(now.Stamp))
	}
	if was.Busy != now.Busy && now.Busy >= 0 && now.Busy < len(busyWords) {
		c.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", busyWords[now.Busy])
		transparency := "OPAQUE"
		if now.Busy == 0 {
			transparency = "TRANSPARENT"
		}
		c.SetValue("TRANSP", transparency)
	}
	if was.Sensitive != now.Sensitive {
		setClass(c, now.Sensitive)
	}
	if was.Reminder != now.Reminder {
		if now.Reminder < 0 {
			c.RemoveReminders()
		} else {
			c.SetReminder(time.Duration(now.Reminder)*time.Minute, now.Subject)
		}
	}
	if was.NoCounter != now.NoCounter {
		c.Remove("X-MICROSOFT-DISALLOW-COUNTER")
		if now.NoCounter {
			c.SetValue("X-MICROSOFT-DISALLOW-COUNTER", "TRUE")
		}
	}
	w.people(c, was, now)
	if cancelled := now.Meeting&4 != 0; cancelled != (was.Meeting&4 != 0) {
		c.Remove("STATUS")
		if cancelled {
			c.SetValue("STATUS", "CANCELLED")
		}
	}
	return nil
}

func setClass(c *ical.Component, sensitive int) {
	class := "PRIVATE"
	switch sensitive {
	case 0:
		class = "PUBLIC"
	case 3:
		class = "CONFIDENTIAL"
	}
	c.SetValue("CLASS", class)
}

func (w *writer) people(c *ical.Component, was, now *Appointment) {
	if was.Organizer != now.Organizer && now.Organizer.Email != "" {
		p := c.Prop("ORGANIZER")
		if p == nil {
			p = &ical.Property{Name: "ORGANIZER"}
			c.Properties = append(c.Properties, p)
		}
		who := ical.ParsePerson(p)
		who.Address, who.Name = now.Organizer.Email, now.Organizer.Name
		who.Write(p)
	}
	if slices.Equal(was.Attendees, now.Attendees) && was.Respond == now.Respond {
		return
	}
	same := func(email string) func(Attendee) bool {
		return func(a Attendee) bool { return strings.EqualFold(a.Email, email) }
	}
	for _, gone := range was.Attendees {
		if !slices.ContainsFunc(now.Attendees, same(gone.Email)) {
			c.RemoveAttendee(gone.Email)
		}
	}
	organizer, organized := c.Organizer()
	mine := !organized || strings.EqualFold(organizer.Address, w.Me)
	for _, a := range now.Attendees {
		if a.Email == "" {
			continue // what has no address cannot be invited
		}
		who := ical.Person{Address: a.Email}
		if p := c.Attendee(a.Email); p != nil {
			who = ical.ParsePerson(p)
		}
		i := slices.IndexFunc(was.Attendees, same(a.Email))
		old := Attendee{}
		if i >= 0 {
			old = was.Attendees[i]
		}
		who.Name = a.Name
		if a.Status != old.Status {
			for _, s := range statuses {
				if s.status == a.Status {
					who.Status = s.partstat
				}
			}
		}
		if a.Type != old.Type {
			who.Role, who.Type = "REQ-PARTICIPANT", ""
			switch a.Type {
			case 2:
				who.Role = "OPT-PARTICIPANT"
			case 3:
				who.Role, who.Type = "NON-PARTICIPANT", "RESOURCE"
			}
		}
		if mine || strings.EqualFold(a.Email, w.Me) {
			if was.Respond != now.Respond || i < 0 {
				who.RSVP = now.Respond
			}
		}
		c.SetAttendee(who)
	}
}

// times writes beginning and end.
func (w *writer) times(c *ical.Component, was, now *Appointment) error {
	same := was.Start.Equal(now.Start) && was.End.Equal(now.End) && was.AllDay == now.AllDay
	if same && (sameRules(was.Zone, now.Zone) || now.AllDay || now.Zone == zone.Info{}) {
		return nil
	}
	if now.Start.IsZero() {
		return fault.New(fault.Invalid, "an appointment without a beginning")
	}
	end := now.End
	if end.IsZero() {
		end = now.Start
	}
	if now.AllDay {
		l := w.readerZone(now)
		first, after := dayOf(now.Start, l), dayOf(end, l)
		if !after.Wall.After(first.Wall) {
			after.Wall = first.Wall.AddDate(0, 0, 1)
		}
		c.SetTime("DTSTART", first)
		c.Remove("DURATION")
		c.SetTime("DTEND", after)
		return nil
	}
	form := w.form(c, was, now)
	length := now.End.Sub(now.Start) == was.End.Sub(was.Start) && !was.AllDay
	c.SetTime("DTSTART", inForm(now.Start, form.Time, form.At.Location()))
	if length && c.Prop("DURATION") != nil {
		return nil // it says the same as before
	}
	c.Remove("DURATION")
	if !now.End.Equal(was.End) || was.AllDay || c.Prop("DTEND") == nil || !sameRules(was.Zone, now.Zone) {
		c.SetTime("DTEND", inForm(end, form.Time, form.At.Location()))
	}
	return nil
}

// readerZone is where the midnights of a whole day are.
func (w *writer) readerZone(a *Appointment) *time.Location {
	if a.Zone == (zone.Info{}) {
		return w.Zones.Floating
	}
	return a.Zone.Location(w.year)
}

// dayOf is the day of a midnight. Some phones are wrong about the zone by some
// hours, so the nearest midnight counts.
func dayOf(t time.Time, l *time.Location) ical.Time {
	wall := zone.Wall(t, l).Add(12 * time.Hour)
	return ical.DateOf(wall.Year(), wall.Month(), wall.Day())
}

// form is how the component writes times: as it did when the zone has the same
// rules, else in the zone that the phone means.
func (w *writer) form(c *ical.Component, was, now *Appointment) ical.Placed {
	old, err := c.Time("DTSTART")
	known := err == nil && !old.IsZero() && !old.Date
	if known && (sameRules(was.Zone, now.Zone) || now.Zone == zone.Info{}) {
		at, _ := w.Zones.Instant(old)
		return ical.Placed{Time: old, At: at}
	}
	if now.Zone == (zone.Info{}) { // nothing is said: UTC, as it came
		return ical.Placed{Time: ical.Time{UTC: true}, At: now.Start.UTC()}
	}
	l := now.Zone.Location(w.year)
	if l == time.UTC {
		return ical.Placed{Time: ical.Time{UTC: true}, At: now.Start.UTC()}
	}
	if zone.Load(l.String()) == nil {
		w.parts = append(w.parts, ical.TimeZone(l, l.String(), now.Start, now.End))
	}
	return ical.Placed{Time: ical.Time{TZID: l.String()}, At: now.Start.In(l)}
}

func inForm(t time.Time, form ical.Time, l *time.Location) ical.Time {
	form.Wall = zone.Wall(t, l)
	return form
}

// sameRules compares zones without their names, which are localized.
func sameRules(a, b zone.Info) bool {
	a.StandardName, a.DaylightName, b.StandardName, b.DaylightName = "", "", "", ""
	return a == b
}

// recurrence writes the rule. A series that ActiveSync cannot say is left alone,
// unless the phone gave it a pattern of its own.
func (w *writer) recurrence(a *Appointment) error {
	// Asked again: a rule that leaves the day to DTSTART moved with it.
	moved, err := w.Read(w.parts)
	if err != nil {
		return err
	}
	now := a.Recurrence
	if moved.Recurrence.equal(now) || now == nil && w.old.Partial {
		return nil
	}
	if now == nil {
		for _, name := range []string{"RRULE", "EXDATE"} {
			w.master.Remove(name)
		}
		return nil
	}
	rule, err := now.rule()
	if err != nil {
		return err
	}
	if !now.Until.IsZero() && rule.Count == 0 { // with both, the number counts (MS-ASCAL 3.2.5.3)
		start, _, err := ical.Span(w.master, w.Zones)
		if err != nil {
			return err
		}
		switch {
		case start.Time.Date:
			rule.Until = recur.Until{Wall: dayUntil(now.Until, start.At.Location()), Date: true}
		case start.Time.Floating():
			rule.Until = recur.Until{Wall: zone.Wall(now.Until, start.At.Location())}
		default:
			rule.Until = recur.Until{Wall: now.Until.UTC(), UTC: true}
		}
	}
	w.master.SetValue("RRULE", rule.String())
	return nil
}

// dayUntil is the last day of a series of days.
func dayUntil(t time.Time, l *time.Location) time.Time {
	return zone.Wall(t, l).Truncate(24 * time.Hour)
}

// exceptions writes EXDATE and overrides.
func (w *writer) exceptions(a *Appointment) error {
	if reflect.DeepEqual(w.old.Exceptions, a.Exceptions) {
		return nil
	}
	start, _, err := ical.Span(w.master, w.Zones)
	if err != nil {
		return err
	}
	id := func(t time.Time) ical.Time {
		if start.Time.Date {
			return dayOf(t, start.At.Location())
		}
		return inForm(t, start.Time, start.At.Location())
	}
	existing := map[int64]ical.Change{}
	if w.set != nil {
		for _, o := range w.set.Overrides() {
			existing[o.At.Unix()] = o
		}
	}
	changed := map[int64]*Appointment{}
	for _, ex := range w.old.Exceptions {
		changed[ex.Original.Unix()] = ex.Changed
	}
	var out []string
	kept := map[int64]bool{}
	for _, ex := range a.Exceptions {
		at := ex.Original.Unix()
		if ex.Deleted || ex.Changed == nil {
			if ex.Deleted {
				out = append(out, id(ex.Original).Value())
			}
			continue
		}
		kept[at] = true
		if o, ok := existing[at]; ok {
			was := changed[at]
			if was == nil { // one that could not be read
				was = &Appointment{Busy: 2, Reminder: -1}
			}
			if err := w.one(o.Component, was, ex.Changed); err != nil {
				return err
			}
			continue
		}
		// A new one begins as the series is.
		c := w.master.Clone()
		for _, name := range []string{"RRULE", "RDATE", "EXDATE", "EXRULE"} {
			c.Remove(name)
		}
		c.SetTime("RECURRENCE-ID", id(ex.Original))
		length := a.End.Sub(a.Start)
		was := *a
		if err := w.one(c, &was, &Appointment{
			Zone: a.Zone, Start: ex.Original, End: ex.Original.Add(length), AllDay: a.AllDay, Subject: a.Subject, Location: a.Location, Body: a.Body,
			Categories: a.Categories, Busy: a.Busy, Sensitive: a.Sensitive, Reminder: a.Reminder, Meeting: a.Meeting, Organizer: a.Organizer,
			Attendees: a.Attendees, Respond: a.Respond, NoCounter: a.NoCounter, Stamp: a.Stamp,
		}); err != nil {
			return err
		}
		was.Start, was.End = ex.Original, ex.Original.Add(length)
		if err := w.one(c, &was, ex.Changed); err != nil {
			return err
		}
		w.parts = append(w.parts, c)
	}
	gone := map[*ical.Component]bool{}
	for at, o := range existing {
		gone[o.Component] = !kept[at] && !o.Future
	}
	w.parts = slices.DeleteFunc(w.parts, func(c *ical.Component) bool { return gone[c] })
	w.excluded(out, id(start.At))
	return nil
}

// excluded writes EXDATE when it says something else than before.
func (w *writer) excluded(values []string, form ical.Time) {
	var was, now []int64
	for _, ex := range w.old.Exceptions {
		if ex.Deleted {
			was = append(was, ex.Original.Unix())
		}
	}
	p := &ical.Property{Name: "EXDATE", Value: strings.Join(values, ",")}
	switch {
	case form.Date:
		p.SetParam("VALUE", "DATE")
	case form.TZID != "":
		p.SetParam("TZID", form.TZID)
	}
	times, _ := ical.ParseTimes(p)
	for _, t := range times {
		at, _ := w.Zones.Instant(t)
		now = append(now, at.Unix())
	}
	slices.Sort(was)
	slices.Sort(now)
	if slices.Equal(was, now) {
		return
	}
	w.master.Remove("EXDATE")
	if len(values) > 0 {
		w.master.Properties = append(w.master.Properties, p)
	}
}
