package itip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/ical"
)

// post is a message on its way to one person.
type post struct {
	m  Message
	to string
}

// model is an organizer and its guests who change and answer at random, with mail
// that comes late, twice and in any order.
type model struct {
	*testing.T
	rnd    *rand.Rand
	now    time.Time
	copies map[string][]byte
	early  map[string][]byte // what was remembered without a copy
	mail   []post
	log    []string
}

func (m *model) side(name string) Side {
	p := everybody[name]
	return Side{Address: p.Address, Name: p.Name, Now: m.now}
}

func (m *model) take(name string, r Result, err error) {
	if err != nil {
		m.Fatalf("%s: %v\n%s", name, err, strings.Join(m.log, "\n"))
	}
	switch {
	case r.Remove:
		delete(m.copies, name)
	case r.Text != nil:
		m.copies[name] = r.Text
	case r.Remember != nil:
		m.early[name] = r.Remember
	}
	for _, msg := range r.Messages {
		for _, to := range msg.To {
			if n := nameOf(to.Address); n != "" {
				m.mail = append(m.mail, post{msg, n})
			}
		}
	}
}

func (m *model) deliver(p post) {
	in, err := ReadIncoming(p.m.Calendar.Append(nil), p.m.Method)
	if err != nil {
		m.Fatal(err)
	}
	in.From, in.Earlier = []string{p.m.From.Address}, m.early[p.to]
	r, err := m.side(p.to).Receive(m.copies[p.to], in)
	m.log = append(m.log, fmt.Sprintf("%s got %s: %s", p.to, brief(p.m.Calendar), r.Why))
	m.take(p.to, r, err)
}

// brief names a message's components and their numbers.
func brief(cal *ical.Component) string {
	text := cal.Text("METHOD")
	for _, c := range cal.Parts(names...) {
		text += fmt.Sprintf(" [%s %s-%s %s %s]", c.Text("RECURRENCE-ID"), c.Text("SEQUENCE"), c.Text("DTSTAMP"), c.Text("DTSTART"), c.Text("SUMMARY"))
	}
	return text
}

// change edits the organizer's copy as a program would.
func (m *model) change(what string, edit func(e *series) bool) {
	s := m.side("alice")
	e, err := s.open(m.copies["alice"])
	if err != nil || e == nil {
		return
	}
	if !edit(e) {
		return
	}
	m.log = append(m.log, "alice "+what)
	r, err := s.Change(m.copies["alice"], e.text())
	m.take("alice", r, err)
}

// instances are those that are left, by id.
func instances(e *series) map[string]ical.Occurrence {
	all := map[string]ical.Occurrence{}
	set := ical.NewSet(e.components(), e.zones)
	list, _ := set.List(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), 100)
	for _, o := range list {
		id := ""
		if !o.ID.IsZero() {
			id = e.id(o.ID)
		}
		if !cancelled(o.Component) {
			all[id] = o
		}
	}
	return all
}

