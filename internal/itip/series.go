package itip

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// series is the components of one UID.
type series struct {
	cal    *ical.Component // VCALENDAR
	uid    string
	zones  *ical.Zones
	master *ical.Component            // nil: only instances are known
	parts  map[string]*ical.Component // by instance; "" is the master
	order  []string                   // of parts, the master first
	rule   *ical.Set                  // the master alone, while it is as it was
}

// open reads a copy or a message. Nil text gives nil.
func (s Side) open(text []byte) (*series, error) {
	if text == nil {
		return nil, nil
	}
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	return s.seriesOf(root)
}

// names of what can be scheduled.
var names = []string{"VEVENT", "VTODO"}

func (s Side) seriesOf(root *ical.Component) (*series, error) {
	for _, cal := range root.Parts("VCALENDAR") {
		if len(cal.Parts(names...)) > 0 {
			return s.of(cal)
		}
	}
	return nil, fault.New(fault.Invalid, "a calendar without an event")
}

// of reads the components of the calendar's first UID; others are left alone.
func (s Side) of(cal *ical.Component) (*series, error) {
	e := &series{cal: cal, zones: ical.ZonesOf(cal, s.Zone), parts: map[string]*ical.Component{}}
	var all []*ical.Component
	for _, c := range cal.Parts(names...) {
		if len(all) == 0 {
			e.uid = c.Text("UID")
		}
		if c.Text("UID") == e.uid {
			all = append(all, c)
		}
	}
	for _, c := range all {
		if c.Prop("RECURRENCE-ID") == nil && e.master == nil {
			e.master = c
			e.add("", c)
		}
	}
	for _, c := range all {
		if p := c.Prop("RECURRENCE-ID"); p != nil {
			t, err := ical.ParseTime(p)
			if err != nil {
				continue
			}
			id := e.id(t)
			if old := e.parts[id]; old != nil && sequence(old) > sequence(c) {
				continue // RFC 5546 section 2.1.5: the newest counts
			}
			e.add(id, c)
		}
	}
	if len(e.order) == 0 {
		return nil, fault.New(fault.Invalid, "an event without a beginning")
	}
	return e, nil
}

func (e *series) add(id string, c *ical.Component) {
	if e.parts[id] == nil {
		e.order = append(e.order, id)
	}
	e.parts[id] = c
}

// put adds or replaces a component in the calendar too.
func (e *series) put(id string, c *ical.Component) {
	if old := e.parts[id]; old != nil {
		at := slices.Index(e.cal.Children, old)
		e.cal.Children[at] = c
	} else {
		e.cal.Children = append(e.cal.Children, c)
	}
	e.add(id, c)
	if id == "" {
		e.master, e.rule = c, nil
	}
}

// drop takes a component out.
func (e *series) drop(id string) {
	e.cal.RemovePart(e.parts[id])
	if id == "" {
		e.master, e.rule = nil, nil
	}
	delete(e.parts, id)
	e.order = slices.DeleteFunc(e.order, func(o string) bool { return o == id })
}

// id is an instance's name that does not depend on how the time is written: its
// moment, of a whole day its digits.
func (e *series) id(t ical.Time) string {
	if e.master != nil {
		if start, err := e.master.Time("DTSTART"); err == nil && !start.IsZero() {
			switch {
			case start.Date && !t.Date: // some write midnight for a day
				t = ical.Time{Wall: t.Wall.Truncate(24 * time.Hour), Date: true}
			case !start.Date && t.Date: // and the day for its hour
				h, m, sec := start.Wall.Clock()
				t = ical.Time{Wall: t.Wall.Add(time.Duration(h*3600+m*60+sec) * time.Second), UTC: start.UTC, TZID: start.TZID}
			}
		}
	}
	if t.Date {
		return t.Value()
	}
	at, _ := e.zones.Instant(t)
	return at.UTC().Format(utcForm)
}

// rename names the instances of a message as their series does, which is not in
// the message: some write the day of an hour, or midnight for a day.
func (e *series) rename(as *series) {
	for i, id := range e.order {
		c := e.parts[id]
		t, err := ical.ParseTime(c.Prop("RECURRENCE-ID"))
		if err != nil || as.master == nil {
			continue
		}
		start, err := as.master.Time("DTSTART")
		if err != nil || start.Date == t.Date {
			continue
		}
		if name := as.id(t); e.parts[name] == nil {
			delete(e.parts, id)
			e.order[i], e.parts[name] = name, c
		}
	}
}

// recurrence is the RECURRENCE-ID of an instance, as its series writes times
// (RFC 5545 section 3.8.4.4).
func (e *series) recurrence(id string) ical.Time {
	if at, err := time.Parse("20060102", id); err == nil {
		return ical.Time{Wall: at, Date: true}
	}
	at, err := time.Parse(utcForm, id)
	if err != nil {
		return ical.Time{}
	}
	if e.master != nil {
		start, err := e.master.Time("DTSTART")
		if err == nil && !start.IsZero() && !start.UTC && !start.Date {
			l := e.zones.Floating
			if start.TZID != "" {
				if l = e.zones.Location(start.TZID); l == nil {
					l = e.zones.Floating
				}
			}
			return ical.Time{Wall: zone.Wall(at, l), TZID: start.TZID}
		}
	}
	return ical.UTCTime(at)
}

