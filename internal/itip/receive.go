package itip

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
)

// Incoming is a message from another one.
type Incoming struct {
	Method   string
	UID      string
	Text     []byte
	From     []string // the addresses of the mail's From that are believed
	Calendar *ical.Component
	// Earlier is what was remembered of the event (Result.Remember), of which there
	// is no copy.
	Earlier []byte
}

// Remembered is what was remembered of an event as the cancellation that it was.
func Remembered(text []byte) (*Incoming, error) {
	in, err := ReadIncoming(text, "CANCEL")
	if err != nil {
		return nil, err
	}
	for _, c := range in.Calendar.Parts(names...) {
		if who, ok := c.Organizer(); ok { // the mail was from there
			in.From = append(in.From, who.Address)
		}
	}
	return in, nil
}

// ReadIncoming reads a calendar that came by mail; the method is that of the
// calendar, or of the mail's part.
func ReadIncoming(text []byte, method string) (*Incoming, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	for _, cal := range root.Parts("VCALENDAR") {
		parts := cal.Parts(names...)
		if len(parts) == 0 {
			continue
		}
		in := &Incoming{Method: strings.ToUpper(strings.TrimSpace(cal.Text("METHOD"))), UID: parts[0].Text("UID"), Text: text, Calendar: cal}
		if in.Method == "" {
			in.Method = strings.ToUpper(method)
		}
		if in.UID == "" {
			return nil, fault.New(fault.Invalid, "an event without a UID")
		}
		return in, nil
	}
	return nil, fault.New(fault.Invalid, "a calendar without an event")
}

// IsTask tells whether it is about a task.
func (in *Incoming) IsTask() bool { return len(in.Calendar.Parts("VEVENT")) == 0 }

// maxParts bounds the components of a message from another one.
const maxParts = 2000

// Receive is what a message means for one's own copy, nil when there is none.
func (s Side) Receive(copyText []byte, in *Incoming) (Result, error) {
	old, err := s.open(copyText)
	if err != nil {
		old = nil
	}
	if old != nil && old.uid != in.UID {
		return Result{}, fault.New(fault.Invalid, "a copy of another event")
	}
	if n := len(in.Calendar.Children); n > maxParts {
		return Result{}, fault.New(fault.Limit, "an invitation of more than %d parts", maxParts)
	}
	msg, err := s.of(in.Calendar.Clone())
	if err != nil {
		return Result{}, err
	}
	msg.cal.Remove("METHOD")
	if old != nil && msg.master == nil {
		msg.rename(old)
	}
	organizer, ok := msg.organizer()
	if !ok && old != nil {
		organizer, ok = old.organizer()
	}
	if !ok {
		return ignore("nobody invites")
	}
	mine := s.Mine(organizer.Address)
	switch in.Method {
	case "REQUEST", "CANCEL", "ADD", "DECLINECOUNTER":
		if mine {
			return ignore("own invitation")
		}
		if old == nil && (in.Method == "REQUEST" || in.Method == "CANCEL") {
			return s.first(msg, organizer, in)
		}
		if old != nil {
			if why := s.mayChange(old, organizer, in); why != "" {
				return ignore("%s", why)
			}
		}
		switch in.Method {
		case "REQUEST":
			return s.requested(old, msg)
		case "CANCEL":
			return s.cancelledBy(old, msg)
		case "ADD":
			return s.more(old, msg)
		}
		return ignore("proposal declined")
	case "REPLY", "COUNTER", "REFRESH":
		if old == nil {
			return ignore("nothing known of it")
		}
		if who, ok := old.organizer(); ok && !s.Mine(who.Address) || !ok && !mine {
			return ignore("not ours to take answers for")
		}
		if in.Method == "REFRESH" {
			return s.refresh(old, msg, in)
		}
		return s.answered(old, msg, in)
	}
	return ignore("only to be read")
}

