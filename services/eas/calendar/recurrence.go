package calendar

import (
	"math/bits"
	"time"

	"waypost/internal/fault"
	"waypost/internal/recur"
)

// The types of recurrence (MS-ASCAL section 2.2.2.45).
const (
	TypeDaily      = 0
	TypeWeekly     = 1
	TypeMonthly    = 2 // on a day of the month
	TypeMonthlyNth = 3 // on the n-th of some days of the week
	TypeYearly     = 5
	TypeYearlyNth  = 6
)

// Bits of DayOfWeek together: working days, the weekend, any day.
const (
	workdays = 62
	weekend  = 65
	anyDay   = 127
)

// last is WeekOfMonth's word for the last week.
const last = 5

// Recurrence is a series' pattern (MS-ASCAL section 2.2.2.37).
type Recurrence struct {
	Type        int
	Interval    int // at least 1
	DayOfWeek   int // bits, Sunday is 1
	DayOfMonth  int
	WeekOfMonth int // 1 to 4, or 5 for the last
	MonthOfYear int
	Occurrences int       // 0: not limited
	Until       time.Time // the zero time: no end
	FirstDay    time.Weekday
}

// equal tells whether both say the same; there may be none.
func (r *Recurrence) equal(other *Recurrence) bool {
	if r == nil || other == nil {
		return r == other
	}
	a, b := *r, *other
	a.Until, b.Until = time.Time{}, time.Time{}
	return a == b && r.Until.Equal(other.Until)
}

const (
	maxInterval    = 999
	maxOccurrences = 999
)

// fromRule says a rule in ActiveSync's words; false when it has none for it.
// start is the wall time of the series' beginning. Until is left to the caller.
func fromRule(rule *recur.Rule, start time.Time) (r Recurrence, ok bool) {
	clock := len(rule.ByHour) + len(rule.ByMinute) + len(rule.BySecond)
	if clock+len(rule.ByYearDay)+len(rule.ByWeekNo) > 0 || rule.Freq > recur.Daily || !rule.Supported(false) ||
		rule.Interval > maxInterval || rule.Count > maxOccurrences {
		return r, false
	}
	r = Recurrence{Interval: rule.Interval, Occurrences: rule.Count, FirstDay: rule.WeekStart}
	switch rule.Freq {
	case recur.Daily:
		if len(rule.ByDay) > 0 && rule.Interval == 1 && only(rule, "day") {
			r.Type = TypeWeekly // the same days of every week
			r.DayOfWeek, ok = plainDays(rule.ByDay)
			return r, ok
		}
		return r, only(rule, "")
	case recur.Weekly:
		r.Type = TypeWeekly
		if r.DayOfWeek, ok = plainDays(rule.ByDay); len(rule.ByDay) == 0 {
			r.DayOfWeek, ok = 1<<start.Weekday(), true
		}
		return r, ok && only(rule, "day")
	case recur.Monthly:
		if len(rule.ByMonth) > 0 {
			return r, false
		}
	default:
		switch len(rule.ByMonth) {
		case 0:
			if len(rule.ByDay) > 0 || len(rule.ByMonthDay) > 0 {
				return r, false // in every month, or counted in the year
			}
			r.MonthOfYear = int(start.Month())
		case 1:
			r.MonthOfYear = rule.ByMonth[0]
		default:
			return r, false
		}
	}
	ok = r.dayOfMonth(rule, start)
	if rule.Freq == recur.Yearly {
		r.Type += TypeYearly - TypeMonthly // both kinds are three further
	}
	return r, ok
}

// only tells that a rule has no other parts for days than the one named.
func only(rule *recur.Rule, part string) bool {
	return len(rule.ByMonth)+len(rule.ByMonthDay)+len(rule.BySetPos) == 0 && (part == "day" || len(rule.ByDay) == 0)
}

