package ical

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waypost/internal/zone"
)

// Time is a DATE or DATE-TIME (RFC 5545 section 3.3.4 and 3.3.5) as it was
// written. Without UTC and TZID it is floating: that hour wherever one is.
type Time struct {
	Wall time.Time // the digits, in UTC
	Date bool
	UTC  bool
	TZID string
}

// IsZero tells that there is no time.
func (t Time) IsZero() bool { return t.Wall.IsZero() }

// Floating tells that the time is of no zone.
func (t Time) Floating() bool { return !t.UTC && t.TZID == "" }

// Value is the time as iCalendar writes it.
func (t Time) Value() string {
	switch {
	case t.Date:
		return t.Wall.Format("20060102")
	case t.UTC:
		return t.Wall.Format("20060102T150405Z")
	default:
		return t.Wall.Format("20060102T150405")
	}
}

// UTCTime is a moment in UTC.
func UTCTime(t time.Time) Time { return Time{Wall: t.UTC().Truncate(time.Second), UTC: true} }

// DateOf is a day.
func DateOf(year int, month time.Month, day int) Time {
	return Time{Wall: time.Date(year, month, day, 0, 0, 0, 0, time.UTC), Date: true}
}

// extended takes off what ISO 8601 has between digits and iCalendar has not.
var extended = strings.NewReplacer("-", "", ":", "", " ", "T")

// parseTime reads one value. The forms of ISO 8601 with dashes and colons are
// taken as well, and an hour 24 or second 60, which the standard's readers meet.
func parseTime(text, tzid string) (Time, error) {
	text = strings.ToUpper(strings.TrimSpace(text))
	t := Time{TZID: tzid}
	digits := extended.Replace(text)
	if digits, t.UTC = strings.CutSuffix(digits, "Z"); t.UTC {
		t.TZID = "" // section 3.2.19: a zone must not be given for UTC
	}
	date, clock, found := strings.Cut(digits, "T")
	clock, _, _ = strings.Cut(clock, ".")
	if !found || clock == "" {
		t.Date, t.UTC, t.TZID, clock = true, false, "", ""
	}
	n, err := numbersOf(date, 4, 2, 2)
	if err != nil || n[0] == 0 || n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > 31 {
		return Time{}, fmt.Errorf("%q is no date", text)
	}
	c := []int{0, 0, 0}
	if !t.Date {
		if len(clock) == 4 {
			clock += "00"
		}
		if c, err = numbersOf(clock, 2, 2, 2); err != nil || c[0] > 24 || c[1] > 59 || c[2] > 60 {
			return Time{}, fmt.Errorf("%q is no time", text)
		}
		c[2] = min(c[2], 59) // section 3.3.12: for those without leap seconds
	}
	t.Wall = time.Date(n[0], time.Month(n[1]), n[2], c[0], c[1], c[2], 0, time.UTC)
	if c[0] < 24 && t.Wall.Day() != n[2] {
		return Time{}, fmt.Errorf("%q is no day of the calendar", text)
	}
	return t, nil
}

func numbersOf(text string, widths ...int) ([]int, error) {
	var all []int
	for _, w := range widths {
		if len(text) < w {
			return nil, errors.New("too short")
		}
		n := 0
		for _, c := range []byte(text[:w]) {
			if c < '0' || c > '9' {
				return nil, errors.New("not digits")
			}
			n = 10*n + int(c-'0')
		}
		all, text = append(all, n), text[w:]
	}
	if text != "" {
		return nil, errors.New("too long")
	}
	return all, nil
}

// ParseTime reads a property of one time.
func ParseTime(p *Property) (Time, error) { return parseTime(p.Value, tzidOf(p)) }

func tzidOf(p *Property) string { return strings.TrimSpace(p.ParamText("TZID")) }

// Time reads the property of that name; the zero Time without it.
func (c *Component) Time(name string) (Time, error) {
	p := c.Prop(name)
	if p == nil {
		return Time{}, nil
	}
	return ParseTime(p)
}

// SetTime writes a property of one time; the zero Time removes it. Parameters
// other than VALUE and TZID stay.
func (c *Component) SetTime(name string, t Time) {
	p := c.Prop(name)
	if t.IsZero() {
		c.Remove(name)
		return
	}
	if p == nil {
		p = &Property{Name: name}
		c.Properties = append(c.Properties, p)
	} else if old, err := ParseTime(p); err == nil && old == t {
		return
	}
	t.write(p)
}

func (t Time) write(p *Property) {
	p.Value = t.Value()
	p.SetParam("VALUE")
	p.SetParam("TZID")
	if t.Date {
		p.SetParam("VALUE", "DATE")
	} else if t.TZID != "" && !t.UTC {
		p.SetParam("TZID", t.TZID)
	}
}

// ParseTimes reads a list of times separated by commas (EXDATE), as much of it
// as makes sense; the error tells of the rest.
func ParseTimes(p *Property) ([]Time, error) {
	var all []Time
	var bad []error
	for text := range strings.SplitSeq(p.Value, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		t, err := parseTime(text, tzidOf(p))
		if err != nil {
			bad = append(bad, err)
			continue
		}
		all = append(all, t)
	}
	return all, errors.Join(bad...)
}

// Duration is a length of time (RFC 5545 section 3.3.6): days are days of the
// calendar, which may have 23 or 25 hours; the rest is exact.
type Duration struct {
	Days  int
	Exact time.Duration
}

// maxDays and maxExact bound durations to what makes sense in a calendar.
const (
	maxDays  = 4_000_000
	maxExact = 200 * 365 * 24 * time.Hour
)

