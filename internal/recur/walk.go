package recur

import (
	"slices"
	"sort"
	"time"
)

// Walk says which instances of a rule are wanted. All times are wall time.
type Walk struct {
	Start time.Time // DTSTART
	// Date says that Start is a date: the parts of the clock mean nothing then
	// (RFC 5545 section 3.3.10).
	Date bool
	// WithStart makes Start the first instance even where the rule would not
	// have it (RFC 5545 section 3.8.5.3); COUNT counts it.
	WithStart bool
	From      time.Time // earlier instances are left out
	Until     time.Time // no later instance; the zero time: only the rule's own COUNT
	Steps     *int      // what may still be spent; shared by walks of one question
}

// Walker gives a rule's instances in order.
type Walker struct {
	r    *Rule
	w    Walk
	unit int64 // the period of Start, in units of the frequency
	err  error
	done bool

	left    int // instances still to count; -1: no COUNT
	k       int64
	start   time.Time // the first that may come out of a period
	pending bool      // Start itself is still to be told

	hours, minutes, seconds []int // of the clock; nil: the period's own

	monthly bool // BYDAY's numbers count in the month, else in the year
	numbers bool // and they mean something

	months, mdays    uint64 // bit sets; 0: no limit
	negMdays         uint64
	wdays            uint8 // plain days of the week
	nth              []Day // with a number
	anyDay           bool  // no BYDAY
	byMonthDay       bool
	ydays            []int
	weekNos          []int
	cost             int // of looking at a day, in what its lists hold
	limitH, limitM   uint64
	limitS           uint64
	days             []int // of the current period
	pos              []int // BYSETPOS' places in it; nil: all
	at, size         int
	ph, pm, ps       []int
	oneH, oneM, oneS [1]int
}

// Walk begins to expand the rule.
func (r *Rule) Walk(w Walk) *Walker {
	it := &Walker{r: r, w: w, left: -1, start: w.Start, pending: w.WithStart}
	if !r.Supported(w.Date) {
		it.err = ErrUnsupported
		return it
	}
	it.compile()
	if r.Count > 0 {
		it.left = r.Count
	}
	it.unit = it.unitOf(dayOf(w.Start), secondOf(w.Start))
	if it.left < 0 && w.From.After(w.Start) {
		it.k = it.reach(dayOf(w.From), secondOf(w.From))
		it.k = max(it.k-1, 0) // the period before may reach into it
	}
	it.k-- // the first step goes to it
	return it
}

// Err says why the walk ended early.
func (it *Walker) Err() error { return it.err }

func secondOf(t time.Time) int {
	h, m, s := t.Clock()
	return h*3600 + m*60 + s
}

func bits(values []int) (set uint64) {
	for _, v := range values {
		if v >= 0 {
			set |= 1 << v
		}
	}
	return set
}