// excluded are the instances that EXDATE takes out.
func (e *series) excluded() map[string]bool {
	all := map[string]bool{}
	if e == nil || e.master == nil {
		return all
	}
	for _, p := range e.master.All("EXDATE") {
		times, _ := ical.ParseTimes(p)
		for _, t := range times {
			all[e.id(t)] = true
		}
	}
	return all
}

// exclude takes an instance out of the series.
func (e *series) exclude(id string) {
	if e.parts[id] != nil && id != "" {
		e.drop(id)
	}
	if e.master != nil && !e.excluded()[id] {
		exclude(e.master, e.recurrence(id))
		e.rule = nil
	}
}

func exclude(master *ical.Component, t ical.Time) {
	holder := &ical.Component{}
	holder.SetTime("EXDATE", t)
	master.Properties = append(master.Properties, holder.Properties...)
}

// paramGone notes on an EXDATE of an attendee's copy the SEQUENCE and DTSTAMP of
// the cancellation that it is of: what is older does not bring the instance back.
const paramGone = "X-WAYPOST-GONE"

// gone is an instance's mark; empty when its owner took it out itself.
func (e *series) gone(id string) string {
	for _, p := range e.master.All("EXDATE") {
		times, _ := ical.ParseTimes(p)
		for _, t := range times {
			if e.id(t) == id {
				return p.ParamText(paramGone)
			}
		}
	}
	return ""
}

// markGone notes what took an instance out.
func (e *series) markGone(id, mark string) {
	if old := e.gone(id); mark == "" || old != "" && !newer(mark, old) {
		return
	}
	for _, p := range e.master.All("EXDATE") {
		if times, _ := ical.ParseTimes(p); len(times) == 1 && e.id(times[0]) == id {
			p.SetParam(paramGone, mark)
		}
	}
}

// mark says how new a component of a message is.
func (e *series) mark(c *ical.Component) string {
	return fmt.Sprintf("%d-%s", sequence(c), e.stamp(c).UTC().Format(utcForm))
}

// include takes an instance's EXDATE back.
func (e *series) include(id string) {
	kept := e.master.Properties[:0:0]
	for _, p := range e.master.Properties {
		if p.Is("EXDATE") {
			times, _ := ical.ParseTimes(p)
			var values []string
			for _, t := range times {
				if e.id(t) != id {
					values = append(values, t.Value())
				}
			}
			if len(values) == 0 {
				continue
			}
			if len(values) < len(times) {
				p = p.Clone()
				p.Value = strings.Join(values, ",")
			}
		}
		kept = append(kept, p)
	}
	e.master.Properties = kept
	e.rule = nil
}

// instance makes a component of an instance as the series' rule has it.
func (e *series) instance(id string) (*ical.Component, error) {
	if e.master == nil {
		return nil, fault.New(fault.NotFound, "the series is not known")
	}
	if e.rule == nil {
		e.rule = ical.NewSet([]*ical.Component{e.master}, e.zones)
	}
	at := e.recurrence(id)
	moment, _ := e.zones.Instant(at)
	all, err := e.rule.List(moment, moment.Add(time.Second), 100)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	for _, o := range all {
		if e.id(o.ID) != id {
			continue
		}
		c := e.master.Clone()
		for _, name := range []string{"RRULE", "RDATE", "EXDATE", "EXRULE", "DURATION"} {
			c.Remove(name)
		}
		start, _ := c.Time("DTSTART")
		c.SetTime("DTSTART", at)
		endName := "DTEND"
		if c.Is("VTODO") {
			endName = "DUE"
		}
		end := ical.Time{Wall: zone.Wall(o.End, o.End.Location()), TZID: start.TZID, UTC: start.UTC, Date: start.Date}
		if start.UTC {
			end.Wall = o.End.UTC()
		}
		c.SetTime(endName, end)
		c.SetTime("RECURRENCE-ID", at)
		return c, nil
	}
	return nil, fault.New(fault.NotFound, "the series has no such instance")
}

func (e *series) components() []*ical.Component {
	var all []*ical.Component
	for _, id := range e.order {
		all = append(all, e.parts[id])
	}
	return all
}

// newest is the highest SEQUENCE of all components.
func (e *series) newest() int {
	n := 0
	for _, c := range e.parts {
		n = max(n, sequence(c))
	}
	return n
}

// over tells whether nothing of it is left at a moment.
func (e *series) over(now time.Time) bool {
	set := ical.NewSet(e.components(), e.zones)
	left, err := set.List(now, now.AddDate(200, 0, 0), 1)
	return err == nil && len(left) == 0
}

