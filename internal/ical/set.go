package ical

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"waypost/internal/recur"
	"waypost/internal/zone"
)

// MaxSteps bounds what one question about occurrences may cost: some tens of
// milliseconds.
const MaxSteps = 1_000_000

// ErrMany says that there are more occurrences than were asked for.
var ErrMany = errors.New("more occurrences than allowed")

// Occurrence is one instance of an event or task.
type Occurrence struct {
	// ID names the instance in its series, in the form of the series' DTSTART
	// (section 3.8.4.4); the zero Time for what does not recur.
	ID         Time
	Start, End time.Time // in the zone of the event
	AllDay     bool
	Floating   bool       // a day or an hour without a zone
	Component  *Component // what describes it: the series, or an override
	Override   bool
}

// Set is a series: a component that recurs, and the overrides of its instances.
type Set struct {
	Master    *Component // nil: only instances of a series are known
	overrides []override
	ranges    []override // those for this and future instances, in order
	zones     *Zones
	problems  []error

	span    span
	rules   []*recur.Rule
	exrules []*recur.Rule
	rdates  []rdate
	exWalls map[int64]bool // instances taken out, by wall time in the master's zone
	exTimes map[int64]bool // and by moment
	exDays  map[int64]bool // whole days taken out
}

// span is when a component is, and how long.
type span struct {
	start   Time
	l       *time.Location
	days    int           // of an all-day one
	nominal Duration      // by DURATION
	exact   time.Duration // by DTEND
}

type rdate struct {
	wall time.Time
	end  func(time.Time) time.Time // nil: as the master
}

type override struct {
	c    *Component
	id   time.Time // wall time in the master's zone
	at   int64     // its moment
	span span
}

// Series groups the events, tasks and journal entries of a calendar by UID, in
// the order in which they are first met.
func Series(c *Component) [][]*Component {
	var all [][]*Component
	at := map[string]int{}
	var walk func(*Component)
	walk = func(c *Component) {
		for _, child := range c.Children {
			switch {
			case child.Is("VCALENDAR"):
				walk(child)
			case child.Is("VEVENT"), child.Is("VTODO"), child.Is("VJOURNAL"):
				key := strings.ToUpper(child.Name) + "\x00" + strings.TrimSpace(child.Text("UID"))
				i, ok := at[key]
				if !ok || strings.HasSuffix(key, "\x00") {
					i = len(all)
					at[key] = i
					all = append(all, nil)
				}
				all[i] = append(all[i], child)
			}
		}
	}
	walk(c)
	return all
}

// NewSet reads the components of one UID. What cannot be read is left out and
// told by Problems.
func NewSet(parts []*Component, zones *Zones) *Set {
	s := &Set{zones: zones, exWalls: map[int64]bool{}, exTimes: map[int64]bool{}, exDays: map[int64]bool{}}
	for _, part := range parts {
		if part.Prop("RECURRENCE-ID") == nil && s.Master == nil {
			s.Master = part
		}
	}
	if s.Master != nil {
		var ok bool
		if s.span, ok = s.spanOf(s.Master); ok {
			s.readRules()
		} else {
			s.Master = nil
		}
	}
	for _, part := range parts {
		if part != s.Master && part.Prop("RECURRENCE-ID") != nil {
			s.readOverride(part)
		}
	}
	s.overrides = newest(s.overrides)
	for _, o := range s.overrides {
		if forFuture(o.c) {
			s.ranges = append(s.ranges, o)
		}
	}
	return s
}

// forFuture tells a change of an instance and all that come after it.
func forFuture(c *Component) bool {
	return strings.EqualFold(c.Prop("RECURRENCE-ID").ParamText("RANGE"), "THISANDFUTURE")
}

// newest sorts overrides and leaves one for each instance: that of the highest
// SEQUENCE, the last of several (RFC 5546 section 2.1.5).
func newest(all []override) []override {
	sequence := func(o override) int {
		n, _ := strconv.Atoi(o.c.Text("SEQUENCE"))
		return n
	}
	slices.SortStableFunc(all, func(a, b override) int {
		return cmp.Or(a.id.Compare(b.id), cmp.Compare(sequence(a), sequence(b)))
	})
	kept := all[:0]
	for i, o := range all {
		if i+1 == len(all) || !all[i+1].id.Equal(o.id) {
			kept = append(kept, o)
		}
	}
	return kept
}

