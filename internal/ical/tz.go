package ical

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Zones knows the zones that the times of a calendar name.
type Zones struct {
	rules    map[string]*Component // VTIMEZONE by TZID
	known    map[string]*time.Location
	unknown  map[string]bool
	steps    int            // what may still be spent on rules
	Floating *time.Location // where floating times and days are placed
}

// ZonesOf gathers the VTIMEZONE components at and below c (section 3.6.5).
// floating is whose time a floating one is; nil: UTC.
func ZonesOf(c *Component, floating *time.Location) *Zones {
	if floating == nil {
		floating = time.UTC
	}
	z := &Zones{rules: map[string]*Component{}, known: map[string]*time.Location{}, unknown: map[string]bool{}, steps: zoneSteps, Floating: floating}
	z.gather(c)
	return z
}

func (z *Zones) gather(c *Component) {
	if c.Is("VTIMEZONE") {
		if id := strings.TrimSpace(c.Text("TZID")); z.rules[id] == nil {
			z.rules[id] = c
		}
		return
	}
	if c.Is("") || c.Is("VCALENDAR") {
		for _, child := range c.Children {
			z.gather(child)
		}
	}
}

// maxZones bounds how many zones of its own making one calendar gets.
const maxZones = 200

// Location finds the zone of a TZID, or nil. A name that says for itself which
// zone it is counts more than the rules beside it; otherwise the rules do.
func (z *Zones) Location(tzid string) *time.Location {
	if l, ok := z.known[tzid]; ok {
		return l
	}
	var l *time.Location
	if zone.IsName(tzid) {
		l = zone.Load(tzid)
	}
	if rules := z.rules[tzid]; l == nil && rules != nil && len(z.known) < maxZones {
		l = ruledZone(tzid, rules, &z.steps)
	}
	if l == nil {
		l = zone.Load(tzid)
	}
	if l == nil {
		z.unknown[tzid] = true
	}
	z.known[tzid] = l
	return l
}

