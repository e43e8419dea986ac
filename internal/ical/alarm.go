package ical

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Alarm is what a VALARM says of when it rings (RFC 5545 section 3.6.6).
type Alarm struct {
	Action string   // DISPLAY, AUDIO, EMAIL or another, in capitals
	At     Time     // rings then; zero: Before
	Offset Duration // from the beginning, or from the end; negative is before
	End    bool     // Offset counts from the end
	Repeat int      // how often it rings again
	Every  Duration // after how long each time
}

// maxRepeat bounds how often an alarm rings again.
const maxRepeat = 1000

// ParseAlarm reads a VALARM.
func ParseAlarm(c *Component) (Alarm, error) {
	a := Alarm{Action: strings.ToUpper(c.Text("ACTION"))}
	p := c.Prop("TRIGGER")
	if p == nil {
		return a, fmt.Errorf("an alarm without TRIGGER")
	}
	var err error
	if strings.EqualFold(p.ParamText("VALUE"), "DATE-TIME") || !strings.ContainsAny(p.Value, "Pp") {
		a.At, err = ParseTime(p)
	} else {
		a.Offset, err = ParseDuration(p.Value)
		a.End = strings.EqualFold(p.ParamText("RELATED"), "END")
	}
	if err != nil {
		return a, err
	}
	if n, err := strconv.Atoi(c.Text("REPEAT")); err == nil && n > 0 {
		if a.Every, err = ParseDuration(c.Text("DURATION")); err == nil {
			a.Repeat = min(n, maxRepeat)
		}
	}
	return a, nil
}

// Rings are the moments when the alarm of an occurrence rings.
func (a Alarm) Rings(o Occurrence, zones *Zones) []time.Time {
	var first time.Time
	switch {
	case !a.At.IsZero():
		first, _ = zones.Instant(a.At)
	case a.End:
		first = a.Offset.After(o.End)
	default:
		first = a.Offset.After(o.Start)
	}
	rings := []time.Time{first}
	for range a.Repeat {
		first = a.Every.After(first)
		rings = append(rings, first)
	}
	return rings
}

// SetReminder gives the component one display alarm so long before its
// beginning. An alarm that rings then already is left alone, and so are those of
// other kinds.
func (c *Component) SetReminder(before time.Duration, text string) {
	offset := Duration{Exact: -before}
	var old *Component
	for _, part := range c.Parts("VALARM") {
		a, err := ParseAlarm(part)
		if err != nil || !a.At.IsZero() || a.End || a.Action != "DISPLAY" && a.Action != "AUDIO" {
			continue
		}
		if a.Offset.total() == -before {
			return
		}
		if old == nil {
			old = part
		}
	}
	if old == nil {
		old = &Component{Name: "VALARM", Properties: []*Property{{Name: "ACTION", Value: "DISPLAY"}}}
		old.SetText("DESCRIPTION", text)
		if text == "" {
			old.SetValue("DESCRIPTION", "")
		}
		c.Children = append(c.Children, old)
	}
	old.Remove("ACKNOWLEDGED") // RFC 9074 section 6.1: of the old moment
	old.SetValue("TRIGGER", offset.String())
}

// Reminder is how long before its beginning the component's first alarm rings;
// false when none does.
func (c *Component) Reminder() (before time.Duration, ok bool) {
	for _, part := range c.Parts("VALARM") {
		a, err := ParseAlarm(part)
		if err != nil || !a.At.IsZero() || a.End || a.Offset.total() > 0 {
			continue
		}
		if b := -a.Offset.total(); !ok || b > before {
			before, ok = b, true
		}
	}
	return before, ok
}

// RemoveReminders takes away the alarms that Reminder looks at.
func (c *Component) RemoveReminders() {
	for _, part := range c.Parts("VALARM") {
		if a, err := ParseAlarm(part); err == nil && a.At.IsZero() && !a.End {
			c.RemovePart(part)
		}
	}
}

func (d Duration) total() time.Duration {
	return time.Duration(min(max(d.Days, -36500), 36500))*24*time.Hour + d.Exact
}