// ParseDuration reads a duration.
func ParseDuration(text string) (Duration, error) {
	bad := fmt.Errorf("%q is no duration", text)
	rest := strings.ToUpper(strings.TrimSpace(text))
	rest, minus := strings.CutPrefix(rest, "-")
	rest = strings.TrimPrefix(rest, "+")
	rest, found := strings.CutPrefix(rest, "P")
	if !found || rest == "" {
		return Duration{}, bad
	}
	var d Duration
	clock, any := false, false
	for rest != "" {
		if rest[0] == 'T' && !clock {
			clock, rest = true, rest[1:]
			any = any || rest == "" // PT is written for nothing at all
			continue
		}
		end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
		if end <= 0 || end > 9 {
			return Duration{}, bad
		}
		n, err := strconv.Atoi(rest[:end])
		if err != nil {
			return Duration{}, bad
		}
		var unit time.Duration
		switch c := rest[end]; {
		case c == 'W' && !clock:
			d.Days += 7 * n
		case c == 'D' && !clock:
			d.Days += n
		case c == 'H' && clock:
			unit = time.Hour
		case c == 'M' && clock:
			unit = time.Minute
		case c == 'S' && clock:
			unit = time.Second
		default:
			return Duration{}, bad
		}
		if unit > 0 && time.Duration(n) > (maxExact-d.Exact)/unit || d.Days > maxDays {
			return Duration{}, bad
		}
		d.Exact += time.Duration(n) * unit
		any, rest = true, rest[end+1:]
	}
	if !any {
		return Duration{}, bad
	}
	if minus {
		d.Days, d.Exact = -d.Days, -d.Exact
	}
	return d, nil
}

// String writes a duration; whole weeks as weeks, since days and weeks do not mix.
func (d Duration) String() string {
	var b strings.Builder
	days, exact := d.Days, d.Exact
	if days < 0 || exact < 0 {
		b.WriteByte('-')
		days, exact = -days, -exact
	}
	b.WriteByte('P')
	switch {
	case days > 0 && days%7 == 0 && exact == 0:
		fmt.Fprintf(&b, "%dW", days/7)
		return b.String()
	case days > 0:
		fmt.Fprintf(&b, "%dD", days)
	}
	if exact == 0 && days > 0 {
		return b.String()
	}
	b.WriteByte('T')
	h, m, s := int(exact/time.Hour), int(exact/time.Minute)%60, int(exact/time.Second)%60
	if h > 0 {
		fmt.Fprintf(&b, "%dH", h)
	}
	// Between hours and seconds the grammar wants the minutes.
	if m > 0 || h > 0 && s > 0 {
		fmt.Fprintf(&b, "%dM", m)
	}
	if s > 0 || h+m == 0 {
		fmt.Fprintf(&b, "%dS", s)
	}
	return b.String()
}

// After gives the moment so much after t: days on the calendar of t's zone, then
// exact time.
func (d Duration) After(t time.Time) time.Time {
	if d.Days != 0 {
		t = zone.Instant(zone.Wall(t, t.Location()).AddDate(0, 0, d.Days), t.Location()).In(t.Location())
	}
	return t.Add(d.Exact)
}

// Period is a time and how long it lasts: to End, or for Duration.
type Period struct {
	Start    Time
	End      Time // zero: by Duration
	Duration Duration
}

// ParsePeriods reads a list of periods (FREEBUSY, RDATE of that type), as much
// of it as makes sense.
func ParsePeriods(p *Property) ([]Period, error) {
	var all []Period
	var bad []error
	for text := range strings.SplitSeq(p.Value, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		one, err := parsePeriod(text, tzidOf(p))
		if err != nil {
			bad = append(bad, err)
			continue
		}
		all = append(all, one)
	}
	return all, errors.Join(bad...)
}

func parsePeriod(text, tzid string) (p Period, err error) {
	start, end, found := strings.Cut(text, "/")
	if !found {
		return p, fmt.Errorf("%q is no period", text)
	}
	if p.Start, err = parseTime(start, tzid); err != nil {
		return p, err
	}
	if strings.ContainsAny(end, "Pp") {
		p.Duration, err = ParseDuration(end)
	} else {
		p.End, err = parseTime(end, tzid)
	}
	return p, err
}

// Value is the period as iCalendar writes it.
func (p Period) Value() string {
	if p.End.IsZero() {
		return p.Start.Value() + "/" + p.Duration.String()
	}
	return p.Start.Value() + "/" + p.End.Value()
}

// ParseOffset reads a UTC offset in seconds (RFC 5545 section 3.3.14).
func ParseOffset(text string) (int, error) {
	digits := strings.ReplaceAll(strings.TrimSpace(text), ":", "")
	sign := 1
	switch {
	case strings.HasPrefix(digits, "-"):
		sign, digits = -1, digits[1:]
	default:
		digits = strings.TrimPrefix(digits, "+")
	}
	if len(digits) == 4 {
		digits += "00"
	}
	n, err := numbersOf(digits, 2, 2, 2)
	if err != nil || n[0] > 23 || n[1] > 59 || n[2] > 59 {
		return 0, fmt.Errorf("%q is no offset from UTC", text)
	}
	return sign * (n[0]*3600 + n[1]*60 + n[2]), nil
}

// FormatOffset writes one.
func FormatOffset(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	s := fmt.Sprintf("%c%02d%02d", sign, seconds/3600, seconds/60%60)
	if seconds%60 != 0 {
		s += fmt.Sprintf("%02d", seconds%60)
	}
	return s
}