// dayOfMonth reads which day of a month a rule means.
func (r *Recurrence) dayOfMonth(rule *recur.Rule, start time.Time) bool {
	r.Type = TypeMonthly
	switch {
	case len(rule.ByDay) == 0 && len(rule.ByMonthDay) == 0 && len(rule.BySetPos) == 0:
		r.DayOfMonth = start.Day()
		return true
	case len(rule.ByDay) == 0 && len(rule.ByMonthDay) == 1 && len(rule.BySetPos) == 0:
		r.DayOfMonth = rule.ByMonthDay[0]
		if r.DayOfMonth == -1 { // the last day of the month
			r.Type, r.DayOfMonth, r.DayOfWeek, r.WeekOfMonth = TypeMonthlyNth, 0, anyDay, last
			return true
		}
		return r.DayOfMonth > 0
	case len(rule.ByMonthDay) > 0:
		return false
	}
	r.Type = TypeMonthlyNth
	n := 0
	switch {
	case len(rule.ByDay) == 1 && rule.ByDay[0].N != 0 && len(rule.BySetPos) == 0:
		n = rule.ByDay[0].N
		r.DayOfWeek = 1 << rule.ByDay[0].Weekday
	case len(rule.BySetPos) == 1:
		var ok bool
		if r.DayOfWeek, ok = plainDays(rule.ByDay); !ok {
			return false
		}
		n = rule.BySetPos[0]
		if bits.OnesCount(uint(r.DayOfWeek)) > 1 && r.DayOfWeek != workdays && r.DayOfWeek != weekend && r.DayOfWeek != anyDay {
			return false
		}
	}
	switch {
	case r.DayOfWeek == anyDay && n >= 1 && n <= 4: // any day, the first: the first of the month
		r.Type, r.DayOfMonth, r.DayOfWeek = TypeMonthly, n, 0
	case n == -1:
		r.WeekOfMonth = last
	case n >= 1 && n <= 4:
		r.WeekOfMonth = n
	default:
		return false
	}
	return true
}

func plainDays(days []recur.Day) (mask int, ok bool) {
	for _, d := range days {
		if d.N != 0 {
			return 0, false
		}
		mask |= 1 << d.Weekday
	}
	return mask, mask != 0
}

// rule says the pattern as RFC 5545 does. The end is left to the caller.
func (r *Recurrence) rule() (*recur.Rule, error) {
	if r.Interval < 0 || r.Interval > maxInterval || r.Occurrences < 0 || r.Occurrences > maxOccurrences || r.DayOfWeek < 0 || r.DayOfWeek > anyDay {
		return nil, fault.New(fault.Invalid, "a recurrence out of its bounds")
	}
	rule := &recur.Rule{Interval: max(r.Interval, 1), Count: r.Occurrences, WeekStart: r.FirstDay}
	month := r.MonthOfYear >= 1 && r.MonthOfYear <= 12
	switch {
	case r.Type == TypeDaily && r.DayOfWeek == 0:
		rule.Freq = recur.Daily
	case r.Type == TypeDaily, r.Type == TypeWeekly && r.DayOfWeek != 0:
		rule.Freq, rule.ByDay = recur.Weekly, r.days(0)
	case r.Type == TypeMonthly && r.DayOfMonth >= 1 && r.DayOfMonth <= 31:
		rule.Freq, rule.ByMonthDay = recur.Monthly, []int{r.DayOfMonth}
	case r.Type == TypeYearly && month && r.DayOfMonth >= 1 && r.DayOfMonth <= 31:
		rule.Freq, rule.ByMonth, rule.ByMonthDay = recur.Yearly, []int{r.MonthOfYear}, []int{r.DayOfMonth}
	case r.Type == TypeMonthlyNth && r.nth(rule):
		rule.Freq = recur.Monthly
	case r.Type == TypeYearlyNth && month && r.nth(rule):
		rule.Freq, rule.ByMonth = recur.Yearly, []int{r.MonthOfYear}
	default:
		return nil, fault.New(fault.Invalid, "a recurrence of type %d without what it needs", r.Type)
	}
	return rule, nil
}

// nth writes the n-th of some days of the week in a month.
func (r *Recurrence) nth(rule *recur.Rule) bool {
	n := r.WeekOfMonth
	if n < 1 || n > last || r.DayOfWeek == 0 {
		return false
	}
	if n == last {
		n = -1
	}
	switch {
	case r.DayOfWeek == anyDay:
		rule.ByMonthDay = []int{n}
	case bits.OnesCount(uint(r.DayOfWeek)) == 1:
		rule.ByDay = r.days(n)
	default:
		rule.ByDay, rule.BySetPos = r.days(0), []int{n}
	}
	return true
}

func (r *Recurrence) days(n int) []recur.Day {
	var days []recur.Day
	for d := time.Monday; d <= time.Saturday+1; d++ { // Monday first, as most write it
		if wd := d % 7; r.DayOfWeek&(1<<wd) != 0 {
			days = append(days, recur.Day{N: n, Weekday: wd})
		}
	}
	return days
}
