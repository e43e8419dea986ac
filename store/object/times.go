package object

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
	"waypost/store"
)

const (
	day = 24 * time.Hour

	// Listed bounds the occurrences of one object that are kept in a table.
	Listed = 1000
	// Longest is what an occurrence in the table may last, so that those that
	// began before a range and reach into it are near it.
	Longest = 31 * day
	// most bounds how many occurrences are counted to find the last one.
	most = 10_000
)

// Never is a moment after all others: a window that begins there holds nothing.
var Never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	first = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	last  = Never
)

// Times is when an object is.
type Times struct {
	// Starts and Ends are those of the first and the last occurrence, as in
	// store.Object.
	Starts, Ends time.Time
	// Occurrences are all when Whole is set; else those that overlap the time
	// from From to before To, without Item and Folder.
	Occurrences []store.Occurrence
	Whole       bool
	From, To    time.Time
}

// Window is the time for which the occurrences of an endless series are kept in
// the table.
func Window(now time.Time) (from, to time.Time) {
	today := now.UTC().Truncate(day)
	return today.AddDate(-1, 0, 0), today.AddDate(2, 0, 0)
}

// TimesOf reads when a calendar object of the store is.
func TimesOf(text []byte, now time.Time) (Times, error) {
	calendar, parts, err := partsOf(text)
	if err != nil {
		return Times{}, err
	}
	return timesOf(calendar, parts, now), nil
}

func partsOf(text []byte) (*ical.Component, []*ical.Component, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, nil, err
	}
	var parts []*ical.Component
	for _, calendar := range root.Parts("VCALENDAR") {
		parts = append(parts, calendar.Parts("VEVENT", "VTODO", "VJOURNAL")...)
	}
	return root, parts, nil
}

// timesOf expands the parts of one UID. Floating times are their digits as UTC.
//
// A rule that costs too much ends where it does: nobody shall pay for it again.
func timesOf(calendar *ical.Component, parts []*ical.Component, now time.Time) Times {
	set := ical.NewSet(parts, ical.ZonesOf(calendar, nil))
	var t Times
	endless := endless(set)
	n := Listed
	if endless {
		n = 1 // only to know when it begins
	}
	listed, more := list(set, first, last, n)
	if len(listed) == 0 {
		t.Whole = true
		return t
	}
	t.Starts = listed[0].Starts
	switch {
	case more:
		if !endless {
			t.Ends = end(set)
		}
		t.From, t.To = Window(now)
		if listed, more = list(set, t.From, t.To, Listed); more {
			// Every one that begins before is there; daylight saving time may
			// have swapped the last ones.
			t.To = listed[len(listed)-1].Starts.Add(-swapped)
			listed = slices.DeleteFunc(listed, func(o store.Occurrence) bool { return !o.Starts.Before(t.To) })
		}
		t.Occurrences = listed
	default:
		t.Occurrences, t.Whole = listed, true
		t.Ends = latest(listed)
	}
	tooLong := slices.ContainsFunc(listed, func(o store.Occurrence) bool { return o.Ends.Sub(o.Starts) > Longest })
	if tooLong || !t.Whole && !t.To.After(t.From) {
		t.Occurrences, t.Whole = nil, false
		t.From, t.To = Never, Never
	}
	return t
}

// swapped is how far an occurrence may be from its place in the order.
const swapped = 3 * time.Hour

// endless tells a series with a rule that has no end.
func endless(set *ical.Set) bool {
	if set.Master == nil {
		return false
	}
	for _, p := range set.Master.All("RRULE") {
		if rule, err := recur.Parse(p.Value); err == nil && rule.Count == 0 && rule.Until.Wall.IsZero() {
			return set.Recurs()
		}
	}
	return false
}

// list gives at most n occurrences, in order, and tells whether there are more.
func list(set *ical.Set, from, to time.Time, n int) (all []store.Occurrence, more bool) {
	for occ, err := range set.Occurrences(from, to) {
		if err != nil {
			break
		}
		if more = len(all) == n; more {
			break
		}
		all = append(all, occurrence(occ))
	}
	return inOrder(all), more
}

// inOrder sorts occurrences and leaves each once.
func inOrder(all []store.Occurrence) []store.Occurrence {
	slices.SortStableFunc(all, Compare)
	return slices.CompactFunc(all, func(a, b store.Occurrence) bool { return Compare(a, b) == 0 })
}

