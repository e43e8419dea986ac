package calendar

import (
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Done parts a task that recurs when its present instance is done (MS-OXOTASK
// 3.1.4.6): done is that instance, a task by itself under the uid given, and rest
// the series from the next one on, with the dates, reminders and the number of
// instances that are left. What lies before the next one and was changed alone
// stays with done. rest is nil when there is no next one, or none that can be
// found: then the task is as done as one that does not recur.
func (s Side) Done(parts []*ical.Component, at time.Time, uid string) (done, rest []*ical.Component) {
	master := ical.NewSet(parts, s.Zones).Master
	if master == nil {
		return nil, nil
	}
	old, _, err := ical.Span(master, s.Zones)
	if err != nil {
		return nil, nil
	}
	if strings.EqualFold(master.Text(regenerate), "TRUE") {
		done, rest = s.regenerated(master, old.Time, at)
	} else {
		done, rest = s.following(parts, old.At)
	}
	if rest == nil {
		return nil, nil
	}
	now, _, err := ical.Span(rest[0], s.Zones)
	if err != nil {
		return nil, nil
	}
	rest[0].SetValue("STATUS", "NEEDS-ACTION")
	rest[0].Remove("COMPLETED")
	rest[0].Remove("PERCENT-COMPLETE")
	s.ringLater(rest[0], now.Time.Wall.Sub(old.Time.Wall))
	for _, c := range done {
		c.SetText("UID", uid)
	}
	for _, c := range rest {
		c.SetText("UID", master.Text("UID"))
	}
	first := done[0]
	if len(done) == 1 {
		for _, name := range []string{"RRULE", "RDATE", "EXDATE", "EXRULE", regenerate} {
			first.Remove(name)
		}
	}
	setRing(first, time.Time{}, "") // what is done rings no more (MS-OXORMDR 3.1.4.8)
	s.setDone(first, s.ReadTask(first), &Task{Complete: true, Completed: at})
	return done, rest
}

// following splits a series before the next instance that is not done.
func (s Side) following(parts []*ical.Component, now time.Time) (done, rest []*ical.Component) {
	set := ical.NewSet(parts, s.Zones)
	for o, err := range set.Occurrences(now.Add(time.Second), now.AddDate(100, 0, 0)) {
		if err != nil {
			return nil, nil
		}
		if !o.Start.After(now) || o.Override && completed(o.Component) {
			continue
		}
		before, after, err := ical.Split(parts, s.Zones, o.ID, set.Master.Text("UID"))
		if err != nil {
			return nil, nil
		}
		return before, after
	}
	return nil, nil
}

// regenerated moves a task that begins anew so long after it was done.
func (s Side) regenerated(master *ical.Component, start ical.Time, at time.Time) (done, rest []*ical.Component) {
	rules := master.All("RRULE")
	if len(rules) != 1 {
		return nil, nil
	}
	rule, err := recur.Parse(rules[0].Value)
	if err != nil || rule.Count == 1 {
		return nil, nil
	}
	day := zone.Wall(at, s.Zones.Floating).Truncate(24 * time.Hour)
	n := max(rule.Interval, 1)
	switch rule.Freq {
	case recur.Yearly:
		day = monthsLater(day, 12*n)
	case recur.Monthly:
		day = monthsLater(day, n)
	case recur.Weekly:
		day = day.AddDate(0, 0, 7*n)
	case recur.Daily:
		day = day.AddDate(0, 0, n)
	default:
		return nil, nil
	}
	if until := rule.Until.Wall; !until.IsZero() && day.After(until) {
		return nil, nil
	}
	next := master.Clone()
	by := day.Sub(start.Wall.Truncate(24 * time.Hour))
	for _, name := range []string{"DTSTART", "DUE"} {
		if t, err := next.Time(name); err == nil && !t.IsZero() {
			t.Wall = t.Wall.Add(by)
			next.SetTime(name, t)
		}
	}
	if rule.Count > 1 {
		rule.Count--
		next.Prop("RRULE").Value = rule.String()
	}
	return []*ical.Component{master.Clone()}, []*ical.Component{next}
}

// monthsLater is the same day so many months later, or the last one of a month
// that is too short.
func monthsLater(day time.Time, n int) time.Time {
	first := time.Date(day.Year(), day.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1)
	return first.AddDate(0, 0, min(day.Day(), last.Day())-1)
}

// ringLater moves alarms that ring at a moment, at the same hour of the clock;
// the others move with the task.
func (s Side) ringLater(c *ical.Component, by time.Duration) {
	for _, part := range c.Parts("VALARM") {
		if a, err := ical.ParseAlarm(part); err == nil && !a.At.IsZero() {
			was, _ := s.Zones.Instant(a.At)
			at := zone.Instant(zone.Wall(was, s.Zones.Floating).Add(by), s.Zones.Floating)
			part.Prop("TRIGGER").Value = ical.UTCTime(at).Value()
		}
	}
}
