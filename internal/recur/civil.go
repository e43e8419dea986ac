package recur

import "time"

// Days are counted from 1 January 1970, a Thursday.

const secondsPerDay = 24 * 60 * 60

// lastYear is where every walk ends: iCalendar has no year 10000.
const lastYear = 9999

func dayOf(t time.Time) int { return int(floorDiv(t.Unix(), secondsPerDay)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func ceilDiv(a, b int64) int64 { return -floorDiv(-a, b) }

func weekday(day int) time.Weekday { return time.Weekday(((day+4)%7 + 7) % 7) }

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func yearLength(year int) int {
	if leap(year) {
		return 366
	}
	return 365
}

// monthDays has the days before each month of a year that is no leap year.
var monthDays = [13]int{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

// monthBegin is the day of the year, from 0, on which a month (from 1) begins;
// month 13 is the end.
func monthBegin(year, month int) int {
	d := monthDays[month-1]
	if month > 2 && leap(year) {
		d++
	}
	return d
}

func monthLength(year, month int) int { return monthBegin(year, month+1) - monthBegin(year, month) }

// yearBegin is the day on which a year begins.
func yearBegin(year int) int {
	y := int64(year - 1)
	return int(y*365+floorDiv(y, 4)-floorDiv(y, 100)+floorDiv(y, 400)) - 719162
}

// date gives year, month and day of the month.
func date(day int) (year, month, mday int) {
	// A guess that is right or one too low or high.
	year = 1970 + int(floorDiv(int64(day)*400, 146097))
	for day < yearBegin(year) {
		year--
	}
	for day >= yearBegin(year+1) {
		year++
	}
	yday := day - yearBegin(year)
	month = yday/32 + 1
	for month < 12 && yday >= monthBegin(year, month+1) {
		month++
	}
	return year, month, yday - monthBegin(year, month) + 1
}
