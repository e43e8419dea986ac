package zone

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf16"

	"waypost/internal/fault"
)

// BlobSize is the size of Microsoft's zone structure (MS-ASDTYPE section 2.7.6).
const BlobSize = 172

// SystemTime is a moment of a year: Nth 1 to 4, or 5 for the last, Weekday of
// Month (MS-DTYP section 2.3.13, as TIME_ZONE_INFORMATION uses it). With a Year
// it is a date, and Nth the day of the month.
type SystemTime struct {
	Year, Month, Weekday, Nth, Hour, Minute, Second, Millisecond int
}

// Info is Microsoft's TIME_ZONE_INFORMATION: biases are minutes that make UTC of
// local time when added.
type Info struct {
	Bias         int
	StandardName string
	StandardDate SystemTime // when daylight time ends, in daylight time
	StandardBias int
	DaylightName string
	DaylightDate SystemTime // when it begins, in standard time
	DaylightBias int
}

// ParseInfo reads the structure of 172 bytes.
func ParseInfo(blob []byte) (Info, error) {
	if len(blob) != BlobSize {
		return Info{}, fault.New(fault.Invalid, "a time zone of %d bytes instead of %d", len(blob), BlobSize)
	}
	i := Info{
		Bias:         bias(blob[0:]),
		StandardName: name(blob[4:68]),
		StandardDate: systemTime(blob[68:84]),
		StandardBias: bias(blob[84:]),
		DaylightName: name(blob[88:152]),
		DaylightDate: systemTime(blob[152:168]),
		DaylightBias: bias(blob[168:]),
	}
	const day = 24 * 60
	for _, b := range []int{i.Bias, i.StandardBias, i.DaylightBias} {
		if b < -day || b > day {
			return Info{}, fault.New(fault.Invalid, "a time zone %d minutes from UTC", b)
		}
	}
	return i, nil
}

func bias(b []byte) int { return int(int32(binary.LittleEndian.Uint32(b))) } //nolint:gosec // two's complement is meant

func name(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

func systemTime(b []byte) SystemTime {
	f := func(i int) int { return int(binary.LittleEndian.Uint16(b[2*i:])) }
	return SystemTime{Year: f(0), Month: f(1), Weekday: f(2), Nth: f(3), Hour: f(4), Minute: f(5), Second: f(6), Millisecond: f(7)}
}

// Append writes the structure.
func (i Info) Append(dst []byte) []byte {
	number := func(n int) { dst = binary.LittleEndian.AppendUint32(dst, uint32(int32(n))) } //nolint:gosec // two's complement is meant
	text := func(s string) {
		units := utf16.Encode([]rune(s))
		for k := range 32 {
			u := uint16(0)
			if k < len(units) && k < 31 {
				u = units[k]
			}
			dst = binary.LittleEndian.AppendUint16(dst, u)
		}
	}
	date := func(t SystemTime) {
		for _, n := range []int{t.Year, t.Month, t.Weekday, t.Nth, t.Hour, t.Minute, t.Second, t.Millisecond} {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(n)) //nolint:gosec // parts of a date
		}
	}
	number(i.Bias)
	text(i.StandardName)
	date(i.StandardDate)
	number(i.StandardBias)
	text(i.DaylightName)
	date(i.DaylightDate)
	number(i.DaylightBias)
	return dst
}

// daylight tells whether the zone has two times of the year at all.
func (i Info) daylight() bool {
	return valid(i.StandardDate) && valid(i.DaylightDate) && i.StandardBias != i.DaylightBias
}

func valid(t SystemTime) bool {
	return t.Month >= 1 && t.Month <= 12 && t.Weekday <= 6 && t.Nth >= 1 && (t.Nth <= 5 || t.Year != 0 && t.Nth <= 31) &&
		t.Hour <= 24 && t.Minute <= 59 && t.Second <= 59
}

// wall is when the moment is in a year, in wall time.
func (t SystemTime) wall(year int) time.Time {
	weekday, nth := t.Weekday, t.Nth
	if t.Year != 0 {
		date := time.Date(t.Year, time.Month(t.Month), t.Nth, 0, 0, 0, 0, time.UTC)
		if t.Year == year {
			return date.Add(t.clock())
		}
		// A date says nothing of other years; the same day of the week is the best guess.
		weekday, nth = int(date.Weekday()), (t.Nth-1)/7+1
	}
	first := time.Date(year, time.Month(t.Month), 1, 0, 0, 0, 0, time.UTC)
	day := first.AddDate(0, 0, (weekday-int(first.Weekday())+7)%7+7*(nth-1))
	for day.Month() != first.Month() {
		day = day.AddDate(0, 0, -7)
	}
	return day.Add(t.clock())
}

func (t SystemTime) clock() time.Duration {
	d := time.Duration(t.Hour)*time.Hour + time.Duration(t.Minute)*time.Minute + time.Duration(t.Second)*time.Second
	if t.Millisecond >= 500 {
		d += time.Second // 23:59:59.999 is how Windows says midnight
	}
	return d
}

