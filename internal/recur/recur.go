// Package recur is the recurrence rule of iCalendar (RFC 5545 section 3.3.10):
// reading, writing and expanding it.
//
// Its law: a rule is expanded over local wall time, which here is a time.Time in
// UTC that holds the digits; zones, gaps and overlaps are for who places wall
// times (internal/ical). The cost of any rule is bounded: a walk begins near the
// time asked for, jumps over months, days, hours and minutes that a rule cannot
// match, never builds the list of one period's instances, and after so many
// steps ends with ErrSteps instead of going on.
package recur

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrSteps ends the walk of a rule that costs too much.
var ErrSteps = errors.New("the recurrence rule needs too many steps")

// ErrUnsupported is a rule of another calendar than the Gregorian (RFC 7529), or
// one that repeats a date within its day.
var ErrUnsupported = errors.New("the recurrence rule is of a kind that is not supported")

// Freq is how often a rule repeats.
type Freq int

// The frequencies, from the longest.
const (
	Yearly Freq = iota
	Monthly
	Weekly
	Daily
	Hourly
	Minutely
	Secondly
)

var freqs = []string{"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"}

// String is the frequency's word in iCalendar.
func (f Freq) String() string { return freqs[f] }

// Day is a day of the week, with its number in month or year: 0 is every one,
// -1 the last.
type Day struct {
	N       int
	Weekday time.Weekday
}

var weekdays = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// String is the day as BYDAY has it.
func (d Day) String() string {
	if d.N == 0 {
		return weekdays[d.Weekday]
	}
	return strconv.Itoa(d.N) + weekdays[d.Weekday]
}

// Until is the end of a rule as it was written.
type Until struct {
	Wall time.Time // the digits; the zero time: no end
	Date bool      // a date without a time
	UTC  bool
}

// Rule is a recurrence rule.
type Rule struct {
	Freq       Freq
	Interval   int // at least 1
	Count      int // 0: not limited
	Until      Until
	BySecond   []int
	ByMinute   []int
	ByHour     []int
	ByDay      []Day
	ByMonthDay []int
	ByYearDay  []int
	ByWeekNo   []int
	ByMonth    []int
	BySetPos   []int
	WeekStart  time.Weekday // Monday unless said otherwise
	Other      []string     // parts that are not known, as written
}

// maxList bounds the values of one part; 366 is the most that can differ.
const maxList = 800