// first is a message about an event of which there is no copy. A cancellation may
// have overtaken the invitation, which must not place what is dead already: so it
// is remembered, as the copy that there would be.
func (s Side) first(msg *series, organizer ical.Person, in *Incoming) (Result, error) {
	early, err := s.open(in.Earlier)
	if err != nil || early != nil && (early.uid != msg.uid || s.mayChange(early, organizer, in) != "") {
		early = nil // somebody else's word of it
	}
	if in.Method == "REQUEST" {
		r, err := s.requested(early, msg)
		if err == nil && r.Text == nil {
			r.Why = "cancelled already"
		}
		return r, err
	}
	if early == nil {
		if !s.sentBy(in, organizer) {
			return ignore("not sent by the organizer")
		}
		early = msg.clone(s)
		for _, id := range msg.order {
			early.drop(id)
		}
	}
	r, err := s.cancelledBy(early, msg)
	if err == nil && r.Text != nil {
		r = Result{Remember: r.Text, Why: "cancelled before it came"}
	}
	return r, err
}

func ignore(format string, args ...any) (Result, error) {
	return Result{Why: fmt.Sprintf(format, args...)}, nil
}

// mayChange tells why a message may not change a copy; empty when it may. The
// mail is from who invited before, or whom the copy names as acting for it (RFC
// 5546 section 6.1.1, RFC 6047 section 3): a forwarded message is somebody else's,
// and whom it names itself counts nothing.
func (s Side) mayChange(old *series, organizer ical.Person, in *Incoming) string {
	was, ok := old.organizer()
	if !ok {
		return "an appointment of one's own"
	}
	switch {
	case s.sentBy(in, was):
		return ""
	case s.canon(was.Address) != s.canon(organizer.Address):
		return "from another organizer"
	}
	return "not sent by the organizer"
}

// sentBy tells whether the mail is from somebody, or from who acts for it. That
// one does so may be only its own word: it has to be of the same house.
func (s Side) sentBy(in *Incoming, who ical.Person) bool {
	return s.from(in, who.Address) || who.Mail != "" && s.from(in, who.Mail) || who.SentBy != "" && s.from(in, who.SentBy) && strings.EqualFold(domain(who.SentBy), domain(who.Address))
}

