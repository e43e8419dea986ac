package ical

import (
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/fault"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Split cuts a series before one of its instances, named as RECURRENCE-ID names
// it, into two: what was, and from that instance on a series with a UID of its
// own. A change of this and all future instances at that place (RANGE=
// THISANDFUTURE) becomes what describes the second; so a client that knows no
// such change can be given two series that mean the same.
//
// Invalid: the instance is not one of a single rule, or the first, or an earlier
// change of all future instances is in the way: split there first.
func Split(parts []*Component, zones *Zones, at Time, uid string) (before, after []*Component, err error) {
	s := NewSet(parts, zones)
	if s.Master == nil || len(s.rules) != 1 || len(s.exrules) > 0 || len(s.Master.All("RRULE")) != 1 {
		return nil, nil, fault.New(fault.Invalid, "only a series of one rule can be split")
	}
	cut, moment := s.place(at)
	if !cut.After(s.span.start.Wall) {
		return nil, nil, fault.New(fault.Invalid, "a series cannot be split before its beginning")
	}
	count, err := s.countBefore(cut)
	if err != nil {
		return nil, nil, err
	}

	first := s.Master.Clone()
	rule := *s.rules[0]
	rule.Count = 0
	rule.Until = s.until(cut, moment)
	first.Prop("RRULE").Value = rule.String()
	s.keepDates(first, func(wall time.Time) bool { return wall.Before(cut) })
	before = append(before, first)

	second := s.Master.Clone()
	describes := s.rangeAt(cut)
	if describes != nil {
		second = s.described(describes)
	} else {
		s.move(second, cut)
	}
	rest := *s.rules[0]
	if rest.Count > 0 {
		rest.Count -= count
	}
	shift := time.Duration(0)
	if describes != nil {
		if shift = s.shiftOf(*describes); shift != 0 {
			if err := shiftable(&rest, s.span.start.Wall, shift); err != nil {
				return nil, nil, err
			}
			if !rest.Until.Wall.IsZero() {
				rest.Until.Wall = rest.Until.Wall.Add(shift)
			}
		}
	}
	second.Prop("RRULE").Value = rest.String()
	s.keepDates(second, func(wall time.Time) bool { return !wall.Before(cut) })
	second.SetText("UID", uid)
	after = append(after, second)

	for _, o := range s.overrides {
		c := o.c.Clone()
		switch {
		case o.id.Before(cut):
			if forFuture(c) {
				return nil, nil, fault.New(fault.Invalid, "an earlier change of all future instances is in the way")
			}
			before = append(before, c)
		case describes != nil && o.c == describes.c:
		default:
			c.SetText("UID", uid)
			if shift != 0 { // its instance has another name now
				id, err := ParseTime(c.Prop("RECURRENCE-ID"))
				if err != nil {
					continue
				}
				id.Wall = id.Wall.Add(shift)
				id.write(c.Prop("RECURRENCE-ID"))
			}
			after = append(after, c)
		}
	}
	return before, after, nil
}

// countBefore counts the rule's instances before a wall time, those taken out
// too, and makes sure that there is one at it.
func (s *Set) countBefore(cut time.Time) (int, error) {
	steps := MaxSteps
	walk := s.rules[0].Walk(recur.Walk{Start: s.span.start.Wall, Date: s.span.start.Date, WithStart: true, Until: cut, Steps: &steps})
	count := 0
	for {
		wall, ok := walk.Next()
		switch {
		case !ok && walk.Err() != nil:
			return 0, walk.Err()
		case !ok:
			return 0, fault.New(fault.Invalid, "the series has no such instance")
		case wall.Equal(cut):
			return count, nil
		}
		count++
	}
}

// until is an end just before a wall time, in the form that the series needs
// (RFC 5545 section 3.3.10: a date for a date, UTC for what has a zone).
func (s *Set) until(cut time.Time, moment int64) recur.Until {
	switch start := s.span.start; {
	case start.Date:
		return recur.Until{Wall: cut.AddDate(0, 0, -1), Date: true}
	case start.Floating():
		return recur.Until{Wall: cut.Add(-time.Second)}
	default:
		return recur.Until{Wall: time.Unix(moment-1, 0).UTC(), UTC: true}
	}
}

func (s *Set) rangeAt(cut time.Time) *override {
	for i := range s.ranges {
		if s.ranges[i].id.Equal(cut) {
			return &s.ranges[i]
		}
	}
	return nil
}

// described makes a series of a change of this and all future instances.
func (s *Set) described(o *override) *Component {
	c := o.c.Clone()
	c.Remove("RECURRENCE-ID")
	for _, name := range []string{"RRULE", "RDATE", "EXDATE"} {
		c.Remove(name)
		for _, p := range s.Master.All(name) {
			c.Properties = append(c.Properties, p.Clone())
		}
	}
	if c.Prop("DTSTART") == nil {
		c.SetTime("DTSTART", o.span.start)
	}
	return c
}

// move lets a component begin at another wall time; its end moves along.
func (s *Set) move(c *Component, to time.Time) {
	by := to.Sub(s.span.start.Wall)
	for _, name := range []string{"DTSTART", "DTEND", "DUE"} {
		if t, err := c.Time(name); err == nil && !t.IsZero() {
			l := s.zones.of(t)
			if t.Date || t.Floating() || l == s.span.l || l.String() == s.span.l.String() {
				t.Wall = t.Wall.Add(by)
			} else { // its own zone may change its offset in between
				moment, _ := s.zones.Instant(t)
				wall := zone.Wall(moment, s.span.l).Add(by)
				t.Wall = zone.Wall(zone.Instant(wall, s.span.l), l)
			}
			c.SetTime(name, t)
		}
	}
}

// keepDates leaves those RDATE and EXDATE values that are wanted.
func (s *Set) keepDates(c *Component, want func(wall time.Time) bool) {
	for _, name := range []string{"RDATE", "EXDATE"} {
		kept := c.Properties[:0:0]
		for _, p := range c.Properties {
			if !p.Is(name) {
				kept = append(kept, p)
				continue
			}
			var values []string
			for _, value := range contentline.Split(p.Value, ',') {
				begin, _, _ := strings.Cut(value, "/")
				t, err := parseTime(begin, tzidOf(p))
				if err != nil {
					continue
				}
				wall, _ := s.place(t)
				if t.Date && !s.span.start.Date { // a whole day, at the series' hour
					h, m, sec := s.span.start.Wall.Clock()
					wall = t.Wall.Add(time.Duration(h*3600+m*60+sec) * time.Second)
				}
				if want(wall) {
					values = append(values, value)
				}
			}
			if len(values) > 0 {
				p.Value = strings.Join(values, ",")
				kept = append(kept, p)
			}
		}
		c.Properties = kept
	}
}

// shiftable tells whether a rule still means its instances when all of them move:
// by whole days only what says nothing of days, by part of a day only what says
// nothing of the clock and does not leave the day.
func shiftable(rule *recur.Rule, start time.Time, shift time.Duration) error {
	clock := len(rule.ByHour)+len(rule.ByMinute)+len(rule.BySecond) > 0 || rule.Freq > recur.Daily
	days := len(rule.ByDay)+len(rule.ByMonthDay)+len(rule.ByYearDay)+len(rule.ByWeekNo)+len(rule.ByMonth) > 0 || rule.Freq <= recur.Monthly
	other := start.Add(shift).Truncate(24*time.Hour) != start.Truncate(24*time.Hour)
	if clock || days && other {
		return fault.New(fault.Invalid, "the rule does not fit the instances after they moved")
	}
	return nil
}
