package itip

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/ical"
)

// Change is what a change of one's own copy means. Either text may be nil: there
// was none, or it goes.
func (s Side) Change(oldText, newText []byte) (Result, error) {
	old, err := s.open(oldText)
	if err != nil {
		old = nil // what was there makes no sense: the new one is the first
	}
	now, err := s.open(newText)
	if err != nil {
		return Result{}, err
	}
	switch {
	case now == nil && old == nil:
		return Result{}, nil
	case now == nil:
		return s.removed(old), nil
	}
	if old != nil && old.uid != now.uid {
		old = nil
	}
	organizer, organized := now.organizer()
	if !organized && old != nil {
		organizer, organized = old.organizer()
	}
	was := old != nil && s.meeting(old)
	switch {
	case organized && s.Mine(organizer.Address), !organized && s.meeting(now):
		if !s.meeting(now) && !was {
			return Result{Text: now.text(), Why: "no meeting"}, nil
		}
		return s.organized(old, now), nil
	case organized:
		return s.attended(old, now), nil
	}
	return Result{Text: now.text(), Why: "no meeting"}, nil
}

// removed is what the others are told when a copy goes.
func (s Side) removed(old *series) Result {
	r := Result{Remove: true, Why: "removed"}
	organizer, organized := old.organizer()
	if !organized || old.over(s.Now) {
		return r
	}
	if !s.Mine(organizer.Address) {
		r.Messages = s.declineAll(old)
		return r
	}
	if !byServer(organizerOf(old)) {
		return r
	}
	gone := old.clone(s)
	s.claim(nil, gone)
	for _, id := range gone.order {
		setSequence(gone.parts[id], old.newest()+1)
	}
	var list notices
	for _, who := range s.invited(old) {
		list.add(s.cancelAll(gone, who))
	}
	r.Messages = s.write(list, gone, gone)
	return r
}

// organized is a change by the organizer.
func (s Side) organized(old, now *series) Result {
	s.claim(old, now)
	for _, id := range now.order {
		s.expand(now.parts[id])
	}
	s.unmoor(old, now)
	before := map[string]*ical.Component{}
	for _, id := range now.order {
		before[id] = old.before(id)
	}
	s.revise(old, now, before)
	var list notices
	if byServer(organizerOf(now)) {
		for _, who := range s.invited(old, now) {
			for _, n := range s.plan(old, now, before, who) {
				list.add(n)
			}
		}
	}
	r := Result{Why: "organized"}
	if !s.Quiet {
		r.Messages = s.write(list, old, now)
	}
	for _, n := range list {
		for _, who := range n.to {
			for _, id := range now.order {
				if p := s.attendee(now.parts[id], who.Address); p != nil {
					p.SetParam("SCHEDULE-STATUS", "1.1") // RFC 6638 section 7.3: sent, no more is known
				}
			}
		}
	}
	for _, id := range now.order {
		for _, p := range now.parts[id].All("ATTENDEE") {
			p.SetParam("SCHEDULE-FORCE-SEND")
		}
	}
	r.Text = now.text()
	return r
}

// unmoor drops instances that differ from their series by somebody's answer alone
// when the series moves away from under them.
func (s Side) unmoor(old, now *series) {
	if old == nil || old.master == nil || now.master == nil || old.when(old.master) == now.when(now.master) {
		return
	}
	for _, id := range slices.Clone(now.order) {
		c := now.parts[id]
		if id == "" || old.parts[id] == nil || cancelled(c) {
			continue
		}
		if _, err := now.instance(id); err == nil {
			continue
		}
		if was, err := old.instance(id); err == nil && !s.differs(old, now, was, c) {
			now.drop(id)
		}
	}
}

// claim names the organizer in every component, and who acts for it.
func (s Side) claim(old, now *series) {
	who, ok := now.organizer()
	if !ok && old != nil {
		who, ok = old.organizer()
	}
	if !ok {
		who = ical.Person{Address: s.Address, Name: s.Name}
	}
	who.SentBy = s.sender()
	for _, id := range now.order {
		c := now.parts[id]
		p := c.Prop("ORGANIZER")
		if p == nil {
			p = &ical.Property{Name: "ORGANIZER"}
			c.Properties = append(c.Properties, p)
		}
		who.Write(p)
	}
}