func (s Side) from(in *Incoming, address string) bool {
	return slices.ContainsFunc(in.From, func(from string) bool { return s.canon(from) == s.canon(address) })
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// order compares a component of a message with what is known of it: below 0 it
// is older, 0 the same, above 0 newer (RFC 5546 section 2.1.5).
func order(msg *series, c *ical.Component, old *series, known *ical.Component) int {
	if d := sequence(c) - sequence(known); d != 0 {
		return d
	}
	return msg.stamp(c).Compare(old.stamp(known))
}

// requested is an invitation or its update.
func (s Side) requested(old, msg *series) (Result, error) {
	for _, id := range msg.order {
		s.invite(msg.parts[id])
	}
	if old == nil {
		for _, id := range msg.order {
			s.place(msg.parts[id], nil, true)
		}
		return Result{Text: msg.text(), Why: "placed"}, nil
	}
	now, changed := old.clone(s), false
	if c := msg.master; c != nil {
		switch known := now.master; {
		case known != nil && order(msg, c, old, known) <= 0:
			// Old or repeated; instances in it may be news all the same.
		default:
			changed = true
			now = s.replace(now, msg)
		}
	}
	for _, id := range msg.order {
		c := msg.parts[id]
		if id == "" || now.parts[id] == c {
			continue
		}
		known := now.parts[id]
		switch {
		case known != nil && order(msg, c, now, known) <= 0:
			continue
		case known == nil && now.master != nil && (sequence(c) < sequence(now.master) || now.excluded()[id] && order(msg, c, now, now.master) <= 0),
			known == nil && now.master != nil && now.gone(id) != "" && !newer(msg.mark(c), now.gone(id)):
			continue
		}
		if known == nil {
			known = now.before(id)
		}
		c = c.Clone()
		s.place(c, known, s.moved(now, msg, known, c))
		if now.master != nil {
			now.include(id)
		}
		now.put(id, c)
		now.adopt(msg, c)
		changed = true
	}
	if !changed {
		return ignore("known already")
	}
	return Result{Text: now.text(), Why: "updated"}, nil
}

func (s Side) moved(old, msg *series, known, c *ical.Component) bool {
	return known == nil || old.when(known) != msg.when(c) || cancelled(known)
}

// replace takes the series of a message in place of the copy's. Instances that
// are newer than it stay (RFC 5546 section 2.1.5).
func (s Side) replace(old, msg *series) *series {
	now := msg.clone(s)
	for _, id := range now.order {
		known := old.parts[id]
		if id != "" && known != nil && order(old, known, now, now.parts[id]) > 0 {
			now.put(id, known.Clone())
			now.adopt(old, known)
			continue
		}
		if known == nil && id != "" && old.master != nil {
			known = old.before(id)
		}
		s.place(now.parts[id], known, s.moved(old, msg, known, now.parts[id]))
	}
	if old.master != nil {
		mine := old.excluded() // instances that the owner does not come to
		theirs := now.excluded()
		same := !s.moved(old, msg, old.master, now.master)
		for _, id := range sortedKeys(mine) {
			mark := old.gone(id)
			switch {
			case mark != "" && newer(mark, msg.mark(msg.master)) && (now.parts[id] == nil || newer(mark, msg.mark(now.parts[id]))):
				now.exclude(id)
				now.markGone(id, mark)
			case mark == "" && same && !theirs[id] && now.parts[id] == nil && sequence(now.master) == sequence(old.master):
				now.exclude(id)
			}
		}
	}
	for _, id := range old.order {
		c := old.parts[id]
		if id == "" || now.parts[id] != nil || sequence(c) < sequence(now.master) || now.excluded()[id] {
			continue
		}
		// What is newer may be of a series that is still on its way.
		inst, err := now.instance(id)
		if err != nil && sequence(c) == sequence(now.master) {
			continue
		}
		// What differs from the series by one's own answer alone follows it.
		if was, err2 := old.instance(id); err == nil && err2 == nil && !s.differs(old, old, was, c) {
			s.place(inst, c, false)
			now.put(id, inst)
			continue
		}
		now.put(id, c.Clone())
		now.adopt(old, c)
	}
	// What the owner wrote at the calendar itself stays.
	for _, p := range old.cal.Properties {
		if strings.HasPrefix(strings.ToUpper(p.Name), "X-") && now.cal.Prop(p.Name) == nil {
			now.cal.Properties = append(now.cal.Properties, p.Clone())
		}
	}
	return now
}

// adopt brings the zones along that a component names.
func (e *series) adopt(from *series, c *ical.Component) {
	for _, z := range zonesFor(from, []*ical.Component{c}) {
		id := z.Text("TZID")
		if !slices.ContainsFunc(e.cal.Children, func(have *ical.Component) bool { return have.Is("VTIMEZONE") && have.Text("TZID") == id }) {
			e.cal.Children = append([]*ical.Component{z}, e.cal.Children...)
		}
	}
	e.zones, e.rule = ical.ZonesOf(e.cal, e.zones.Floating), nil
}

// invite adds the owner to those invited when the message reached it another
// way: forwarded, or by a group.
func (s Side) invite(c *ical.Component) {
	if s.me(c) != nil {
		return
	}
	p := &ical.Property{Name: "ATTENDEE"}
	ical.Person{Address: s.Address, Name: s.Name, Role: "REQ-PARTICIPANT", Status: NeedsAction, RSVP: true}.Write(p)
	c.Properties = append(c.Properties, p)
}

// place makes a component of a message one of the owner's calendar: with what it
// had there of its owner's own, tentative until it is answered. An answer that was
// given stands unless the time changed.
func (s Side) place(c, known *ical.Component, moved bool) {
	c.Children = slices.DeleteFunc(c.Children, func(a *ical.Component) bool { return a.Is("VALARM") }) // the organizer's
	want := intended(c)
	for _, name := range []string{"CATEGORIES", "X-MICROSOFT-CDO-BUSYSTATUS"} {
		c.Remove(name)
	}
	if c.Is("VEVENT") {
		c.SetValue("X-MICROSOFT-CDO-INTENDEDSTATUS", want)
	}
	mine := s.me(c)
	status := statusOf(mine)
	if known != nil {
		for _, p := range known.Properties {
			if personal(p.Name) && c.Prop(p.Name) == nil || p.Is("TRANSP") {
				if p.Is("TRANSP") {
					c.Remove("TRANSP")
				}
				c.Properties = append(c.Properties, p.Clone())
			}
		}
		for _, child := range known.Children {
			if child.Is("VALARM") {
				c.Children = append(c.Children, child.Clone())
			}
		}
		if was := s.me(known); was != nil && !moved {
			status = statusOf(was)
			who := ical.ParsePerson(mine)
			who.Status = status
			if status != NeedsAction {
				who.RSVP = false
			}
			who.Write(mine)
		}
	}
	if cancelled(c) {
		c.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", "FREE")
		return
	}
	occupy(c, status)
}

// cancelledBy is a cancellation. What is cancelled as a whole stays to be seen, as
// cancelled; an instance is taken out.
func (s Side) cancelledBy(old, msg *series) (Result, error) {
	now, changed := old.clone(s), false
	for _, id := range msg.order {
		c := msg.parts[id]
		// RFC 5546 section 3.2.5: others may be uninvited, and the event goes on.
		if len(c.All("ATTENDEE")) > 0 && s.me(c) == nil && !cancelled(c) {
			continue
		}
		known := now.parts[id]
		switch {
		case id == "":
			if now.master == nil { // instances came first: an invitation to all may follow, and is older
				whole := c.Clone()
				whole.Remove("ATTENDEE")
				s.invite(whole)
				whole.SetValue("STATUS", "CANCELLED")
				s.place(whole, nil, true)
				now.put("", whole)
				now.adopt(msg, c)
				changed = true
			}
			for _, one := range slices.Clone(now.order) {
				k := now.parts[one]
				if o := order(msg, c, old, k); o < 0 || o == 0 && cancelled(k) {
					continue // an invitation that came first was sent later
				}
				changed = true
				k.SetValue("STATUS", "CANCELLED")
				setSequence(k, sequence(c))
				if p := c.Prop("DTSTAMP"); p != nil {
					k.Put(p.Clone())
				}
				if k.Is("VEVENT") {
					k.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", "FREE")
				}
			}
		case known != nil && order(msg, c, old, known) < 0:
		case now.master != nil:
			if now.excluded()[id] || known == nil && sequence(now.master) > sequence(c) {
				continue
			}
			// What is newer may be of a series that is still on its way.
			if _, err := now.instance(id); err != nil && known == nil && sequence(c) <= sequence(now.master) {
				continue
			}
			changed = true
			now.exclude(id)
			now.markGone(id, msg.mark(c))
		case known == nil: // the invitation to it may follow, and is older
			one := c.Clone()
			one.Remove("ATTENDEE")
			s.invite(one)
			one.SetValue("STATUS", "CANCELLED")
			s.place(one, nil, true)
			now.put(id, one)
			now.adopt(msg, c)
			changed = true
		case !cancelled(known):
			changed = true
			known.SetValue("STATUS", "CANCELLED")
			known.SetValue("X-MICROSOFT-CDO-BUSYSTATUS", "FREE")
			setSequence(known, sequence(c))
		}
	}
	if !changed {
		return ignore("known already")
	}
	return Result{Text: now.text(), Why: "cancelled"}, nil
}

// more adds instances to a series (RFC 5546 section 3.2.4).
func (s Side) more(old, msg *series) (Result, error) {
	if old == nil || old.master == nil || msg.master == nil {
		return ignore("nothing to add to")
	}
	if sequence(msg.master) <= sequence(old.master) {
		return ignore("known already")
	}
	now := old.clone(s)
	c := msg.master.Clone()
	start, err := c.Time("DTSTART")
	if err != nil || start.IsZero() {
		return ignore("no time")
	}
	id := now.id(start)
	at := now.recurrence(id)
	if now.parts[id] == nil {
		holder := &ical.Component{}
		holder.SetTime("RDATE", at)
		now.master.Properties = append(now.master.Properties, holder.Properties...)
	}
	c.SetTime("RECURRENCE-ID", at)
	for _, name := range []string{"RRULE", "RDATE", "EXDATE"} {
		c.Remove(name)
	}
	s.invite(c)
	s.place(c, nil, true)
	now.put(id, c)
	now.adopt(msg, c)
	setSequence(now.master, sequence(msg.master))
	return Result{Text: now.text(), Why: "added"}, nil
}

// answered takes an answer, or a proposal, into the organizer's copy.
func (s Side) answered(old, msg *series, in *Incoming) (Result, error) {
	now, changed := old.clone(s), false
	why := "answered"
	for _, id := range msg.order {
		c := msg.parts[id]
		who, ok := s.speaker(c, in)
		if !ok {
			why = "not one who answers"
			continue
		}
		if s.Mine(who.Address) || !addressable(who) {
			continue
		}
		if !s.sentBy(in, who) && !s.knownSender(now, in, who) {
			why = "not sent by who answers"
			continue
		}
		target := now.parts[id]
		made := false
		if target == nil {
			if now.master == nil {
				continue
			}
			inst, err := now.instance(id)
			if err != nil {
				why = "no such instance"
				continue
			}
			target, made = inst, true
		}
		if sequence(c) < asked(target) {
			why = "answer to an older version"
			continue
		}
		p := s.attendee(target, who.Address)
		if p == nil {
			p = s.alias(target, in, who)
		}
		if p == nil && now.master != nil && id != "" && s.attendee(now.master, who.Address) != nil {
			why = "not invited to this instance any more"
			continue
		}
		if p == nil && sequence(c) < sequence(target) {
			why = "not invited any more" // a late answer of one who was taken off
			continue
		}
		mark := msg.mark(c)
		if p != nil && !newer(mark, p.ParamText(paramReplied)) {
			why = "known already"
			continue
		}
		if p == nil { // RFC 5546 section 3.2.3: one who was not invited
			p = &ical.Property{Name: "ATTENDEE"}
			guest := who
			guest.Role, guest.RSVP, guest.SentBy = "OPT-PARTICIPANT", false, ""
			guest.Status = ""
			guest.Write(p)
			target.Properties = append(target.Properties, p)
		}
		if made {
			now.put(id, target)
		}
		s.take(p, who, mark)
		if in.Method == "COUNTER" {
			s.proposed(p, msg, c)
		}
		if who.Status == Delegated {
			s.delegate(target, who)
		}
		if id == "" {
			for _, other := range now.order {
				if q := s.attendee(now.parts[other], who.Address); other != "" && q != nil && statusOf(q) == NeedsAction {
					s.take(q, who, mark)
				}
			}
		}
		changed = true
	}
	if !changed {
		return ignore("%s", why)
	}
	return Result{Text: now.text(), Why: strings.ToLower(in.Method)}, nil
}

// speaker is who answers: the one attendee of the message (RFC 5546 section
// 3.2.3). Some name everybody; then it is the one that the mail is from.
func (s Side) speaker(c *ical.Component, in *Incoming) (ical.Person, bool) {
	all := c.Attendees()
	if len(all) == 1 {
		return all[0], true
	}
	for _, who := range all {
		if s.from(in, who.Address) {
			return who, true
		}
	}
	return ical.Person{}, false
}

// newer compares the marks of answers.
func newer(mark, known string) bool {
	if known == "" {
		return true
	}
	var a, b int
	var at, bt string
	_, _ = fmt.Sscanf(mark, "%d-%s", &a, &at)
	_, _ = fmt.Sscanf(known, "%d-%s", &b, &bt)
	return a > b || a == b && at > bt
}

func (s Side) take(p *ical.Property, who ical.Person, mark string) {
	have := ical.ParsePerson(p)
	have.Status, have.RSVP = who.Status, false
	if have.Status == "" {
		have.Status = NeedsAction
	}
	have.SentBy, have.To = who.SentBy, who.To
	if len(who.From) > 0 {
		have.From = who.From
	}
	have.Write(p)
	p.SetParam(paramReplied, mark)
	p.SetParam(paramFrom)
	p.SetParam(paramTo)
	p.SetParam("SCHEDULE-STATUS", "2.0")
}

// proposed notes the time that an attendee would rather have. It comes perhaps,
// unless it says what else.
func (s Side) proposed(p *ical.Property, msg *series, c *ical.Component) {
	if start, end, err := ical.Span(c, msg.zones); err == nil {
		p.SetParam(paramFrom, start.At.UTC().Format(utcForm))
		p.SetParam(paramTo, end.At.UTC().Format(utcForm))
	}
	if who := ical.ParsePerson(p); who.Status == "" || who.Status == NeedsAction {
		who.Status = Tentative
		who.Write(p)
	}
}

// delegate invites whom an attendee sends in its place (RFC 5546 section 3.2.2.3);
// the attendee itself has told it.
func (s Side) delegate(c *ical.Component, who ical.Person) {
	for _, to := range who.To {
		if d := (ical.Person{Address: to, Role: who.Role, Status: NeedsAction, RSVP: true, From: []string{who.Address}}); s.attendee(c, to) == nil && addressable(d) {
			p := &ical.Property{Name: "ATTENDEE"}
			d.Write(p)
			c.Properties = append(c.Properties, p)
		}
	}
}

// alias finds who is invited under another address that the mail is from: the
// answer names the address of somebody's account, the invitation went elsewhere.
func (s Side) alias(c *ical.Component, in *Incoming, who ical.Person) *ical.Property {
	for _, from := range in.From {
		if p := s.attendee(c, from); p != nil && !s.Mine(from) {
			return p
		}
	}
	return nil
}

// knownSender takes an answer whose mail is from another address that is invited,
// while the one that it names is not: somebody has two.
func (s Side) knownSender(e *series, in *Incoming, who ical.Person) bool {
	return slices.ContainsFunc(e.order, func(id string) bool {
		return s.attendee(e.parts[id], who.Address) == nil && s.alias(e.parts[id], in, who) != nil
	})
}

// refresh sends who is invited the newest there is (RFC 5546 section 3.2.6).
func (s Side) refresh(old, msg *series, in *Incoming) (Result, error) {
	var list notices
	for _, id := range msg.order {
		for _, asks := range msg.parts[id].Attendees() {
			for _, who := range s.invited(old) {
				if s.canon(who.Address) != s.canon(asks.Address) || !s.sentBy(in, who) {
					continue
				}
				n := s.request(Update, old, who, func(e *series, id string) bool {
					return s.attendee(e.parts[id], who.Address) != nil && !cancelled(e.parts[id])
				})
				if len(list) == 0 {
					list.add(n)
				}
			}
		}
	}
	r := Result{Messages: s.write(list, old, old), Why: "refresh"}
	for i := range r.Messages {
		r.Messages[i].Automatic = true
	}
	return r, nil
}

// Proposed are the times that an attendee proposed, as noted in the organizer's
// copy; false when there are none.
func Proposed(p *ical.Property) (from, to time.Time, ok bool) {
	from, err1 := time.Parse(utcForm, p.ParamText(paramFrom))
	to, err2 := time.Parse(utcForm, p.ParamText(paramTo))
	return from, to, err1 == nil && err2 == nil
}