// Problems are what was odd about the series.
func (s *Set) Problems() []error { return s.problems }

// Recurs tells whether there is more than one instance by rule or by date.
func (s *Set) Recurs() bool { return len(s.rules) > 0 || len(s.rdates) > 0 }

func (s *Set) problem(err error) {
	if err != nil && len(s.problems) < 100 {
		s.problems = append(s.problems, err)
	}
}

// spanOf reads when a component is (section 3.6.1 for events, 3.6.2 for tasks,
// which may have nothing but a due date).
func (s *Set) spanOf(c *Component) (sp span, ok bool) {
	start, err := c.Time("DTSTART")
	s.problem(err)
	endName := "DTEND"
	if c.Is("VTODO") {
		endName = "DUE"
	}
	end, err := c.Time(endName)
	s.problem(err)
	if start.IsZero() {
		if start = end; start.IsZero() {
			return sp, false
		}
	}
	if start.TZID != "" && s.zones.Location(start.TZID) == nil {
		s.problem(unknownZone(start.TZID))
	}
	sp = span{start: start, l: s.zones.of(start)}
	length, err := Duration{}, error(nil)
	if p := c.Prop("DURATION"); p != nil && end.IsZero() {
		length, err = ParseDuration(p.Value)
		s.problem(err)
	}
	switch {
	case start.Date:
		switch {
		case !end.IsZero():
			sp.days = int(end.Wall.Truncate(24*time.Hour).Sub(start.Wall) / (24 * time.Hour))
		default:
			sp.days = length.Days + int(length.Exact/(24*time.Hour))
		}
		sp.days = max(sp.days, 1)
	case !end.IsZero():
		if end.Floating() && !start.Floating() {
			end.UTC, end.TZID = start.UTC, start.TZID
		}
		if start.Floating() && end.Floating() {
			sp.exact = end.Wall.Sub(start.Wall)
		} else {
			from, _ := s.zones.Instant(start)
			to, _ := s.zones.Instant(end)
			sp.exact = to.Sub(from)
		}
		if sp.exact < 0 {
			s.problem(fmt.Errorf("%s is before DTSTART", endName))
			sp.exact = 0
		}
	case length.total() > 0:
		sp.nominal = length
	}
	return sp, true
}

// end is when an instance that begins at start ends: after the same exact time
// where DTEND said it, after the same days of the calendar where DURATION did
// (section 3.8.5.3).
func (sp span) end(start time.Time) time.Time {
	switch {
	case sp.start.Date:
		return Duration{Days: sp.days}.After(start)
	case sp.nominal != Duration{}:
		return sp.nominal.After(start)
	default:
		return start.Add(sp.exact)
	}
}

// longest is how long an instance lasts at most, as far as that is looked for:
// a series of instances of more than a century each is nobody's.
func (sp span) longest() time.Duration {
	const day, century = 26 * time.Hour, 100 * 366 * 24 * time.Hour // a day of the calendar at its longest
	days := time.Duration(min(sp.days+sp.nominal.Days+1, 36_600))
	return min(days*day, century) + min(sp.nominal.Exact, century) + min(sp.exact, century)
}

func (s *Set) readRules() {
	c := s.Master
	read := func(name string) (rules []*recur.Rule) {
		for _, p := range c.All(name) {
			rule, err := recur.Parse(p.Value)
			if err == nil && !rule.Supported(s.span.start.Date) {
				err = recur.ErrUnsupported
			}
			if err != nil {
				s.problem(err)
				continue
			}
			rules = append(rules, rule)
		}
		return rules
	}
	s.rules, s.exrules = read("RRULE"), read("EXRULE")
	for _, p := range c.All("EXDATE") {
		times, err := ParseTimes(p)
		s.problem(err)
		for _, t := range times {
			if t.Date && !s.span.start.Date {
				s.exDays[t.Wall.Unix()] = true // some take the whole day out
				continue
			}
			wall, at := s.place(t)
			s.exWalls[wall.Unix()], s.exTimes[at] = true, true
		}
	}
	for _, p := range c.All("RDATE") {
		s.readDates(p)
	}
	slices.SortStableFunc(s.rdates, func(a, b rdate) int { return a.wall.Compare(b.wall) })
}