// text is the whole as it is stored: without METHOD.
func (e *series) text() []byte {
	e.cal.Remove("METHOD")
	return e.cal.Append(nil)
}

func (e *series) clone(s Side) *series {
	d, err := s.of(e.cal.Clone())
	if err != nil { // it was read before
		return e
	}
	return d
}

func sequence(c *ical.Component) int {
	n, err := strconv.Atoi(strings.TrimSpace(c.Text("SEQUENCE")))
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n
}

func setSequence(c *ical.Component, n int) {
	if n != sequence(c) || c.Prop("SEQUENCE") == nil {
		c.SetValue("SEQUENCE", strconv.Itoa(n))
	}
}

func (e *series) stamp(c *ical.Component) time.Time {
	t, err := c.Time("DTSTAMP")
	if err != nil || t.IsZero() {
		return time.Time{}
	}
	at, _ := e.zones.Instant(t)
	return at
}

func cancelled(c *ical.Component) bool {
	return c != nil && strings.EqualFold(c.Text("STATUS"), "CANCELLED")
}

// when is when a component is, in a form that does not depend on how it is
// written: what RFC 5546 section 2.1.4 makes a new revision of, but for EXDATE
// and STATUS.
func (e *series) when(c *ical.Component) string {
	start, end, err := ical.Span(c, e.zones)
	var b strings.Builder
	if err == nil {
		b.WriteString(strconv.FormatInt(start.At.Unix(), 10))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(end.At.Unix(), 10))
		if start.Time.Date {
			b.WriteString(" day")
		}
	}
	var rules []string
	for _, name := range []string{"RRULE", "EXRULE"} {
		for _, p := range c.All(name) {
			text := p.Value
			if rule, err := recur.Parse(text); err == nil {
				text = rule.String()
			}
			rules = append(rules, name+":"+text)
		}
	}
	for _, p := range c.All("RDATE") {
		for text := range strings.SplitSeq(p.Value, ",") {
			rules = append(rules, "RDATE:"+strings.TrimSpace(text))
		}
	}
	if len(rules) > 0 && err == nil {
		b.WriteString(" " + start.At.Location().String())
	}
	slices.Sort(rules)
	b.WriteString(" " + strings.Join(rules, " "))
	return b.String()
}

// shown are the properties whose change others are told of.
var shown = []string{
	"SUMMARY", "LOCATION", "DESCRIPTION", "URL", "CONFERENCE", "ATTACH", "STATUS", "CLASS", "PRIORITY", "GEO",
	"X-ALT-DESC", "X-GOOGLE-CONFERENCE", "X-MICROSOFT-SKYPETEAMSMEETINGURL", "STRUCTURED-DATA",
}

// what is what a component says of itself to everybody.
func what(c *ical.Component) string {
	var lines []string
	for _, name := range shown {
		for _, p := range c.All(name) {
			v := strings.TrimSpace(p.Value)
			if name == "STATUS" && !strings.EqualFold(v, "CANCELLED") {
				continue // confirmed or not said is the same
			}
			if v != "" {
				lines = append(lines, name+":"+v)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// whom is who is invited, and how.
func (s Side) whom(c *ical.Component) string {
	var all []string
	for _, who := range c.Attendees() {
		all = append(all, s.canon(who.Address)+" "+who.Role+" "+who.Type)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// attendee finds the property of somebody by any of its addresses.
func (s Side) attendee(c *ical.Component, address string) *ical.Property {
	if c == nil {
		return nil
	}
	want := s.canon(address)
	for _, p := range c.All("ATTENDEE") {
		if s.canon(ical.ParsePerson(p).Address) == want {
			return p
		}
	}
	return nil
}

// me finds the owner's own property.
func (s Side) me(c *ical.Component) *ical.Property {
	if c == nil {
		return nil
	}
	for _, p := range c.All("ATTENDEE") {
		if s.Mine(ical.ParsePerson(p).Address) {
			return p
		}
	}
	return nil
}

func statusOf(p *ical.Property) string {
	if p == nil {
		return NeedsAction
	}
	if status := ical.ParsePerson(p).Status; status != "" {
		return status
	}
	return NeedsAction
}

// organizer is who invites, of the first component that says so.
func (e *series) organizer() (ical.Person, bool) {
	for _, id := range e.order {
		if who, ok := e.parts[id].Organizer(); ok {
			return who, true
		}
	}
	return ical.Person{}, false
}

// meeting tells whether somebody else than the owner is invited.
func (s Side) meeting(e *series) bool {
	for _, id := range e.order {
		for _, who := range e.parts[id].Attendees() {
			if !s.Mine(who.Address) {
				return true
			}
		}
	}
	return false
}

// utcForm is a moment as iCalendar writes it.
const utcForm = "20060102T150405Z"

func wall(t time.Time, l *time.Location) time.Time { return zone.Wall(t.Truncate(time.Second), l) }