// Unknown are the TZIDs that were asked for and mean nothing, in order.
func (z *Zones) Unknown() []string {
	var all []string
	for id := range z.unknown {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// of is the zone that a time is in; an unknown one is treated as floating.
func (z *Zones) of(t Time) *time.Location {
	switch {
	case t.UTC:
		return time.UTC
	case t.TZID != "":
		if l := z.Location(t.TZID); l != nil {
			return l
		}
	}
	return z.Floating
}

// Instant is the moment of a time; false says that its zone is not known and the
// time was taken as floating.
func (z *Zones) Instant(t Time) (time.Time, bool) {
	l := z.of(t)
	return zone.Instant(t.Wall, l).In(l), t.UTC || t.TZID == "" || z.Location(t.TZID) != nil
}

// ruledZone is the zone that a VTIMEZONE describes: a known one when it behaves
// so, else one made of its rules.
func ruledZone(tzid string, c *Component, steps *int) *time.Location {
	for _, alias := range []string{"X-LIC-LOCATION", "TZID-ALIAS-OF"} {
		if id := c.Text(alias); id != "" && zone.IsName(id) {
			return zone.Load(id)
		}
	}
	own, last, open := buildZone(tzid, c, steps)
	if own == nil {
		return nil
	}
	year := last
	if open {
		year = max(last, ruleYear)
	}
	if l := zone.Match(own, year, tzid+" "+c.Text("TZNAME")+" "+c.Text("LOCATION")); l != nil {
		return l
	}
	return own
}

const (
	// ruleYear is when rules without an end are compared with known zones.
	ruleYear = 2025
	// zoneSteps bounds the expansion of the rules of one calendar's zones.
	zoneSteps = 1_000_000
	zoneMost  = 2_000 // transitions
)

var (
	zoneFrom  = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	zoneUntil = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// buildZone makes a zone of STANDARD and DAYLIGHT (section 3.6.5). last is the
// year of its last change, or of the last beginning of a rule without an end.
func buildZone(tzid string, c *Component, steps *int) (l *time.Location, last int, open bool) {
	var all []zone.Transition
	var first time.Time
	firstOffset := 0
	for _, part := range c.Parts("STANDARD", "DAYLIGHT") {
		from, err1 := ParseOffset(part.Text("TZOFFSETFROM"))
		to, err2 := ParseOffset(part.Text("TZOFFSETTO"))
		start, err3 := part.Time("DTSTART")
		if err2 != nil || err3 != nil || start.IsZero() {
			continue // one bad part does not spoil the rest
		}
		if err1 != nil {
			from = to
		}
		if first.IsZero() || start.Wall.Before(first) {
			first, firstOffset = start.Wall, from
		}
		onsets, forever := onsets(part, start.Wall, from, steps)
		if *steps < 0 || len(all)+len(onsets) >= zoneMost {
			return nil, 0, false
		}
		for _, wall := range onsets {
			all = append(all, zone.Transition{At: wall.Unix() - int64(from), Offset: to, DST: part.Is("DAYLIGHT"), Abbrev: part.Text("TZNAME")})
		}
		switch {
		case forever:
			open = true
			last = max(last, start.Wall.Year())
		case len(onsets) > 0:
			last = max(last, onsets[len(onsets)-1].Year())
		}
	}
	if len(all) == 0 {
		return nil, 0, false
	}
	return zone.Build(tzid, firstOffset, all), last, open
}

// onsets are the wall times at which an observance begins, in order.
func onsets(part *Component, start time.Time, from int, steps *int) (all []time.Time, forever bool) {
	all = append(all, start)
	for _, p := range part.All("RDATE") {
		times, _ := ParseTimes(p)
		for _, t := range times {
			if t.UTC {
				t.Wall = t.Wall.Add(time.Duration(from) * time.Second)
			}
			all = append(all, t.Wall)
		}
	}
	for _, p := range part.All("RRULE") {
		rule, err := recur.Parse(p.Value)
		if err != nil {
			continue
		}
		until := zoneUntil
		if u := rule.Until; !u.Wall.IsZero() {
			switch {
			case u.UTC:
				u.Wall = u.Wall.Add(time.Duration(from) * time.Second)
			case u.Date:
				u.Wall = u.Wall.Add(24*time.Hour - time.Second)
			}
			if u.Wall.Before(until) {
				until = u.Wall
			}
		}
		forever = forever || until.Equal(zoneUntil) && rule.Count == 0
		walk := rule.Walk(recur.Walk{Start: start, From: zoneFrom, Until: until, Steps: steps})
		for len(all) <= zoneMost {
			t, ok := walk.Next()
			if !ok {
				break
			}
			all = append(all, t)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal), forever
}

// TimeZone describes a zone as VTIMEZONE, for times from one moment on; to says
// how far at least. Rules that go on are written without an end.
func TimeZone(l *time.Location, tzid string, from, to time.Time) *Component {
	c := &Component{Name: "VTIMEZONE"}
	c.SetText("TZID", tzid)
	from = time.Date(from.In(l).Year()-1, 1, 1, 0, 0, 0, 0, time.UTC)
	// Long enough for every weekday of a rule to have been on each of its days.
	until := time.Date(max(to.In(l).Year(), from.Year())+30, 1, 1, 0, 0, 0, 0, time.UTC)
	all := zone.Transitions(l, from, until)
	if len(all) == 0 {
		name, offset := from.In(l).Zone()
		one := observance{offsetFrom: offset, offsetTo: offset, name: name, walls: []time.Time{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}}
		c.Children = append(c.Children, one.component(false))
		return c
	}
	_, before := from.In(l).Zone()
	var list []*observance
	for _, t := range all {
		wall := time.Unix(t.At+int64(before), 0).UTC()
		fits := slices.IndexFunc(list, func(o *observance) bool { return o.take(t, before, wall) })
		if fits < 0 {
			list = append(list, &observance{offsetFrom: before, offsetTo: t.Offset, name: t.Abbrev, dst: t.DST, walls: []time.Time{wall}, nth: true, last: true, minDay: wall.Day(), maxDay: wall.Day()})
			o := list[len(list)-1]
			o.last = lastOfMonth(wall)
		}
		before = t.Offset
	}
	for _, o := range list {
		c.Children = append(c.Children, o.component(o.walls[len(o.walls)-1].Year() >= until.Year()-1 && len(o.walls) > 10))
	}
	return c
}

// observance is a run of changes of the same kind in years that follow.
type observance struct {
	offsetFrom, offsetTo int
	name                 string
	dst                  bool
	walls                []time.Time
	nth, last            bool // always the same week of the month; always the last
	minDay, maxDay       int
}

func lastOfMonth(t time.Time) bool { return t.AddDate(0, 0, 7).Month() != t.Month() }

// take adds a change to the run when one rule can still say them all.
func (o *observance) take(t zone.Transition, before int, wall time.Time) bool {
	newest := o.walls[len(o.walls)-1]
	if o.offsetFrom != before || o.offsetTo != t.Offset || o.dst != t.DST || o.name != t.Abbrev ||
		newest.Year()+1 != wall.Year() || newest.Month() != wall.Month() || newest.Weekday() != wall.Weekday() ||
		newest.Sub(newest.Truncate(24*time.Hour)) != wall.Sub(wall.Truncate(24*time.Hour)) {
		return false
	}
	nth := o.nth && (newest.Day()-1)/7 == (wall.Day()-1)/7
	last := o.last && lastOfMonth(wall)
	low, high := min(o.minDay, wall.Day()), max(o.maxDay, wall.Day())
	if !nth && !last && high-low > 6 {
		return false
	}
	o.nth, o.last, o.minDay, o.maxDay = nth, last, low, high
	o.walls = append(o.walls, wall)
	return true
}

func (o *observance) component(open bool) *Component {
	c := &Component{Name: "STANDARD"}
	if o.dst {
		c.Name = "DAYLIGHT"
	}
	first, newest := o.walls[0], o.walls[len(o.walls)-1]
	c.SetValue("DTSTART", Time{Wall: first}.Value())
	if len(o.walls) > 1 {
		day := recur.Day{Weekday: first.Weekday()}
		rule := recur.Rule{Freq: recur.Yearly, Interval: 1, ByMonth: []int{int(first.Month())}, WeekStart: time.Monday}
		switch {
		case o.last:
			day.N = -1
		case o.nth:
			day.N = (first.Day()-1)/7 + 1
		default:
			for d := o.minDay; d < o.minDay+7 && d <= 31; d++ {
				rule.ByMonthDay = append(rule.ByMonthDay, d)
			}
		}
		rule.ByDay = []recur.Day{day}
		if !open {
			rule.Until = recur.Until{Wall: newest.Add(-time.Duration(o.offsetFrom) * time.Second), UTC: true}
		}
		c.SetValue("RRULE", rule.String())
	}
	c.SetValue("TZOFFSETFROM", FormatOffset(o.offsetFrom))
	c.SetValue("TZOFFSETTO", FormatOffset(o.offsetTo))
	if o.name != "" && !strings.ContainsAny(o.name, "+-") {
		c.SetText("TZNAME", o.name)
	}
	return c
}

// unknownZone is told for a time whose zone nobody knows.
func unknownZone(id string) error { return fmt.Errorf("the zone %q is not known", id) }