func (m *model) step(recurs bool) {
	m.now = m.now.Add(time.Duration(m.rnd.IntN(3)) * 400 * time.Millisecond) // often within a second
	pick := func(e *series) (string, *ical.Component) {
		all := instances(e)
		ids := make([]string, 0, len(all))
		for id := range all {
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			return "", nil
		}
		slices.Sort(ids)
		id := ids[m.rnd.IntN(len(ids))]
		if e.parts[id] == nil {
			c, err := e.instance(id)
			if err != nil {
				return "", nil
			}
			e.put(id, c)
		}
		return id, e.parts[id]
	}
	later := func(c *ical.Component) {
		by := time.Duration(1+m.rnd.IntN(3)) * time.Hour
		for _, name := range []string{"DTSTART", "DTEND"} {
			t, _ := c.Time(name)
			t.Wall = t.Wall.Add(by)
			c.SetTime(name, t)
		}
	}
	guests := []string{"bob", "carol", "zoe"}
	guest := guests[m.rnd.IntN(len(guests))]
	address := everybody[guest].Address
	switch n := m.rnd.IntN(12); {
	case n == 0:
		m.change("moves all", func(e *series) bool {
			for _, id := range slices.Clone(e.order) {
				if id != "" {
					e.drop(id)
				}
			}
			e.master.Remove("EXDATE")
			later(e.master)
			return true
		})
	case n == 1:
		m.change("renames all", func(e *series) bool {
			e.master.SetText("SUMMARY", fmt.Sprint("name ", m.rnd.IntN(1000)))
			return true
		})
	case n == 2:
		m.change("invites or uninvites "+guest, func(e *series) bool {
			in := e.master.Attendee(address) != nil
			if in && len(e.master.Attendees()) < 3 {
				return false // somebody stays
			}
			for _, c := range e.parts {
				c.RemoveAttendee(address)
				if !in {
					c.SetAttendee(ical.Person{Address: address})
				}
			}
			return true
		})
	case n == 3 && recurs:
		m.change("moves one", func(e *series) bool {
			_, c := pick(e)
			if c != nil {
				later(c)
			}
			return c != nil
		})
	case n == 4 && recurs:
		m.change("renames one", func(e *series) bool {
			_, c := pick(e)
			if c != nil {
				c.SetText("SUMMARY", fmt.Sprint("one ", m.rnd.IntN(1000)))
			}
			return c != nil
		})
	case n == 5 && recurs:
		m.change("cancels one", func(e *series) bool {
			if len(instances(e)) < 3 {
				return false
			}
			id, c := pick(e)
			if c != nil {
				e.exclude(id)
			}
			return c != nil
		})
	case n < 9:
		if m.copies[guest] == nil {
			return
		}
		a := Answer{Status: []string{Accepted, Tentative}[m.rnd.IntN(2)]}
		s := m.side(guest)
		e, err := s.open(m.copies[guest])
		if err != nil || len(instances(e)) == 0 {
			return // nobody answers what is cancelled
		}
		if recurs && m.rnd.IntN(2) == 0 {
			for id := range instances(e) {
				if id != "" {
					a.At, _ = time.Parse(utcForm, id)
					break
				}
			}
		}
		m.log = append(m.log, fmt.Sprintf("%s answers %s %s", guest, a.Status, a.At.Format(utcForm)))
		r, err := s.Answer(m.copies[guest], a)
		m.take(guest, r, err)
	case len(m.mail) > 0:
		i := m.rnd.IntN(len(m.mail))
		m.deliver(m.mail[i])
		if m.rnd.IntN(3) > 0 { // else it comes again
			m.mail = slices.Delete(m.mail, i, i+1)
		}
	}
}

// settle delivers what is on its way, in any order, until nothing is.
func (m *model) settle() {
	for len(m.mail) > 0 {
		i := m.rnd.IntN(len(m.mail))
		p := m.mail[i]
		m.mail = slices.Delete(m.mail, i, i+1)
		m.deliver(p)
	}
}

// view is what somebody is to do when: its instances as a copy has them.
func (m *model) view(owner, guest string) []string {
	text := m.copies[owner]
	if text == nil {
		return nil
	}
	s := m.side(owner)
	e, err := s.open(text)
	if err != nil {
		m.Fatal(err)
	}
	var all []string
	for _, o := range instances(e) {
		p := m.side(guest).me(o.Component)
		if p == nil {
			continue
		}
		all = append(all, fmt.Sprintf("%s-%s %s", o.Start.UTC().Format(utcForm), o.End.UTC().Format(utcForm), o.Component.Text("SUMMARY")))
	}
	slices.Sort(all)
	return all
}

// TestModel: whatever was changed, and however mail came, in the end everybody
// has the meeting that the organizer has, and the organizer everybody's answer.
func TestModel(t *testing.T) {
	for seed := range uint64(400) {
		recurs := seed%2 == 1
		m := &model{T: t, rnd: rand.New(rand.NewPCG(seed, 5)), now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), copies: map[string][]byte{}, early: map[string][]byte{}}
		body := "BEGIN:VEVENT\nUID:u\nDTSTART:20270104T080000Z\nDTEND:20270104T090000Z\nSUMMARY:x\nATTENDEE:mailto:bob@example.test\nATTENDEE:mailto:carol@example.test\nATTENDEE:mailto:zoe@other.example\n"
		if recurs {
			body += "RRULE:FREQ=DAILY;COUNT=5\n"
		}
		r, err := m.side("alice").Change(nil, wrap(body+"END:VEVENT\n"))
		m.take("alice", r, err)
		if seed%4 > 1 { // else a cancellation may come before the invitation
			m.settle()
		}
		for range 25 {
			m.step(recurs)
		}
		m.settle()
		// Everybody answers what is there now, so that answers can be compared.
		for _, guest := range []string{"bob", "carol", "zoe"} {
			want, got := m.view("alice", guest), m.view(guest, guest)
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: %s has\n%s\nalice has\n%s\nafter\n%s\n%s\n%s", seed, guest, strings.Join(got, "\n"), strings.Join(want, "\n"),
					strings.Join(m.log, "\n"), m.copies["alice"], m.copies[guest])
				return
			}
		}
	}
}
