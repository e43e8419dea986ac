package itip

import (
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
)

// attended is a change by one who is invited. The organizer's word about when,
// where and whom stands (RFC 6638 section 3.2.2.1); alarms and marks are one's own.
func (s Side) attended(old, now *series) Result {
	if old != nil {
		for _, id := range now.order {
			if prev := old.before(id); prev != nil {
				s.restore(now.parts[id], prev, old.parts[id] != nil)
			}
		}
	}
	r := Result{Why: "attended"}
	r.Messages = s.answers(old, now, "")
	r.Text = now.text()
	return r
}

// organizers are the properties that only the organizer changes.
var organizers = []string{"DTSTART", "DTEND", "DURATION", "DUE", "RRULE", "RDATE", "SEQUENCE", "DTSTAMP", "ORGANIZER", "SUMMARY", "LOCATION", "STATUS"}

// restore puts the organizer's properties back. same says that the component was
// there; else it was made of the series' instance, whose times it may name otherwise.
func (s Side) restore(c, prev *ical.Component, same bool) {
	for _, name := range organizers {
		if !same && (name == "DTSTART" || name == "DTEND" || name == "DURATION" || name == "DUE") && c.Prop(name) != nil {
			continue
		}
		if slices.EqualFunc(c.All(name), prev.All(name), (*ical.Property).Equal) {
			continue
		}
		c.Remove(name)
		for _, p := range prev.All(name) {
			c.Properties = append(c.Properties, p.Clone())
		}
	}
	var others []*ical.Property
	mine := s.me(c)
	if mine == nil {
		mine = s.me(prev) // one's own place cannot be given up: decline
	}
	for _, p := range prev.All("ATTENDEE") {
		if s.Mine(ical.ParsePerson(p).Address) {
			if mine != nil {
				others = append(others, mine)
				mine = nil
			}
			continue
		}
		others = append(others, p.Clone())
	}
	if mine != nil {
		others = append(others, mine)
	}
	if slices.EqualFunc(c.All("ATTENDEE"), others, (*ical.Property).Equal) {
		return
	}
	c.Remove("ATTENDEE")
	c.Properties = append(c.Properties, others...)
}

// answers are the replies that a change of one's own copy asks for, and it marks
// in the copy how busy the answer makes its owner.
func (s Side) answers(old, now *series, comment string) []Message {
	var parts []*ical.Component
	status := map[string]string{}
	for _, id := range now.order {
		c := now.parts[id]
		mine := s.me(c)
		if mine == nil {
			continue
		}
		was := NeedsAction
		if old != nil {
			was = statusOf(s.me(old.before(id)))
		}
		is := statusOf(mine)
		if is == was || is == NeedsAction {
			continue
		}
		mine.SetParam("RSVP")
		occupy(c, is)
		status[id] = is
		if id != "" && status[""] == is {
			continue // said for the whole series
		}
		parts = append(parts, s.reply(c, mine, is, comment))
	}
	if old != nil && old.master != nil && now.master != nil {
		took := old.excluded()
		for _, id := range sortedKeys(now.excluded()) {
			if took[id] {
				continue
			}
			// An attendee who takes an instance out does not come to it.
			if c := old.before(id); c != nil && s.me(c) != nil && statusOf(s.me(c)) != Declined && !cancelled(c) {
				parts = append(parts, s.reply(c, s.me(c), Declined, comment))
			}
		}
	}
	return s.toOrganizer(now, "REPLY", Reply, comment, parts)
}

// declineAll tells the organizer that one does not come, for the copy is gone.
func (s Side) declineAll(old *series) []Message {
	var parts []*ical.Component
	for _, id := range old.order {
		c := old.parts[id]
		mine := s.me(c)
		if mine == nil || cancelled(c) || statusOf(mine) == Declined || id != "" && old.master != nil && s.me(old.master) != nil {
			continue
		}
		parts = append(parts, s.reply(c, mine, Declined, ""))
	}
	return s.toOrganizer(old, "REPLY", Reply, "", parts)
}

