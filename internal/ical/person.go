package ical

import (
	"slices"
	"strings"
)

// Person is an ATTENDEE or ORGANIZER (RFC 5545 section 3.8.4.1 and 3.8.4.3).
type Person struct {
	Address string // the mail address, or another URI as it is
	Name    string // CN
	Type    string // CUTYPE: INDIVIDUAL, GROUP, RESOURCE, ROOM; empty: INDIVIDUAL
	Role    string // CHAIR, REQ-PARTICIPANT, OPT-PARTICIPANT, NON-PARTICIPANT; empty: required
	Status  string // PARTSTAT: NEEDS-ACTION, ACCEPTED, DECLINED, TENTATIVE, DELEGATED; empty: NEEDS-ACTION
	RSVP    bool
	SentBy  string   // who acts for the person
	To      []string // DELEGATED-TO
	From    []string // DELEGATED-FROM
	// Mail is EMAIL where Address is another one, as iCloud has it: whence the
	// person's mail comes. It is only read.
	Mail string
}

// address takes mailto: off.
func address(uri string) string {
	uri = strings.TrimSpace(uri)
	if len(uri) >= 7 && strings.EqualFold(uri[:7], "mailto:") {
		return strings.TrimSpace(uri[7:])
	}
	return uri
}

func uri(address string) string {
	if strings.Contains(address, ":") || !strings.Contains(address, "@") {
		return address
	}
	return "mailto:" + address
}

// ParsePerson reads the property. Where the value is no address, EMAIL has it
// (RFC 7986 section 6.2).
func ParsePerson(p *Property) Person {
	who := Person{
		Address: address(p.Value),
		Name:    p.ParamText("CN"),
		Type:    strings.ToUpper(p.ParamText("CUTYPE")),
		Role:    strings.ToUpper(p.ParamText("ROLE")),
		Status:  strings.ToUpper(p.ParamText("PARTSTAT")),
		RSVP:    strings.EqualFold(p.ParamText("RSVP"), "TRUE"),
		SentBy:  address(p.ParamText("SENT-BY")),
		To:      addresses(p.Param("DELEGATED-TO")),
		From:    addresses(p.Param("DELEGATED-FROM")),
	}
	switch email := address(p.ParamText("EMAIL")); {
	case !strings.Contains(who.Address, "@") && email != "":
		who.Address = email
	case !strings.EqualFold(email, who.Address):
		who.Mail = email
	}
	return who
}

func addresses(param *Param) []string {
	if param == nil {
		return nil
	}
	var all []string
	for _, v := range param.Values {
		all = append(all, address(v))
	}
	return all
}

func (who Person) equal(other Person) bool {
	return who.Address == other.Address && who.Name == other.Name && who.Type == other.Type && who.Role == other.Role &&
		who.Status == other.Status && who.RSVP == other.RSVP && who.SentBy == other.SentBy &&
		slices.Equal(who.To, other.To) && slices.Equal(who.From, other.From)
}

// Write changes the property to say what who says; parameters that Person has no
// word for stay, and what says the same is not touched.
func (who Person) Write(p *Property) {
	old := ParsePerson(p)
	if old.equal(who) {
		return
	}
	set := func(name, was, now string) {
		switch {
		case was == now:
		case now == "":
			p.SetParam(name)
		default:
			p.SetParam(name, now)
		}
	}
	if old.Address != who.Address {
		p.Value = uri(who.Address)
		p.SetParam("EMAIL")
	}
	set("CN", old.Name, who.Name)
	set("CUTYPE", old.Type, who.Type)
	set("ROLE", old.Role, who.Role)
	set("PARTSTAT", old.Status, who.Status)
	if old.RSVP != who.RSVP {
		p.SetParam("RSVP")
		if who.RSVP {
			p.SetParam("RSVP", "TRUE")
		}
	}
	if old.SentBy != who.SentBy {
		set("SENT-BY", old.SentBy, uri(who.SentBy))
	}
	list := func(name string, was, now []string) {
		if slices.Equal(was, now) {
			return
		}
		uris := make([]string, len(now))
		for i, a := range now {
			uris[i] = uri(a)
		}
		p.SetParam(name, uris...)
	}
	list("DELEGATED-TO", old.To, who.To)
	list("DELEGATED-FROM", old.From, who.From)
}

// Attendees gives everybody who is invited.
func (c *Component) Attendees() []Person {
	var all []Person
	for _, p := range c.All("ATTENDEE") {
		all = append(all, ParsePerson(p))
	}
	return all
}

// Attendee finds the property of one who is invited, or nil. Mail addresses are
// compared without regard to case.
func (c *Component) Attendee(mail string) *Property {
	for _, p := range c.All("ATTENDEE") {
		if strings.EqualFold(ParsePerson(p).Address, address(mail)) {
			return p
		}
	}
	return nil
}

// SetAttendee changes or adds one who is invited.
func (c *Component) SetAttendee(who Person) {
	p := c.Attendee(who.Address)
	if p == nil {
		p = &Property{Name: "ATTENDEE"}
		c.Properties = append(c.Properties, p)
	}
	who.Write(p)
}

// RemoveAttendee takes one off the list.
func (c *Component) RemoveAttendee(mail string) {
	if gone := c.Attendee(mail); gone != nil {
		c.Properties = slices.DeleteFunc(c.Properties, func(p *Property) bool { return p == gone })
	}
}

// Organizer gives who invites; false when nobody does.
func (c *Component) Organizer() (Person, bool) {
	p := c.Prop("ORGANIZER")
	if p == nil {
		return Person{}, false
	}
	return ParsePerson(p), true
}