// expand invites the people of a group beside it (RFC 5545 section 3.2.11).
func (s Side) expand(c *ical.Component) {
	for _, p := range c.All("ATTENDEE") {
		group := ical.ParsePerson(p)
		members := s.Members[s.canon(group.Address)]
		if len(members) == 0 || s.expanded(c, group.Address) {
			continue
		}
		group.Type, group.RSVP = "GROUP", false
		group.Write(p)
		organizer, _ := c.Organizer()
		for _, m := range members {
			if s.attendee(c, m.Address) != nil || s.canon(m.Address) == s.canon(organizer.Address) {
				continue
			}
			one := &ical.Property{Name: "ATTENDEE"}
			ical.Person{Address: m.Address, Name: m.Name, Role: group.Role, Status: NeedsAction, RSVP: true}.Write(one)
			one.SetParam("MEMBER", "mailto:"+group.Address)
			c.Properties = append(c.Properties, one)
		}
	}
}

// expanded tells whether the members of a group are invited one by one.
func (s Side) expanded(c *ical.Component, group string) bool {
	for _, p := range c.All("ATTENDEE") {
		if member := p.Param("MEMBER"); member != nil {
			for _, v := range member.Values {
				if len(v) > 7 && strings.EqualFold(v[:7], "mailto:") && s.canon(v[7:]) == s.canon(group) {
					return true
				}
			}
		}
	}
	return false
}

// before is a component as it was: an instance that was like its series too.
func (e *series) before(id string) *ical.Component {
	if e == nil {
		return nil
	}
	if c := e.parts[id]; c != nil || e.master == nil || id == "" {
		return c
	}
	c, err := e.instance(id)
	if err != nil {
		return nil
	}
	return c
}

// revise gives changed components their SEQUENCE and DTSTAMP, and takes back
// answers that were given to another time.
func (s Side) revise(old, now *series, before map[string]*ical.Component) {
	was, is := old.excluded(), now.excluded()
	reverted := false // an instance is like its series again
	if old != nil {
		for _, id := range old.order {
			reverted = reverted || now.parts[id] == nil && !is[id]
		}
	}
	for _, id := range now.order {
		c, prev := now.parts[id], before[id]
		base := 0
		switch {
		case prev != nil:
			base = sequence(prev)
		case now.master != nil && id != "":
			base = sequence(now.master)
		}
		moved, changed, uninvited := false, prev == nil, false
		if prev != nil {
			moved = old.when(prev) != now.when(c) && !cancelled(c)
			changed = moved || what(prev) != what(c) || s.whom(prev) != s.whom(c)
			for _, who := range prev.Attendees() {
				uninvited = uninvited || s.attendee(c, who.Address) == nil
			}
		}
		excluded := id == "" && old != nil && !sameKeys(was, is)
		// RFC 5546 section 2.1.4. An attendee who is told of a removal and invited
		// again needs the numbers to grow too.
		if prev != nil && (moved || excluded || uninvited || reverted && id == "" || cancelled(prev) != cancelled(c)) {
			base++
			if id == "" { // what is said of all is newer than what was said of any instance
				base = max(base, old.newest()+1)
			}
		}
		setSequence(c, max(sequence(c), base))
		if prev != nil {
			if asked := prev.Prop(askedName); asked != nil && c.Prop(askedName) == nil {
				c.Put(asked.Clone())
			}
		}
		switch {
		case s.Quiet:
			c.Remove(askedName)
		case moved:
			c.SetValue(askedName, strconv.Itoa(sequence(c)))
		}
		if changed || excluded || moved || c.Prop("DTSTAMP") == nil {
			at := s.Now
			if prev != nil {
				at = after(at, old.stamp(prev))
			}
			c.SetTime("DTSTAMP", ical.UTCTime(at))
		}
		for _, p := range c.All("ATTENDEE") {
			who := ical.ParsePerson(p)
			had := s.attendee(prev, who.Address)
			added := had == nil
			if !added {
				who = remember(p, had)
			}
			if s.Mine(who.Address) || who.Type == "GROUP" || !moved && !added {
				continue
			}
			// RFC 6638 section 3.2.8; for who is new, nothing was answered yet.
			if who.Status != Delegated || moved {
				who.Status, who.SentBy = NeedsAction, ""
			}
			// Whoever was never asked to answer is not asked now.
			who.RSVP = who.RSVP || p.Param("RSVP") == nil && who.Role != "NON-PARTICIPANT"
			who.Write(p)
			for _, name := range []string{paramReplied, paramFrom, paramTo} {
				p.SetParam(name)
			}
		}
	}
}