// Compare orders occurrences as pages of them are.
func Compare(a, b store.Occurrence) int {
	return cmp.Or(a.Starts.Compare(b.Starts), cmp.Compare(a.Item, b.Item), strings.Compare(a.Instance, b.Instance))
}

// end finds when the last of many occurrences ends; the zero time when they are
// too many to tell.
func end(set *ical.Set) time.Time {
	var ends time.Time
	n := 0
	for occ, err := range set.Occurrences(first, last) {
		if n++; err != nil || n > most {
			return time.Time{}
		}
		if at := occurrence(occ).Ends; at.After(ends) {
			ends = at
		}
	}
	return ends
}

func latest(all []store.Occurrence) (ends time.Time) {
	for _, o := range all {
		if o.Ends.After(ends) {
			ends = o.Ends
		}
	}
	return ends
}

func occurrence(o ical.Occurrence) store.Occurrence {
	occ := store.Occurrence{
		Starts: o.Start.UTC(), Ends: o.End.UTC(), AllDay: o.AllDay, Floating: o.Floating || o.AllDay,
		Busy: busy(o.Component), Cancelled: strings.EqualFold(o.Component.Text("STATUS"), "CANCELLED"),
	}
	if !o.ID.IsZero() {
		occ.Instance = o.ID.Value()
	}
	// RFC 5545 section 3.8.1.3: what is not known is private.
	switch strings.ToUpper(strings.TrimSpace(o.Component.Text("CLASS"))) {
	case "", "PUBLIC":
	default:
		occ.Private = true
	}
	return occ
}

// busy reads the state of free/busy: Microsoft's word where there is one, else
// TRANSP and STATUS (RFC 5545 sections 3.8.2.7 and 3.8.1.11).
func busy(c *ical.Component) store.Busy {
	switch strings.ToUpper(strings.TrimSpace(c.Text("X-MICROSOFT-CDO-BUSYSTATUS"))) {
	case "FREE":
		return store.BusyFree
	case "TENTATIVE":
		return store.BusyTentative
	case "BUSY":
		return store.BusyBusy
	case "OOF":
		return store.BusyOut
	case "WORKINGELSEWHERE":
		return store.BusyElsewhere
	}
	switch {
	case strings.EqualFold(c.Text("TRANSP"), "TRANSPARENT"), !c.Is("VEVENT"):
		return store.BusyFree
	case strings.EqualFold(c.Text("STATUS"), "TENTATIVE"):
		return store.BusyTentative
	default:
		return store.BusyBusy
	}
}

// Overlaps tells whether an occurrence is wanted by a question.
func Overlaps(o store.Occurrence, q *store.Between) bool {
	starts, ends := o.Starts, o.Ends
	if o.Floating {
		starts, ends = placed(starts, q.Floating), placed(ends, q.Floating)
	}
	return starts.Before(q.To) && (ends.After(q.From) || ends.Equal(starts) && !starts.Before(q.From))
}

// placed is the moment of digits as UTC in a zone.
func placed(digits time.Time, l *time.Location) time.Time {
	if l == nil || l == time.UTC {
		return digits
	}
	return zone.Instant(digits, l)
}

// Margin is how far digits may be from the moment that they mean somewhere.
const Margin = 26 * time.Hour

// Between expands the text of an object of the store for a question: in order,
// at least the first limit after the one that the page begins after, if there
// are so many. A rule that costs too much ends where it does.
func Between(o *store.Object, q *store.Between) ([]store.Occurrence, error) {
	calendar, parts, err := partsOf(o.Text)
	if err != nil {
		return nil, err
	}
	from, to := q.From.Add(-Margin), q.To.Add(Margin)
	if q.After != nil && q.After.Starts.After(from) {
		from = q.After.Starts
	}
	set := ical.NewSet(parts, ical.ZonesOf(calendar, nil))
	var all []store.Occurrence
	for found, err := range set.Occurrences(from, to) {
		if err != nil {
			break
		}
		occ := occurrence(found)
		occ.Item, occ.Folder = o.Item, o.Folder
		if len(all) >= q.Limit && occ.Starts.After(all[q.Limit-1].Starts.Add(swapped)) {
			break
		}
		if Overlaps(occ, q) && (q.After == nil || Compare(occ, *q.After) > 0) {
			all = append(all, occ)
		}
	}
	return inOrder(all), nil
}
