package calendar

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Task is an item of the Tasks class (MS-ASTASK). Start and Due are wall time in
// UTC's digits, as StartDate and DueDate have it; the door computes the two with
// Utc in their names from the reader's zone.
type Task struct {
	UID        string
	Subject    string
	Body       string // plain text
	Categories []string
	Importance int // 0 low, 1 normal, 2 high
	Sensitive  int // as in Appointment
	Start, Due time.Time
	Complete   bool
	Completed  time.Time
	Reminder   time.Time // zero: none
	Recurrence *Recurrence
	Regenerate bool // the next one begins when this one is done
	Partial    bool // the rule is of a kind that ActiveSync cannot say; Write leaves it
}

// regenerate is the mark of a task that comes again after it was done, which
// iCalendar has no word for.
const regenerate = "X-WAYPOST-REGENERATE"

// ReadTask says a VTODO in ActiveSync's words.
func (s Side) ReadTask(c *ical.Component) *Task {
	t := &Task{
		UID: c.Text("UID"), Subject: c.Text("SUMMARY"), Body: c.Text("DESCRIPTION"), Categories: c.List("CATEGORIES"),
		Importance: importance(c), Sensitive: sensitive(c), Start: s.wall(c, "DTSTART"), Due: s.wall(c, "DUE"),
		Complete:   completed(c),
		Regenerate: strings.EqualFold(c.Text(regenerate), "TRUE"),
	}
	if at, err := c.Time("COMPLETED"); err == nil && !at.IsZero() && t.Complete {
		t.Completed, _ = s.Zones.Instant(at)
	}
	t.Reminder = s.rings(c)
	rules := c.All("RRULE")
	t.Partial = len(rules) > 1 || len(c.All("RDATE"))+len(c.All("EXRULE"))+len(c.All("EXDATE")) > 0
	if len(rules) > 0 {
		first := t.Start
		if first.IsZero() {
			first = t.Due
		}
		if rule, err := recur.Parse(rules[0].Value); err == nil && !first.IsZero() {
			if r, ok := fromRule(rule, first); ok {
				r.Until = rule.Until.Wall
				t.Recurrence = &r
			}
		}
		t.Partial = t.Partial || t.Recurrence == nil
	}
	return t
}

// wall is a time as the reader's clock shows it.
func (s Side) wall(c *ical.Component, name string) time.Time {
	t, err := c.Time(name)
	switch {
	case err != nil || t.IsZero():
		return time.Time{}
	case t.Date || t.Floating():
		return t.Wall
	}
	at, _ := s.Zones.Instant(t)
	return zone.Wall(at, s.Zones.Floating)
}

// importance reads PRIORITY: 1 to 4 is high, 6 to 9 low (RFC 5545 section 3.8.1.9).
func importance(c *ical.Component) int {
	n, err := strconv.Atoi(strings.TrimSpace(c.Text("PRIORITY")))
	switch {
	case err != nil || n < 1 || n == 5:
		return 1
	case n < 5:
		return 2
	}
	return 0
}

// completed tells whether a task says that it is done.
func completed(c *ical.Component) bool {
	return strings.EqualFold(c.Text("STATUS"), "COMPLETED") || c.Prop("STATUS") == nil && c.Prop("COMPLETED") != nil
}