func (s *Set) readDates(p *Property) {
	for text := range strings.SplitSeq(p.Value, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		if !strings.Contains(text, "/") {
			t, err := parseTime(text, tzidOf(p))
			if err != nil {
				s.problem(err)
				continue
			}
			if t.Date && !s.span.start.Date { // the day, at the series' hour
				h, m, sec := s.span.start.Wall.Clock()
				t = Time{Wall: t.Wall.Add(time.Duration(h*3600+m*60+sec) * time.Second), UTC: s.span.start.UTC, TZID: s.span.start.TZID}
			}
			wall, _ := s.place(t)
			s.rdates = append(s.rdates, rdate{wall: wall})
			continue
		}
		period, err := parsePeriod(text, tzidOf(p))
		if err != nil {
			s.problem(err)
			continue
		}
		wall, _ := s.place(period.Start)
		one := rdate{wall: wall, end: func(start time.Time) time.Time { return period.Duration.After(start) }}
		if !period.End.IsZero() {
			one.end = func(start time.Time) time.Time {
				end, _ := s.zones.Instant(period.End)
				return end.In(start.Location())
			}
		}
		s.rdates = append(s.rdates, one)
	}
}

// place gives a time as wall time in the zone of the series, and its moment.
// Where both are in the same zone the digits stay, also those of a gap.
func (s *Set) place(t Time) (wall time.Time, at int64) {
	if s.Master == nil {
		moment, _ := s.zones.Instant(t)
		return zone.Wall(moment, moment.Location()), moment.Unix()
	}
	start := s.span.start
	if start.Date {
		wall = t.Wall.Truncate(24 * time.Hour)
		return wall, zone.Instant(wall, s.span.l).Unix()
	}
	l := s.zones.of(t)
	if t.Floating() {
		l = s.span.l
	}
	moment := zone.Instant(t.Wall, l)
	if l == s.span.l || l.String() == s.span.l.String() {
		return t.Wall, moment.Unix()
	}
	return zone.Wall(moment, s.span.l), moment.Unix()
}

func (s *Set) readOverride(c *Component) {
	p := c.Prop("RECURRENCE-ID")
	id, err := ParseTime(p)
	if err != nil {
		s.problem(err)
		return
	}
	sp, ok := s.spanOf(c)
	if !ok {
		// A change that does not say when: the instance stays where it is.
		sp = s.span
		sp.start = id
		sp.l = s.zones.of(id)
	}
	o := override{c: c, span: sp}
	o.id, o.at = s.place(id)
	if id.Date && s.Master != nil && !s.span.start.Date {
		// Only the day is named: the instance of that day.
		h, m, sec := s.span.start.Wall.Clock()
		o.id = id.Wall.Add(time.Duration(h*3600+m*60+sec) * time.Second)
		o.at = zone.Instant(o.id, s.span.l).Unix()
	}
	s.overrides = append(s.overrides, o)
}

// Occurrences gives the instances that overlap the time from one moment to
// before another, in the order of their beginnings (but for what daylight saving
// time swaps). An error ends them: recur.ErrSteps when the rule costs too much.
func (s *Set) Occurrences(from, to time.Time) iter.Seq2[Occurrence, error] {
	return func(yield func(Occurrence, error) bool) {
		var moved []Occurrence
		for _, o := range s.overrides {
			if occ := s.ofOverride(o); overlaps(occ, from, to) {
				moved = append(moved, occ)
			}
		}
		slices.SortStableFunc(moved, func(a, b Occurrence) int { return a.Start.Compare(b.Start) })
		tell := func(before time.Time, all bool) bool {
			for len(moved) > 0 && (all || moved[0].Start.Before(before)) {
				if !yield(moved[0], nil) {
					return false
				}
				moved = moved[1:]
			}
			return true
		}
		if s.Master != nil {
			for occ, err := range s.plain(from, to) {
				if err != nil {
					yield(Occurrence{}, err)
					return
				}
				if !tell(occ.Start, false) || !yield(occ, nil) {
					return
				}
			}
		}
		tell(time.Time{}, true)
	}
}

