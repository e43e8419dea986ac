package itip

import (
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
)

// Instance is one time of a meeting.
type Instance struct {
	ID         string // its name in the series, for Book; empty for the only one
	Start, End time.Time
}

// Times are the instances of a copy that are not over, at most so many, and
// whether they recur. More says that there are others.
func (s Side) Times(text []byte, most int) (all []Instance, recurs, more bool, err error) {
	e, err := s.open(text)
	if err != nil || e == nil {
		return nil, false, false, fault.From(fault.Invalid, err, "no event")
	}
	set := ical.NewSet(e.components(), e.zones)
	recurs = set.Recurs()
	list, err := set.List(s.Now, s.Now.AddDate(100, 0, 0), most)
	if more = err != nil; more && len(list) == 0 {
		return nil, recurs, true, err
	}
	for _, o := range list {
		if cancelled(o.Component) {
			continue
		}
		i := Instance{Start: o.Start, End: o.End}
		if !o.ID.IsZero() {
			i.ID = e.id(o.ID)
		}
		all = append(all, i)
	}
	return all, recurs, more, nil
}

// Book answers for a room: the whole, but for the instances that it declines.
func (s Side) Book(text []byte, status string, declined []string, comment string) (Result, error) {
	now, err := s.open(text)
	if err != nil || now == nil {
		return Result{}, fault.From(fault.Invalid, err, "no event")
	}
	var parts []*ical.Component
	no := map[string]bool{}
	for _, id := range declined {
		no[id] = true
	}
	organizer, _ := now.organizer()
	for _, id := range now.order {
		c := now.parts[id]
		mine := s.me(c)
		if mine == nil || cancelled(c) || no[id] {
			continue
		}
		if old := statusOf(mine); old != status || id == "" || now.master == nil {
			parts = append(parts, s.reply(c, mine, status, comment))
		}
		who := ical.ParsePerson(mine)
		who.Status, who.RSVP = status, false
		who.Write(mine)
		occupy(c, status)
	}
	for _, id := range declined {
		if c := now.before(id); c != nil && s.me(c) != nil {
			parts = append(parts, s.reply(c, s.me(c), Declined, "The room is taken at this time."))
		}
	}
	if now.master != nil {
		for _, id := range declined {
			now.exclude(id)
		}
	}
	r := Result{Text: now.text(), Messages: s.toOrganizer(now, "REPLY", Reply, comment, parts), Why: "answered"}
	for i := range r.Messages {
		r.Messages[i].Automatic = true
	}
	if s.Mine(organizer.Address) {
		r.Messages = nil
	}
	return r, nil
}

// Cancelled tells whether the whole of a copy is cancelled.
func Cancelled(text []byte) bool {
	e, err := Side{}.open(text)
	if err != nil || e == nil {
		return false
	}
	for _, id := range e.order {
		if !cancelled(e.parts[id]) {
			return false
		}
	}
	return true
}