// rings is when the first alarm of a task rings that says so by its moment, or
// by how long before the task's beginning or end.
func (s Side) rings(c *ical.Component) (first time.Time) {
	for _, part := range c.Parts("VALARM") {
		a, err := ical.ParseAlarm(part)
		if err != nil {
			continue
		}
		var o ical.Occurrence
		if a.At.IsZero() {
			start, end, err := ical.Span(c, s.Zones)
			if err != nil {
				continue
			}
			o.Start, o.End = start.At, end.At
			if due, err := c.Time("DUE"); err == nil && !due.IsZero() {
				o.End, _ = s.Zones.Instant(due) // of a day its beginning, as phones show it
			}
		}
		if at := a.Rings(o, s.Zones)[0]; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// WriteTask carries a task into a VTODO and gives it anew; nil makes one.
func (s Side) WriteTask(c *ical.Component, now *Task) (*ical.Component, error) {
	if !now.Start.IsZero() && !now.Due.IsZero() && now.Due.Before(now.Start) {
		return nil, fault.New(fault.Invalid, "a task that is due before it begins")
	}
	if c == nil {
		c = &ical.Component{Name: "VTODO"}
		c.SetText("UID", now.UID)
	} else {
		c = c.Clone()
	}
	was := s.ReadTask(c)
	text := func(name, was, now string) {
		if was != now {
			c.SetText(name, now)
		}
	}
	text("SUMMARY", was.Subject, now.Subject)
	text("DESCRIPTION", was.Body, now.Body)
	if !slices.Equal(was.Categories, now.Categories) {
		c.SetList("CATEGORIES", now.Categories)
	}
	if was.Importance != now.Importance {
		c.SetValue("PRIORITY", []string{"9", "5", "1"}[min(max(now.Importance, 0), 2)])
	}
	if was.Sensitive != now.Sensitive {
		setClass(c, now.Sensitive)
	}
	if !was.Start.Equal(now.Start) {
		s.setWall(c, "DTSTART", now.Start)
	}
	if !was.Due.Equal(now.Due) {
		s.setWall(c, "DUE", now.Due)
		c.Remove("DURATION")
	}
	s.setDone(c, was, now)
	// Asked again: what is so long before the beginning moved with it.
	if !s.rings(c).Equal(now.Reminder) {
		setRing(c, now.Reminder, now.Subject)
	}
	if was.Regenerate != now.Regenerate {
		c.Remove(regenerate)
		if now.Regenerate {
			c.SetValue(regenerate, "TRUE")
		}
	}
	return c, s.setTaskRule(c, s.ReadTask(c), now)
}

// setWall writes a wall time: a midnight as a day, else in the zone that the
// other times of the task have, or none.
func (s Side) setWall(c *ical.Component, name string, wall time.Time) {
	old, err := c.Time(name)
	switch {
	case wall.IsZero():
		c.Remove(name)
	case err == nil && !old.IsZero() && !old.Date && !old.Floating():
		at := zone.Instant(wall, s.Zones.Floating)
		l := time.UTC
		if !old.UTC {
			if l = s.Zones.Location(old.TZID); l == nil {
				l = s.Zones.Floating
			}
		}
		c.SetTime(name, inForm(at, old, l))
	default:
		h, m, sec := wall.Clock()
		c.SetTime(name, ical.Time{Wall: wall, Date: h == 0 && m == 0 && sec == 0})
	}
}

func (s Side) setDone(c *ical.Component, was, now *Task) {
	if was.Complete == now.Complete && (was.Completed.Equal(now.Completed) || now.Completed.IsZero()) {
		return
	}
	if !now.Complete {
		c.SetValue("STATUS", "NEEDS-ACTION")
		c.Remove("COMPLETED")
		c.Remove("PERCENT-COMPLETE")
		return
	}
	c.SetValue("STATUS", "COMPLETED")
	c.SetValue("PERCENT-COMPLETE", "100")
	if !now.Completed.IsZero() {
		c.SetTime("COMPLETED", ical.UTCTime(now.Completed))
	}
}

// setRing gives a task one alarm at a moment in place of all that it has.
func setRing(c *ical.Component, at time.Time, subject string) {
	for _, part := range c.Parts("VALARM") {
		c.RemovePart(part)
	}
	if at.IsZero() {
		return
	}
	alarm := &ical.Component{Name: "VALARM"}
	alarm.SetValue("ACTION", "DISPLAY")
	trigger := &ical.Property{Name: "TRIGGER", Value: ical.UTCTime(at).Value()}
	trigger.SetParam("VALUE", "DATE-TIME")
	alarm.Put(trigger)
	alarm.SetValue("DESCRIPTION", "")
	if subject != "" {
		alarm.SetText("DESCRIPTION", subject)
	}
	c.Children = append(c.Children, alarm)
}

func (s Side) setTaskRule(c *ical.Component, was, now *Task) error {
	if was.Recurrence.equal(now.Recurrence) || now.Recurrence == nil && was.Partial {
		return nil
	}
	if now.Recurrence == nil {
		c.Remove("RRULE")
		return nil
	}
	if now.Start.IsZero() && now.Due.IsZero() {
		return fault.New(fault.Invalid, "a task that recurs without a date")
	}
	rule, err := now.Recurrence.rule()
	if err != nil {
		return err
	}
	if !now.Recurrence.Until.IsZero() && rule.Count == 0 {
		rule.Until = recur.Until{Wall: now.Recurrence.Until.UTC().Truncate(24 * time.Hour), Date: true}
	}
	c.SetValue("RRULE", rule.String())
	return nil
}
