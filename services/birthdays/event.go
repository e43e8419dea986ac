package birthdays

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// Day is a day that comes again every year.
type Day struct {
	Kind  string // "birthday" or "anniversary"
	Who   string
	Year  int // 0: not known
	Month time.Month
	Day   int
}

// Days are those of a card: its birthday and its anniversary (RFC 6350 sections
// 6.2.5 and 6.2.6). A group has none.
func Days(text []byte) ([]Day, error) {
	cards, _, err := vcard.Parse(text, vcard.Object)
	if err != nil {
		return nil, err
	}
	if len(cards) != 1 || cards[0].IsGroup() {
		return nil, nil
	}
	card := cards[0].To("4.0")
	who := strings.TrimSpace(card.DisplayName())
	if who == "" {
		return nil, nil
	}
	var list []Day
	for _, k := range []struct {
		kind  string
		names []string
	}{
		{"birthday", []string{"BDAY"}},
		{"anniversary", []string{"ANNIVERSARY", "X-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY"}},
	} {
		for _, name := range k.names {
			p := card.Prop(name)
			if p == nil || strings.EqualFold(p.ParamText("VALUE"), "text") {
				continue
			}
			if d, ok := readDay(p.Value); ok {
				d.Kind, d.Who = k.kind, who
				list = append(list, d)
				break
			}
		}
	}
	return list, nil
}

// noYear stands for a year that is not known: a leap year, so that it has every day,
// and one that every program can show.
const noYear = 1972

// readDay reads 19850412, 1985-04-12, --0412 and --04-12, each perhaps with a time
// behind it (RFC 6350 section 4.3.1). What names no day of a year is none. 1604 is
// how Apple's programs say that they do not know the year.
func readDay(value string) (d Day, ok bool) {
	value, _, _ = strings.Cut(strings.TrimSpace(value), "T")
	year := ""
	rest, without := strings.CutPrefix(value, "--")
	if !without {
		if len(value) < 8 {
			return d, false
		}
		year, rest = value[:4], value[4:]
	}
	rest = strings.ReplaceAll(rest, "-", "")
	if len(rest) != 4 {
		return d, false
	}
	var err [3]error
	if !without {
		d.Year, err[0] = strconv.Atoi(year)
	}
	month := 0
	month, err[1] = strconv.Atoi(rest[:2])
	d.Day, err[2] = strconv.Atoi(rest[2:])
	d.Month = time.Month(month)
	for _, e := range err {
		if e != nil {
			return d, false
		}
	}
	if d.Year == 1604 {
		d.Year = 0
	}
	t := time.Date(d.on(), d.Month, d.Day, 0, 0, 0, 0, time.UTC)
	return d, d.Year >= 0 && t.Month() == d.Month && t.Day() == d.Day
}

// on is the year of the first event.
func (d Day) on() int {
	if d.Year == 0 {
		return noYear
	}
	return d.Year
}

// Event is the event of a day: all day, every year, and nobody is busy for it. It
// follows from the card alone, so that it can be made again at any time.
func (d Day) Event(uid string) []byte {
	e := &ical.Component{Name: "VEVENT"}
	e.SetText("UID", uid)
	e.SetValue("DTSTAMP", "19700101T000000Z") // the same text whenever it is made
	e.SetTime("DTSTART", ical.DateOf(d.on(), d.Month, d.Day))
	rule := "FREQ=YEARLY"
	if d.Month == time.February && d.Day == 29 {
		rule = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1" // which every year has
	}
	e.SetValue("RRULE", rule)
	what := d.Who + ": " + d.Kind
	if d.Year != 0 {
		what = fmt.Sprintf("%s (%d)", what, d.Year)
	}
	e.SetText("SUMMARY", what)
	e.SetValue("TRANSP", "TRANSPARENT")
	e.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", "FREE")
	e.SetList("CATEGORIES", []string{strings.ToUpper(d.Kind[:1]) + d.Kind[1:]})
	cal := &ical.Component{Name: "VCALENDAR", Children: []*ical.Component{e}}
	cal.SetValue("VERSION", "2.0")
	cal.SetValue("PRODID", "-//Waypost//Birthdays//EN")
	return cal.Append(nil)
}