// reply is one answer (RFC 5546 section 3.2.3). One's own property notes its
// stamp, so that the next is newer.
func (s Side) reply(c *ical.Component, mine *ical.Property, status, comment string) *ical.Component {
	d := s.digest(c, sequence(c))
	last, _ := time.Parse(utcForm, mine.ParamText(paramReplied))
	at := ical.UTCTime(after(s.Now, last))
	d.SetTime("DTSTAMP", at)
	mine.SetParam(paramReplied, at.Value())
	p := mine.Clone()
	private(p)
	who := ical.ParsePerson(p)
	who.Status, who.RSVP, who.SentBy = status, false, s.sender()
	if who.Name == "" {
		who.Name = s.Name
	}
	who.Write(p)
	d.Properties = append(d.Properties, p)
	d.SetText("COMMENT", comment)
	d.SetValue("REQUEST-STATUS", "2.0;Success")
	return d
}

func (s Side) toOrganizer(e *series, method string, kind Kind, comment string, parts []*ical.Component) []Message {
	who, ok := e.organizer()
	if len(parts) == 0 || !ok || !addressable(who) || !byServer(organizerOf(e)) {
		return nil
	}
	from := s.self()
	if p := parts[0].Prop("ATTENDEE"); p != nil {
		from.Address = ical.ParsePerson(p).Address // as it was invited, so that the organizer knows it
	}
	return []Message{{
		Kind: kind, Method: method, From: from, Sender: s.sender(), To: []Person{{who.Address, who.Name}},
		Calendar: s.calendar(method, e, parts...), Comment: comment,
	}}
}

// occupy says how busy an answer makes its owner.
func occupy(c *ical.Component, status string) {
	if !c.Is("VEVENT") {
		return
	}
	busy := "TENTATIVE"
	switch status {
	case Accepted:
		busy = intended(c)
	case Declined, Delegated:
		busy = "FREE"
	}
	if c.Prop("X-MICROSOFT-CDO-INTENDEDSTATUS") == nil {
		c.SetValue("X-MICROSOFT-CDO-INTENDEDSTATUS", intended(c))
	}
	c.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", busy)
}

// Answer is what somebody says to an invitation.
type Answer struct {
	Status  string    // Accepted, Tentative or Declined
	At      time.Time // when the instance begins that is meant; zero: the whole
	Day     bool      // At is the digits of a whole day
	Comment string
	// From and To propose another time.
	From, To time.Time
	// Silent tells the organizer nothing.
	Silent bool
}

// Answer answers the invitation of one's own copy. A copy of what is declined
// goes, as in Exchange; so does an instance.
func (s Side) Answer(text []byte, a Answer) (Result, error) {
	old, err := s.open(text)
	if err != nil {
		return Result{}, err
	}
	if old == nil {
		return Result{}, fault.New(fault.NotFound, "there is no such appointment")
	}
	organizer, ok := old.organizer()
	if !ok || s.Mine(organizer.Address) {
		return Result{}, fault.New(fault.Invalid, "nobody invited you to this appointment")
	}
	if a.Status != Accepted && a.Status != Tentative && a.Status != Declined {
		return Result{}, fault.New(fault.Invalid, "an answer is to accept, to decline or to come perhaps")
	}
	now := old.clone(s)
	id := ""
	if !a.At.IsZero() {
		t := ical.UTCTime(a.At)
		if a.Day {
			t = ical.Time{Wall: a.At.UTC().Truncate(24 * time.Hour), Date: true}
		}
		id = now.id(t)
	} else if now.master == nil {
		id = now.order[0]
		for _, one := range now.order {
			if !cancelled(now.parts[one]) {
				id = one
				break
			}
		}
	}
	target := now.before(id)
	if target == nil {
		return Result{}, fault.New(fault.NotFound, "the series has no such instance")
	}
	if cancelled(target) {
		if a.Status != Declined {
			return Result{}, fault.New(fault.Invalid, "the meeting is cancelled")
		}
		a.Silent = true // nobody waits for it
	}
	if now.parts[id] == nil {
		now.put(id, target)
	}
	mine := s.me(target)
	if mine == nil {
		mine = &ical.Property{Name: "ATTENDEE"}
		ical.Person{Address: s.Address, Name: s.Name}.Write(mine)
		target.Properties = append(target.Properties, mine)
	}
	who := ical.ParsePerson(mine)
	who.Status, who.RSVP = a.Status, false
	who.Write(mine)
	occupy(target, a.Status)
	var parts []*ical.Component
	method, kind := "REPLY", Reply
	one := s.reply(target, mine, a.Status, a.Comment)
	if !a.From.IsZero() {
		if strings.EqualFold(target.Text("X-MICROSOFT-DISALLOW-COUNTER"), "TRUE") {
			return Result{}, fault.New(fault.Denied, "the organizer takes no proposals")
		}
		method, kind = "COUNTER", Proposal
		s.propose(one, now, a)
	}
	parts = append(parts, one)
	if id == "" { // what was answered for instances is said anew
		for _, other := range now.order {
			if p := s.me(now.parts[other]); other != "" && p != nil && statusOf(p) != a.Status {
				w := ical.ParsePerson(p)
				w.Status, w.RSVP = a.Status, false
				w.Write(p)
				occupy(now.parts[other], a.Status)
			}
		}
	}
	r := Result{Why: strings.ToLower(a.Status)}
	if !a.Silent {
		r.Messages = s.toOrganizer(now, method, kind, a.Comment, parts)
	}
	switch {
	case a.Status != Declined:
	case id == "" || now.master == nil && len(now.order) == 1:
		r.Remove = true
		return r, nil
	case now.master != nil:
		now.exclude(id)
	default:
		now.drop(id)
	}
	r.Text = now.text()
	return r, nil
}