func sorted(values []int, most int) []int {
	s := slices.Clone(values)
	for i := range s {
		s[i] = min(s[i], most) // second 60 is 59 without leap seconds (section 3.3.12)
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// compile fills in what the rule leaves to DTSTART, by the table of RFC 5545
// section 3.3.10: limits become filters of days, expansions too (a period's days
// are filtered), and the clock's parts become lists or limits.
func (it *Walker) compile() {
	r, start := it.r, it.w.Start
	months, mdays, byDay := r.ByMonth, r.ByMonthDay, r.ByDay
	if len(r.ByMonthDay) == 0 && len(r.ByYearDay) == 0 && len(r.ByDay) == 0 {
		switch {
		case r.Freq == Yearly && len(r.ByWeekNo) == 0:
			if len(months) == 0 {
				months = []int{int(start.Month())}
			}
			mdays = []int{start.Day()}
		case r.Freq == Monthly && len(r.ByWeekNo) == 0:
			mdays = []int{start.Day()}
		case r.Freq == Weekly, r.Freq == Yearly:
			byDay = []Day{{0, start.Weekday()}}
		}
	}
	it.months = bits(months)
	for _, d := range mdays {
		if d > 0 {
			it.mdays |= 1 << d
		} else {
			it.negMdays |= 1 << -d
		}
	}
	it.byMonthDay = len(mdays) > 0
	it.anyDay = len(byDay) == 0
	// Note 1 and 2 of the table: numbers are for months and years only.
	it.numbers = r.Freq <= Monthly && len(r.ByWeekNo) == 0
	it.monthly = r.Freq == Monthly || len(r.ByMonth) > 0
	for _, d := range byDay {
		if d.N == 0 || !it.numbers {
			it.wdays |= 1 << d.Weekday
		} else {
			it.nth = append(it.nth, d)
		}
	}
	it.ydays, it.weekNos = r.ByYearDay, r.ByWeekNo
	it.cost = len(it.nth) + 2*len(it.ydays) + len(it.weekNos)

	h, m, s := start.Clock()
	clock := func(by []int, own int, expands Freq, most int) (list []int, limit uint64) {
		switch {
		case it.w.Date:
			return []int{0}, 0
		case r.Freq >= expands: // the period has its own; the part is a limit
			return nil, bits(sorted(by, most))
		case len(by) > 0:
			return sorted(by, most), 0
		default:
			return []int{own}, 0
		}
	}
	it.hours, it.limitH = clock(r.ByHour, h, Hourly, 23)
	it.minutes, it.limitM = clock(r.ByMinute, m, Minutely, 59)
	it.seconds, it.limitS = clock(r.BySecond, s, Secondly, 59)
}

// unitOf is the number of the period that holds a moment.
func (it *Walker) unitOf(day, second int) int64 {
	switch it.r.Freq {
	case Yearly:
		y, _, _ := date(day)
		return int64(y)
	case Monthly:
		y, m, _ := date(day)
		return int64(y)*12 + int64(m-1)
	case Weekly:
		// Day 3 after the epoch's Thursday was a Sunday.
		return floorDiv(int64(day-3-int(it.r.WeekStart)), 7)
	case Daily:
		return int64(day)
	}
	t := int64(day)*secondsPerDay + int64(second)
	switch it.r.Freq {
	case Hourly:
		return floorDiv(t, 3600)
	case Minutely:
		return floorDiv(t, 60)
	default:
		return t
	}
}

// reach is the number of the first interval at or after the period that holds
// a moment.
func (it *Walker) reach(day, second int) int64 {
	u := it.unitOf(day, second) - it.unit
	return max(ceilDiv(u, int64(it.r.Interval)), 0)
}

// spend takes steps off what is left.
func (it *Walker) spend(n int) bool {
	if *it.w.Steps -= n; *it.w.Steps < 0 {
		it.err = ErrSteps
		return false
	}
	return true
}

// Next gives the next instance; false at the end, and then Err tells.
func (it *Walker) Next() (time.Time, bool) {
	if it.err != nil || it.done {
		return time.Time{}, false
	}
	if it.pending {
		it.pending = false
		it.start = it.w.Start.Add(time.Second)
		if it.left > 0 {
			it.left--
		}
		if !it.w.Until.IsZero() && it.w.Start.After(it.w.Until) {
			// Start is an instance whatever the rule says of its end.
			it.done = true
		}
		if !it.w.Start.Before(it.w.From) {
			return it.w.Start, true
		}
	}
	for {
		if it.left == 0 {
			it.done = true
		}
		if it.done || !it.spend(1) {
			return time.Time{}, false
		}
		if it.at < it.size {
			t := it.element(it.at)
			it.at++
			if it.left > 0 {
				it.left--
			}
			if !it.w.Until.IsZero() && t.After(it.w.Until) {
				it.done = true
				return time.Time{}, false
			}
			return t, true
		}
		it.k++
		it.period()
	}
}

// element is one instance of the current period by its place in order.
func (it *Walker) element(i int) time.Time {
	if it.pos != nil {
		i = it.pos[i]
	}
	i, s := i/len(it.ps), it.ps[i%len(it.ps)]
	i, m := i/len(it.pm), it.pm[i%len(it.pm)]
	d, h := it.days[i/len(it.ph)], it.ph[i%len(it.ph)]
	return time.Unix(int64(d)*secondsPerDay+int64(h*3600+m*60+s), 0).UTC()
}

// period goes to the k-th period, or leaves k so that the next step goes to one
// that may have instances.
func (it *Walker) period() {
	it.at, it.size, it.pos = 0, 0, nil
	it.days = it.days[:0]
	it.ph, it.pm, it.ps = it.hours, it.minutes, it.seconds
	u := it.unit + it.k*int64(it.r.Interval)
	switch it.r.Freq {
	case Yearly:
		if u > lastYear {
			it.done = true
			return
		}
		it.yearDays(int(u), 1, 12)
	case Monthly:
		if u >= (lastYear+1)*12 {
			it.done = true
			return
		}
		it.yearDays(int(u/12), int(u%12)+1, int(u%12)+1)
	case Weekly:
		first := int(u)*7 + 3 + int(it.r.WeekStart)
		if !it.inRange(first) {
			return
		}
		for d := first; d < first+7; d++ {
			if it.match(d) {
				it.days = append(it.days, d)
			}
		}
	default:
		if !it.clockPeriod(u) {
			return
		}
	}
	if !it.spend(len(it.days) + len(it.r.BySetPos)) {
		return
	}
	it.size = len(it.days) * len(it.ph) * len(it.pm) * len(it.ps)
	it.setPos()
	it.trim()
}

// inRange ends the walk behind the last year, or behind what is asked for.
func (it *Walker) inRange(day int) bool {
	if day >= yearBegin(lastYear+1) || !it.w.Until.IsZero() && day > dayOf(it.w.Until) {
		it.done = true
		return false
	}
	return true
}

// clockPeriod is a day, or a part of one; where it cannot match, k jumps.
func (it *Walker) clockPeriod(u int64) bool {
	day, second := int(u), 0
	switch it.r.Freq {
	case Hourly:
		day, second = int(floorDiv(u, 24)), int(u-floorDiv(u, 24)*24)*3600
	case Minutely:
		day, second = int(floorDiv(u, 1440)), int(u-floorDiv(u, 1440)*1440)*60
	case Secondly:
		day = int(floorDiv(u, secondsPerDay))
		second = int(u - int64(day)*secondsPerDay)
	}
	if !it.inRange(day) {
		return false
	}
	if it.months != 0 {
		y, m, _ := date(day)
		if it.months&(1<<m) == 0 {
			it.k = it.reach(yearBegin(y)+monthBegin(y, m+1), 0) - 1
			return false
		}
	}
	if !it.spend(it.cost / 16) {
		return false
	}
	if !it.match(day) {
		it.k = it.reach(day+1, 0) - 1
		return false
	}
	h, m, s := second/3600, second/60%60, second%60
	if it.hours == nil {
		if it.limitH != 0 && it.limitH&(1<<h) == 0 {
			it.k = it.reach(day, (h+1)*3600) - 1
			return false
		}
		it.oneH[0] = h
		it.ph = it.oneH[:]
	}
	if it.minutes == nil {
		if it.limitM != 0 && it.limitM&(1<<m) == 0 {
			it.k = it.reach(day, h*3600+(m+1)*60) - 1
			return false
		}
		it.oneM[0] = m
		it.pm = it.oneM[:]
	}
	if it.seconds == nil {
		if it.limitS != 0 && it.limitS&(1<<s) == 0 {
			return false
		}
		it.oneS[0] = s
		it.ps = it.oneS[:]
	}
	it.days = append(it.days, day)
	return true
}

// yearDays are the matching days of some months of a year.
func (it *Walker) yearDays(year, first, last int) {
	if !it.inRange(yearBegin(year) + monthBegin(year, first)) {
		return
	}
	for m := first; m <= last; m++ {
		if it.months != 0 && it.months&(1<<m) == 0 {
			continue
		}
		if !it.spend(2 + it.cost) {
			return
		}
		begin := yearBegin(year) + monthBegin(year, m)
		for d := range monthLength(year, m) {
			if it.matchDate(begin+d, year, m, d+1) {
				it.days = append(it.days, begin+d)
			}
		}
	}
}

func (it *Walker) match(day int) bool {
	y, m, d := date(day)
	return it.matchDate(day, y, m, d)
}

// matchDate applies the parts that choose days.
func (it *Walker) matchDate(day, year, month, mday int) bool {
	if it.months != 0 && it.months&(1<<month) == 0 {
		return false
	}
	if it.byMonthDay && it.mdays&(1<<mday) == 0 && it.negMdays&(1<<(monthLength(year, month)+1-mday)) == 0 {
		return false
	}
	if !it.anyDay && it.wdays&(1<<weekday(day)) == 0 && !it.matchNth(day, year, month, mday) {
		return false
	}
	if len(it.ydays) > 0 {
		yday, length := day-yearBegin(year)+1, yearLength(year)
		if !slices.Contains(it.ydays, yday) && !slices.Contains(it.ydays, yday-length-1) {
			return false
		}
	}
	return len(it.weekNos) == 0 || it.matchWeek(day)
}

func (it *Walker) matchNth(day, year, month, mday int) bool {
	if len(it.nth) == 0 {
		return false
	}
	at, length := mday-1, monthLength(year, month)
	if !it.monthly {
		at, length = day-yearBegin(year), yearLength(year)
	}
	wd, up, down := weekday(day), at/7+1, -((length-1-at)/7 + 1)
	for _, d := range it.nth {
		if d.Weekday == wd && (d.N == up || d.N == down) {
			return true
		}
	}
	return false
}

// matchWeek: week 1 is the first with at least four days in its year (RFC 5545
// section 3.3.10). A day belongs to the calendar year's period, its week to the
// year that most of it is in.
func (it *Walker) matchWeek(day int) bool {
	first := func(year int) int {
		fourth := yearBegin(year) + 3
		return fourth - int(weekday(fourth)-it.r.WeekStart+7)%7
	}
	year, _, _ := date(day)
	switch {
	case day >= first(year+1):
		year++
	case day < first(year):
		year--
	}
	no := (day-first(year))/7 + 1
	weeks := (first(year+1) - first(year)) / 7
	return slices.Contains(it.weekNos, no) || slices.Contains(it.weekNos, no-weeks-1)
}

// setPos applies BYSETPOS to the period's instances, none of which is built.
func (it *Walker) setPos() {
	if len(it.r.BySetPos) == 0 {
		return
	}
	it.pos = make([]int, 0, len(it.r.BySetPos))
	for _, p := range it.r.BySetPos {
		if p > 0 {
			p--
		} else {
			p += it.size
		}
		if p >= 0 && p < it.size {
			it.pos = append(it.pos, p)
		}
	}
	slices.Sort(it.pos)
	it.pos = slices.Compact(it.pos)
	it.size = len(it.pos)
}

// trim leaves out the period's instances before Start, which never count, and
// those before From, which do.
func (it *Walker) trim() {
	if it.size == 0 {
		return
	}
	search := func(t time.Time) int {
		return sort.Search(it.size, func(i int) bool { return !it.element(i).Before(t) })
	}
	if it.element(0).Before(it.start) {
		it.at = search(it.start)
	}
	if it.at < it.size && it.element(it.at).Before(it.w.From) {
		at := search(it.w.From)
		if it.left > 0 {
			passed := min(at-it.at, it.left)
			it.left -= passed
		}
		it.at = at
	}
}