// remember keeps our notes on an attendee, which programs may leave out, and the
// answer that it gave: a program that has not heard of it writes what was before.
func remember(p, had *ical.Property) ical.Person {
	for _, name := range []string{paramReplied, paramFrom, paramTo, "SCHEDULE-STATUS"} {
		if param := had.Param(name); param != nil && p.Param(name) == nil {
			p.SetParam(name, param.Values...)
		}
	}
	who := ical.ParsePerson(p)
	switch was := ical.ParsePerson(had); {
	case had.Param(paramReplied) != nil && statusOf(p) == NeedsAction:
		who.Status, who.RSVP = was.Status, false
	case p.Param("PARTSTAT") == nil:
		who.Status, who.RSVP = was.Status, was.RSVP
	}
	who.Write(p)
	return who
}

// after makes a stamp that is newer than another: of two changes in a second the
// second one counts.
func after(now, known time.Time) time.Time {
	if now = now.UTC().Truncate(time.Second); now.After(known) {
		return now
	}
	return known.UTC().Add(time.Second)
}

func sameKeys(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// byServer tells whether we are to send the messages (RFC 6638 section 7.1).
func byServer(p *ical.Property) bool {
	if p == nil {
		return true
	}
	agent := p.ParamText("SCHEDULE-AGENT")
	return agent == "" || strings.EqualFold(agent, "SERVER")
}

func organizerOf(e *series) *ical.Property {
	for _, id := range e.order {
		if p := e.parts[id].Prop("ORGANIZER"); p != nil {
			return p
		}
	}
	return nil
}

// invited lists whom messages go to, each once: who can be told by mail and is
// told by us.
func (s Side) invited(all ...*series) []ical.Person {
	var list []ical.Person
	seen := map[string]bool{}
	for _, e := range slices.Backward(all) {
		if e == nil {
			continue
		}
		organizer, _ := e.organizer()
		for _, id := range e.order {
			for _, p := range e.parts[id].All("ATTENDEE") {
				who := ical.ParsePerson(p)
				key := s.canon(who.Address)
				if seen[key] || s.Mine(who.Address) || key == s.canon(organizer.Address) || !addressable(who) || !byServer(p) ||
					s.expanded(e.parts[id], who.Address) {
					continue
				}
				seen[key] = true
				list = append(list, who)
			}
		}
	}
	return list
}

// notice is one message before it is written.
type notice struct {
	kind    Kind
	method  string
	ids     []string // the instances that it has
	without []string // those that it takes out of the series
	whole   bool     // of a cancellation: for everybody
	to      []ical.Person
}

type notices []notice

// add puts people who are told the same into one message.
func (l *notices) add(n notice) {
	if len(n.ids) == 0 {
		return
	}
	for i := range *l {
		have := &(*l)[i]
		if have.kind == n.kind && have.method == n.method && have.whole == n.whole &&
			slices.Equal(have.ids, n.ids) && slices.Equal(have.without, n.without) {
			have.to = append(have.to, n.to...)
			return
		}
	}
	*l = append(*l, n)
}

// plan is what one who is or was invited is told.
func (s Side) plan(old, now *series, before map[string]*ical.Component, who ical.Person) []notice {
	in := func(e *series, id string) bool {
		return e != nil && s.attendee(e.parts[id], who.Address) != nil && !cancelled(e.parts[id])
	}
	anywhere := func(e *series) bool {
		return e != nil && slices.ContainsFunc(e.order, func(id string) bool { return in(e, id) })
	}
	was, is := anywhere(old), anywhere(now)
	forced := s.forced(now, who)
	switch {
	case !was && !is:
		return nil
	case !was || forced && is:
		kind := Invitation
		if was {
			kind = Update
		}
		return []notice{s.request(kind, now, who, in)}
	case !is:
		n := s.cancelAll(old, who)
		n.whole = cancelled(now.master) && s.attendee(now.master, who.Address) != nil
		return []notice{n}
	}
	switch oldAll, newAll := in(old, ""), in(now, ""); {
	case newAll && !oldAll:
		return []notice{s.request(Update, now, who, in)}
	case oldAll && !newAll:
		return []notice{
			{kind: Cancellation, method: "CANCEL", ids: []string{""}, to: []ical.Person{who}},
			s.request(Update, now, who, in),
		}
	case newAll && s.reshaped(old, now):
		return []notice{s.request(Update, now, who, in)}
	}
	// The series is as it was: only instances.
	gone := notice{kind: Cancellation, method: "CANCEL", whole: true, to: []ical.Person{who}}
	out := notice{kind: Cancellation, method: "CANCEL", to: []ical.Person{who}}
	changed := notice{kind: Update, method: "REQUEST", to: []ical.Person{who}}
	took := old.excluded()
	for _, id := range sortedKeys(now.excluded()) {
		if !took[id] && (in(old, id) || old.parts[id] == nil && in(old, "")) {
			gone.ids = append(gone.ids, id)
		}
	}
	for _, id := range now.order {
		prev, c := before[id], now.parts[id]
		had := prev != nil && s.attendee(prev, who.Address) != nil && !cancelled(prev)
		switch {
		case id == "":
		case had && cancelled(c) && s.attendee(c, who.Address) != nil:
			gone.ids = append(gone.ids, id)
		case had && !in(now, id):
			out.ids = append(out.ids, id)
		case in(now, id) && (!had || s.differs(old, now, prev, c)):
			changed.ids = append(changed.ids, id)
		}
	}
	if old.master == nil {
		for _, id := range old.order {
			if now.parts[id] == nil && in(old, id) {
				gone.ids = append(gone.ids, id)
			}
		}
	}
	return []notice{gone, out, changed}
}

func sortedKeys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func (s Side) differs(old, now *series, prev, c *ical.Component) bool {
	return old.when(prev) != now.when(c) || what(prev) != what(c) || s.whom(prev) != s.whom(c)
}

// reshaped tells whether the series itself changed, or an instance became like
// it again, so that only the whole says what is now.
func (s Side) reshaped(old, now *series) bool {
	if s.differs(old, now, old.master, now.master) {
		return true
	}
	is := now.excluded()
	for id := range old.excluded() {
		if !is[id] && now.parts[id] == nil {
			return true
		}
	}
	for _, id := range old.order {
		if now.parts[id] == nil && !is[id] {
			return true
		}
	}
	return false
}

// forced tells whether the organizer's program asks for the message to be sent
// again (RFC 6638 section 7.2).
func (s Side) forced(now *series, who ical.Person) bool {
	for _, id := range now.order {
		if p := s.attendee(now.parts[id], who.Address); p != nil && strings.EqualFold(p.ParamText("SCHEDULE-FORCE-SEND"), "REQUEST") {
			return true
		}
	}
	return false
}

// request is everything that one is invited to.
func (s Side) request(kind Kind, now *series, who ical.Person, in func(*series, string) bool) notice {
	n := notice{kind: kind, method: "REQUEST", to: []ical.Person{who}}
	all := in(now, "")
	for _, id := range now.order {
		switch {
		case in(now, id):
			n.ids = append(n.ids, id)
		case all:
			n.without = append(n.without, id)
		}
	}
	return n
}

// cancelAll takes everything back that one was invited to.
func (s Side) cancelAll(old *series, who ical.Person) notice {
	n := notice{kind: Cancellation, method: "CANCEL", whole: true, to: []ical.Person{who}}
	if s.attendee(old.master, who.Address) != nil && !cancelled(old.master) {
		n.ids = []string{""}
		return n
	}
	for _, id := range old.order {
		if s.attendee(old.parts[id], who.Address) != nil && !cancelled(old.parts[id]) {
			n.ids = append(n.ids, id)
		}
	}
	return n
}