// propose puts another time into what the organizer is told (RFC 5546 section
// 3.2.7), in the zone of the meeting.
func (s Side) propose(one *ical.Component, e *series, a Answer) {
	start, err := one.Time("DTSTART")
	at := ical.UTCTime(a.From)
	end := ical.UTCTime(a.To)
	if l := e.zones.Location(start.TZID); err == nil && start.TZID != "" && l != nil {
		at = ical.Time{Wall: wall(a.From, l), TZID: start.TZID}
		end = ical.Time{Wall: wall(a.To, l), TZID: start.TZID}
	}
	for _, name := range []string{"START", "END"} {
		if p := one.Prop("DT" + name); p != nil { // Outlook and phones show both
			was := p.Clone()
			was.Name = "X-MS-OLK-ORIGINAL" + name
			one.Properties = append(one.Properties, was)
		}
	}
	one.Remove("DURATION")
	one.SetTime("DTSTART", at)
	one.SetTime("DTEND", end)
	one.Remove("REQUEST-STATUS")
}

// DeclineProposal tells an attendee that the time it proposed is not taken (RFC
// 5546 section 3.2.8); the copy forgets the proposal.
func (s Side) DeclineProposal(text []byte, attendee string) (Result, error) {
	e, err := s.open(text)
	if err != nil || e == nil {
		return Result{}, fault.New(fault.NotFound, "there is no such appointment")
	}
	r := Result{Why: "proposal declined"}
	var parts []*ical.Component
	var to ical.Person
	for _, id := range e.order {
		p := s.attendee(e.parts[id], attendee)
		if p == nil || p.Param(paramFrom) == nil {
			continue
		}
		p.SetParam(paramFrom)
		p.SetParam(paramTo)
		to = ical.ParsePerson(p)
		d := s.digest(e.parts[id], sequence(e.parts[id]))
		clean := p.Clone()
		private(clean)
		d.Properties = append(d.Properties, clean)
		parts = append(parts, d)
	}
	if len(parts) == 0 {
		return Result{}, fault.New(fault.NotFound, "%s proposed no other time", attendee)
	}
	r.Text = e.text()
	r.Messages = []Message{{
		Kind: ProposalDeclined, Method: "DECLINECOUNTER", From: s.self(), Sender: s.sender(),
		To: []Person{{to.Address, to.Name}}, Calendar: s.calendar("DECLINECOUNTER", e, parts...),
	}}
	return r, nil
}
