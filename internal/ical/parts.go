package ical

import (
	"errors"
	"slices"
	"time"

	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Placed is a time and its moment, in the time's zone.
type Placed struct {
	Time Time
	At   time.Time
}

// Span is when a component is, taken by itself: its beginning and its end, which
// a duration or the kind of component may say as well (RFC 5545 section 3.6.1).
func Span(c *Component, zones *Zones) (start, end Placed, err error) {
	s := &Set{zones: zones}
	sp, ok := s.spanOf(c)
	if !ok {
		return start, end, errors.Join(append(s.problems, errors.New("a component without a time"))...)
	}
	start = Placed{sp.start, zone.Instant(sp.start.Wall, sp.l).In(sp.l)}
	end = Placed{sp.start, sp.end(start.At)}
	end.Time.Wall = zone.Wall(end.At, sp.l)
	return start, end, nil
}

// A Change is an override of one instance, or of it and all future ones.
type Change struct {
	At        time.Time // when the instance would have been
	Component *Component
	Future    bool
}

// Overrides are the changed instances in order.
func (s *Set) Overrides() []Change {
	var all []Change
	for _, o := range s.overrides {
		future := forFuture(o.c)
		all = append(all, Change{At: time.Unix(o.at, 0).UTC(), Component: o.c, Future: future})
	}
	return all
}

// Excluded are the moments of the instances that EXDATE takes out, in order; of
// days that it takes out, the moment of the series' hour. An instance that an
// override gives back is none.
func (s *Set) Excluded() []time.Time {
	var all []int64
	for at := range s.exTimes {
		all = append(all, at)
	}
	h, m, sec := s.span.start.Wall.Clock()
	for day := range s.exDays {
		all = append(all, zone.Instant(time.Unix(day+int64(h*3600+m*60+sec), 0).UTC(), s.span.l).Unix())
	}
	slices.Sort(all)
	given := map[int64]bool{}
	for _, o := range s.overrides {
		given[o.at] = true
	}
	var moments []time.Time
	for _, at := range slices.Compact(all) {
		if !given[at] {
			moments = append(moments, time.Unix(at, 0).UTC())
		}
	}
	return moments
}

// UntilOf is the moment at which a rule of the series ends; the zero time when
// it does not. Where the rule names a day it is the series' hour of that day.
func (s *Set) UntilOf(rule *recur.Rule) time.Time {
	u := rule.Until
	switch {
	case u.Wall.IsZero():
		return time.Time{}
	case u.UTC && !s.span.start.Date && !s.span.start.Floating():
		return u.Wall
	case u.Date && !s.span.start.Date:
		h, m, sec := s.span.start.Wall.Clock()
		u.Wall = u.Wall.Add(time.Duration(h*3600+m*60+sec) * time.Second)
	case s.span.start.Date:
		u.Wall = u.Wall.Truncate(24 * time.Hour)
	}
	return zone.Instant(u.Wall, s.span.l).UTC()
}