// Parse reads a rule. Letters of either case, spaces, empty parts and escaped
// semicolons do no harm; what makes the rule mean nothing is an error.
func Parse(value string) (*Rule, error) {
	r := &Rule{Freq: -1, Interval: 1, WeekStart: time.Monday}
	for part := range strings.SplitSeq(strings.ReplaceAll(value, `\`, ""), ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, text, found := strings.Cut(part, "=")
		if !found {
			return nil, fmt.Errorf("recurrence rule: %q has no value", part)
		}
		if err := r.part(strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(text)), part); err != nil {
			return nil, fmt.Errorf("recurrence rule: %s: %w", name, err)
		}
	}
	if r.Freq < 0 {
		return nil, errors.New("recurrence rule: no FREQ")
	}
	return r, nil
}

func (r *Rule) part(name, text, whole string) (err error) {
	switch name {
	case "FREQ":
		if r.Freq = Freq(slices.Index(freqs, text)); r.Freq < 0 {
			return fmt.Errorf("%q is no frequency", text)
		}
	case "INTERVAL":
		// 0 is written by some for 1.
		if r.Interval, err = number(text, 0, 1<<31-1); r.Interval == 0 {
			r.Interval = 1
		}
	case "COUNT":
		r.Count, err = number(text, 1, 1<<31-1)
	case "UNTIL":
		r.Until, err = parseUntil(text)
	case "BYSECOND":
		r.BySecond, err = numbers(text, 0, 60)
	case "BYMINUTE":
		r.ByMinute, err = numbers(text, 0, 59)
	case "BYHOUR":
		r.ByHour, err = numbers(text, 0, 23)
	case "BYDAY":
		r.ByDay, err = days(text)
	case "BYMONTHDAY":
		r.ByMonthDay, err = signed(text, 31)
	case "BYYEARDAY":
		r.ByYearDay, err = signed(text, 366)
	case "BYWEEKNO":
		r.ByWeekNo, err = signed(text, 53)
	case "BYMONTH":
		r.ByMonth, err = numbers(text, 1, 12)
	case "BYSETPOS":
		// RFC 5545 says up to 366; a day of hours may have more.
		r.BySetPos, err = signed(text, 1<<31-1)
	case "WKST":
		day := slices.Index(weekdays, text)
		if day < 0 {
			return fmt.Errorf("%q is no day of the week", text)
		}
		r.WeekStart = time.Weekday(day)
	default:
		r.Other = append(r.Other, whole)
	}
	return err
}

func number(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is no number from %d to %d", text, least, most)
	}
	return n, nil
}

func list[T any](text string, one func(string) (T, error)) ([]T, error) {
	var values []T
	for item := range strings.SplitSeq(text, ",") {
		item = strings.ReplaceAll(item, " ", "")
		if item == "" {
			continue
		}
		v, err := one(item)
		if err != nil {
			return nil, err
		}
		if values = append(values, v); len(values) > maxList {
			return nil, errors.New("too many values")
		}
	}
	if len(values) == 0 {
		return nil, errors.New("no value")
	}
	return values, nil
}

func numbers(text string, least, most int) ([]int, error) {
	return list(text, func(s string) (int, error) { return number(s, least, most) })
}

func signed(text string, most int) ([]int, error) {
	return list(text, func(s string) (int, error) {
		n, err := number(s, -most, most)
		if err == nil && n == 0 {
			err = errors.New("0 means nothing")
		}
		return n, err
	})
}

func days(text string) ([]Day, error) {
	return list(text, func(s string) (d Day, err error) {
		if len(s) < 2 {
			return d, fmt.Errorf("%q is no day of the week", s)
		}
		weekday := slices.Index(weekdays, s[len(s)-2:])
		if weekday < 0 {
			return d, fmt.Errorf("%q is no day of the week", s)
		}
		d.Weekday = time.Weekday(weekday)
		if n := s[:len(s)-2]; n != "" {
			d.N, err = number(n, -53, 53)
		}
		return d, err
	})
}

var extended = strings.NewReplacer("-", "", ":", "")

// parseUntil also takes the forms with dashes and colons that some write.
func parseUntil(text string) (u Until, err error) {
	text, u.UTC = strings.CutSuffix(extended.Replace(text), "Z")
	if date, clock, found := strings.Cut(text, "T"); !found || clock == "" {
		u.Date, u.UTC = true, false
		u.Wall, err = time.Parse("20060102", date)
	} else if u.Wall, err = time.Parse("20060102T150405", text); err != nil {
		u.Wall, err = time.Parse("20060102T1504", text)
	}
	return u, err
}

// Format writes the end as iCalendar has it.
func (u Until) format() string {
	switch {
	case u.Date:
		return u.Wall.Format("20060102")
	case u.UTC:
		return u.Wall.Format("20060102T150405Z")
	default:
		return u.Wall.Format("20060102T150405")
	}
}

// String writes the rule in the order that old readers want: FREQ first.
func (r *Rule) String() string {
	var b strings.Builder
	b.WriteString("FREQ=" + r.Freq.String())
	if !r.Until.Wall.IsZero() {
		b.WriteString(";UNTIL=" + r.Until.format())
	}
	if r.Count > 0 {
		b.WriteString(";COUNT=" + strconv.Itoa(r.Count))
	}
	if r.Interval > 1 {
		b.WriteString(";INTERVAL=" + strconv.Itoa(r.Interval))
	}
	for _, part := range []struct {
		name   string
		values []int
	}{
		{"BYSECOND", r.BySecond},
		{"BYMINUTE", r.ByMinute},
		{"BYHOUR", r.ByHour},
		{"BYDAY", nil},
		{"BYMONTHDAY", r.ByMonthDay},
		{"BYYEARDAY", r.ByYearDay},
		{"BYWEEKNO", r.ByWeekNo},
		{"BYMONTH", r.ByMonth},
		{"BYSETPOS", r.BySetPos},
	} {
		texts := make([]string, 0, len(part.values)+len(r.ByDay))
		for _, v := range part.values {
			texts = append(texts, strconv.Itoa(v))
		}
		if part.name == "BYDAY" {
			for _, d := range r.ByDay {
				texts = append(texts, d.String())
			}
		}
		if len(texts) > 0 {
			b.WriteString(";" + part.name + "=" + strings.Join(texts, ","))
		}
	}
	if r.WeekStart != time.Monday {
		b.WriteString(";WKST=" + weekdays[r.WeekStart])
	}
	for _, other := range r.Other {
		b.WriteString(";" + other)
	}
	return b.String()
}

// Supported tells whether the rule can be expanded for a DTSTART that is a date
// or not: it is one of the Gregorian calendar that leaves out days which do not
// exist (RFC 7529 section 4), and does not repeat a date within its day.
func (r *Rule) Supported(isDate bool) bool {
	if isDate && r.Freq > Daily {
		return false
	}
	for _, other := range r.Other {
		switch name, value, _ := strings.Cut(strings.ToUpper(other), "="); name {
		case "RSCALE":
			if value != "GREGORIAN" {
				return false
			}
		case "SKIP":
			if value != "OMIT" {
				return false
			}
		}
	}
	return true
}