// List collects occurrences, at most so many; ErrMany or another error comes
// with those that were found.
func (s *Set) List(from, to time.Time, most int) ([]Occurrence, error) {
	var all []Occurrence
	for occ, err := range s.Occurrences(from, to) {
		if err == nil && len(all) == most {
			err = ErrMany
		}
		if err != nil {
			return all, err
		}
		all = append(all, occ)
	}
	slices.SortStableFunc(all, func(a, b Occurrence) int { return a.Start.Compare(b.Start) })
	return all, nil
}

// overlaps is the test of RFC 4791 section 9.9: what lasts no time is in a range
// that holds its moment.
func overlaps(o Occurrence, from, to time.Time) bool {
	if !o.Start.Before(to) {
		return false
	}
	return o.End.After(from) || o.End.Equal(o.Start) && !o.Start.Before(from)
}

func (s *Set) ofOverride(o override) Occurrence {
	start := zone.Instant(o.span.start.Wall, o.span.l).In(o.span.l)
	return Occurrence{
		ID: s.idOf(o.id, o), Start: start, End: o.span.end(start), AllDay: o.span.start.Date,
		Floating: o.span.start.Floating(), Component: o.c, Override: true,
	}
}

// idOf writes an instance's name in the form of the series.
func (s *Set) idOf(wall time.Time, o override) Time {
	if s.Master == nil {
		id, _ := ParseTime(o.c.Prop("RECURRENCE-ID"))
		return id
	}
	id := s.span.start
	id.Wall = wall
	return id
}

// source gives the wall times of one rule or list in order.
type source struct {
	next  func() (time.Time, bool)
	err   func() error
	until time.Time // a moment; zero: none. Checked here because of overlaps.
	head  time.Time
	ok    bool
}

func (src *source) advance() { src.head, src.ok = src.next() }

// walkOf begins a rule near from.
func (s *Set) walkOf(rule *recur.Rule, from, to time.Time, withStart bool, steps *int) *source {
	w := recur.Walk{Start: s.span.start.Wall, Date: s.span.start.Date, WithStart: withStart, From: from, Until: to, Steps: steps}
	src := &source{}
	if u := rule.Until; !u.Wall.IsZero() {
		end := u.Wall
		switch {
		case s.span.start.Date:
			end = end.Truncate(24 * time.Hour)
		case u.Date:
			end = end.Add(24*time.Hour - time.Second)
		case u.UTC && !s.span.start.Floating():
			src.until = u.Wall
			end = zone.Wall(u.Wall, s.span.l).Add(3 * time.Hour)
		}
		if end.Before(w.Until) {
			w.Until = end
		}
	}
	walker := rule.Walk(w)
	src.next, src.err = walker.Next, walker.Err
	src.advance()
	return src
}