// Location finds the IANA zone that is meant, as of a year. Names are localized
// or missing more often than not, so the rules decide; a Windows name helps to
// choose among zones with the same rules. A zone that no known one behaves like
// is made of the structure's rules.
func (i Info) Location(year int) *time.Location {
	own := i.build("")
	// The rules may be those of one year only: many zones changed them.
	for _, in := range []span{{clamp(year), window}, {clamp(year), 1}} {
		if l := i.known(own, in); l != nil {
			return l
		}
	}
	title := i.StandardName
	if title == "" {
		title = "Custom"
	}
	return i.build(title)
}

// known finds the zone that behaves in some years as the structure says.
func (i Info) known(own *time.Location, in span) *time.Location {
	key, changes := behaviour(own, in)
	for _, id := range []string{i.StandardName, i.DaylightName} {
		if l := Load(id); l != nil {
			if k, _ := behaviour(l, in); k == key {
				return l
			}
		}
	}
	if i.Bias == 0 && !changes {
		return time.UTC // all zero is how many say UTC
	}
	if l := match(own, in, i.StandardName); l != nil {
		return l
	}
	if names := alike(key, in); !changes && len(names) > 0 {
		return ianaZone(mostLikely(names))
	}
	return nil
}

// build makes a zone of nothing but the structure's rules.
func (i Info) build(title string) *time.Location {
	standard, daylight := -60*(i.Bias+i.StandardBias), -60*(i.Bias+i.DaylightBias)
	if !i.daylight() {
		return time.FixedZone(title, -60*(i.Bias+i.StandardBias))
	}
	var all []Transition
	for year := 1970; year <= 2100; year++ {
		all = append(all,
			Transition{i.DaylightDate.wall(year).Unix() - int64(standard), daylight, true, "DST"},
			Transition{i.StandardDate.wall(year).Unix() - int64(daylight), standard, false, "STD"})
	}
	first := standard
	if i.StandardDate.wall(1970).Before(i.DaylightDate.wall(1970)) {
		first = daylight
	}
	if l := Build(title, first, all); l != nil {
		return l
	}
	return time.FixedZone(title, standard)
}

// InfoOf describes a zone as it is in a year.
func InfoOf(l *time.Location, year int) Info {
	var info Info
	standard, daylight, ok := yearly(l, year)
	if !ok {
		// No change, or more than the structure can say: what holds in the middle of the year.
		_, offset := time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC).In(l).Zone()
		info.Bias = -offset / 60
	} else {
		info.Bias = -standard.Offset / 60
		info.DaylightBias = (standard.Offset - daylight.Offset) / 60
		info.StandardDate = describe(l, standard, daylight.Offset, year)
		info.DaylightDate = describe(l, daylight, standard.Offset, year)
	}
	if win, known := Windows(l.String()); known {
		info.StandardName = win
		info.DaylightName = strings.Replace(win, "Standard", "Daylight", 1)
	} else if l == time.UTC {
		info.StandardName = "UTC"
	}
	return info
}

// Transitions are the changes of a zone's offset from one moment to before
// another; each one's DST says whether the offset grew.
func Transitions(l *time.Location, from, to time.Time) []Transition {
	var all []Transition
	t := from.Add(-time.Second)
	_, offset := t.In(l).Zone()
	for len(all) < maxTransitions {
		end, more := next(t, l)
		if !more || !end.Before(to) {
			break
		}
		t = end
		if abbrev, now := t.In(l).Zone(); now != offset {
			all = append(all, Transition{At: t.Unix(), Offset: now, DST: now > offset, Abbrev: abbrev})
			offset = now
		}
	}
	return all
}

// next is when something may change after t. Package time says of the last day
// of a leap year that it is over already.
func next(t time.Time, l *time.Location) (time.Time, bool) {
	_, end := t.In(l).ZoneBounds()
	if end.IsZero() {
		return t, false
	}
	if !end.After(t) {
		end = t.Add(secondsPerDay * time.Second)
	}
	return end, true
}

// yearly finds the two changes of a year, if it has two. Which time is daylight
// time is told by the offset: the database calls Dublin's winter so.
func yearly(l *time.Location, year int) (standard, daylight Transition, ok bool) {
	// A year of the zone, not of UTC.
	begin := Instant(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), l)
	all := Transitions(l, begin, Instant(time.Date(year+1, 1, 1, 0, 0, 0, 0, time.UTC), l))
	if len(all) != 2 || all[0].DST == all[1].DST {
		return standard, daylight, false
	}
	if all[0].DST {
		return all[1], all[0], true
	}
	return all[0], all[1], true
}

// describe says when in the year a change is: the n-th weekday of a month, or
// the last when it is the last in the years that follow as well.
func describe(l *time.Location, t Transition, before, year int) SystemTime {
	wall := time.Unix(t.At+int64(before), 0).UTC()
	s := SystemTime{
		Month: int(wall.Month()), Weekday: int(wall.Weekday()), Nth: (wall.Day()-1)/7 + 1,
		Hour: wall.Hour(), Minute: wall.Minute(), Second: wall.Second(),
	}
	if s.Nth < 4 {
		return s
	}
	for y := year; y < year+8; y++ {
		standard, daylight, ok := yearly(l, y)
		if !ok {
			break
		}
		one := standard
		if t.DST {
			one = daylight
		}
		w := time.Unix(one.At+int64(before), 0).UTC()
		if w.Month() != wall.Month() || w.AddDate(0, 0, 7).Month() == w.Month() {
			return s // not the last: the fourth
		}
	}
	s.Nth = 5
	return s
}