// plain gives the instances that no override replaces.
func (s *Set) plain(from, to time.Time) iter.Seq2[Occurrence, error] {
	return func(yield func(Occurrence, error) bool) {
		steps := MaxSteps
		// How far instances may reach into the time, or be moved into it.
		early, late := s.span.longest(), 26*time.Hour
		for _, o := range s.ranges {
			shift := s.shiftOf(o)
			early = max(early, o.span.longest()+shift+26*time.Hour)
			late = max(late, -shift+26*time.Hour)
		}
		wallFrom := zone.Wall(from, s.span.l).Add(-early - 26*time.Hour)
		wallTo := zone.Wall(to, s.span.l).Add(late)

		var in, out []*source
		for _, rule := range s.rules {
			in = append(in, s.walkOf(rule, wallFrom, wallTo, true, &steps))
		}
		for _, rule := range s.exrules {
			out = append(out, s.walkOf(rule, wallFrom, wallTo, false, &steps))
		}
		if len(s.rules) == 0 {
			in = append(in, list([]time.Time{s.span.start.Wall}))
		}
		ends := map[int64]func(time.Time) time.Time{}
		dates := make([]time.Time, 0, len(s.rdates))
		for _, d := range s.rdates {
			if d.wall.After(wallTo) {
				continue
			}
			dates = append(dates, d.wall)
			if d.end != nil {
				ends[d.wall.Unix()] = d.end
			}
		}
		in = append(in, list(dates))
		replaced := map[int64]bool{}
		replacedAt := map[int64]bool{}
		for _, o := range s.overrides {
			replaced[o.id.Unix()], replacedAt[o.at] = true, true
		}

		last := int64(math.MinInt64)
		for {
			var best *source
			for _, src := range in {
				if src.ok && (best == nil || src.head.Before(best.head)) {
					best = src
				}
			}
			if best == nil {
				break
			}
			wall := best.head
			at := zone.Instant(wall, s.span.l)
			wanted := false
			for _, src := range in {
				for src.ok && src.head.Equal(wall) {
					// DTSTART is an instance whatever UNTIL says.
					wanted = wanted || src.until.IsZero() || !at.After(src.until) || wall.Equal(s.span.start.Wall)
					src.advance()
				}
			}
			if !wanted || s.excluded(wall, at.Unix(), out) || replaced[wall.Unix()] || replacedAt[at.Unix()] {
				continue
			}
			if at.Unix() == last {
				continue // a wall time of a gap, and the one that is the same moment
			}
			last = at.Unix()
			occ := s.instance(wall, at, ends[wall.Unix()])
			if overlaps(occ, from, to) && !yield(occ, nil) {
				return
			}
		}
		for _, src := range slices.Concat(in, out) {
			if err := src.err(); err != nil {
				yield(Occurrence{}, err)
				return
			}
		}
	}
}

func list(times []time.Time) *source {
	src := &source{err: func() error { return nil }}
	src.next = func() (t time.Time, ok bool) {
		if len(times) == 0 {
			return t, false
		}
		t, times = times[0], times[1:]
		return t, true
	}
	src.advance()
	return src
}

func (s *Set) excluded(wall time.Time, at int64, out []*source) bool {
	if s.exWalls[wall.Unix()] || s.exTimes[at] || s.exDays[wall.Truncate(24*time.Hour).Unix()] {
		return true
	}
	for _, src := range out {
		for src.ok && src.head.Before(wall) {
			src.advance()
		}
		if src.ok && src.head.Equal(wall) && (src.until.IsZero() || at <= src.until.Unix()) {
			return true
		}
	}
	return false
}

// shiftOf is how far a change of this and all future instances moves them.
func (s *Set) shiftOf(o override) time.Duration {
	if o.span.start.Date || s.span.start.Date {
		return o.span.start.Wall.Truncate(24 * time.Hour).Sub(o.id.Truncate(24 * time.Hour))
	}
	start := zone.Instant(o.span.start.Wall, o.span.l)
	if o.span.l.String() == s.span.l.String() {
		return o.span.start.Wall.Sub(o.id)
	}
	return zone.Wall(start, s.span.l).Sub(o.id)
}

// instance is the one at a wall time of the rule; the newest change of this and
// all future instances before it moves and describes it (section 3.8.4.4).
func (s *Set) instance(wall, at time.Time, end func(time.Time) time.Time) Occurrence {
	occ := Occurrence{
		Start: at.In(s.span.l), AllDay: s.span.start.Date,
		Floating: s.span.start.Floating(), Component: s.Master,
	}
	if s.Recurs() {
		occ.ID = s.idOf(wall, override{})
	}
	sp := s.span
	if i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].id.After(wall) }); i > 0 {
		o := s.ranges[i-1]
		moved := wall.Add(s.shiftOf(o))
		occ.Start = zone.Instant(moved, s.span.l).In(s.span.l)
		occ.AllDay, occ.Floating, occ.Component, occ.Override = o.span.start.Date, o.span.start.Floating(), o.c, true
		sp = o.span
	}
	if occ.End = sp.end(occ.Start); end != nil {
		occ.End = end(occ.Start)
		if occ.End.Before(occ.Start) {
			occ.End = occ.Start
		}
	}
	return occ
}
