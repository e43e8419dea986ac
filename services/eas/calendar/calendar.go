// Package calendar says appointments and tasks in the words of ActiveSync's
// Calendar and Tasks classes (MS-ASCAL, MS-ASTASK) and of iCalendar, and carries a
// change of the one into the other. It does no I/O and knows no WBXML.
//
// Its law: the iCalendar text is the truth. Read gives what ActiveSync has words
// for; Write changes only what differs from what Read would give, so that what a
// phone never heard of survives its edits.
package calendar

import (
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/recur"
	"waypost/internal/zone"
)

// Appointment is an item of the class, or one exception of a series.
type Appointment struct {
	UID        string
	Zone       zone.Info // of the series; of a day, the reader's
	Stamp      time.Time
	Start, End time.Time // of a whole day: midnights where the reader is
	AllDay     bool
	Subject    string
	Location   string
	Body       string // plain text
	Categories []string
	Busy       int // 0 free, 1 tentative, 2 busy, 3 away, 4 working elsewhere
	Sensitive  int // 0 normal, 2 private, 3 confidential; 1 (personal) is written as private
	Reminder   int // minutes before; -1: none
	Meeting    int // bits: 1 a meeting, 2 received, 4 cancelled
	Organizer  Person
	Attendees  []Attendee
	// Proposed are the times that attendees proposed, by their address in lower
	// case; only told, never written.
	Proposed   map[string]Proposal
	Respond    bool // answers are asked for
	NoCounter  bool // and no other times
	Online     Online
	Replied    time.Time // when one's own answer was given; only read
	Response   int       // 0 none, 1 organizer, 2 tentative, 3 accepted, 4 declined, 5 not answered; only read
	Recurrence *Recurrence
	Exceptions []Exception
	// Partial says that the series has more than ActiveSync can say (a rule of
	// another kind, or added dates). Then Recurrence is nil, or does not say all,
	// and Write leaves the series' rules as they are.
	Partial bool
}

// Online is where a meeting is on the network; only read.
type Online struct {
	Conference string // of the organization's own system
	Link       string // for everybody
}

// Person is a name and a mail address.
type Person struct{ Name, Email string }

// Attendee is somebody invited.
type Attendee struct {
	Person
	Status int // 0 unknown, 2 tentative, 3 accepted, 4 declined, 5 not answered
	Type   int // 1 required, 2 optional, 3 resource
}

// Proposal is another time that an attendee proposed.
type Proposal struct{ Start, End time.Time }

// Exception is an instance of a series that is not like the others.
type Exception struct {
	Original time.Time // when the instance would have begun
	Deleted  bool
	Changed  *Appointment // whole, unless Deleted; without Recurrence and Exceptions
}

// Side is who reads and writes, when and with which zones.
type Side struct {
	Zones *ical.Zones
	Me    string    // the mailbox's address
	Now   time.Time // a series' zone is described as it is now
	// Proposed reads the time that an attendee proposed; nil: nobody did.
	Proposed func(attendee *ical.Property) (from, to time.Time, ok bool)
}

// Read says an appointment in ActiveSync's words. parts are the components of one
// UID.
func (s Side) Read(parts []*ical.Component) (*Appointment, error) {
	zones := s.Zones
	set := ical.NewSet(parts, zones)
	if set.Master == nil {
		if len(parts) == 0 {
			return nil, fault.New(fault.Invalid, "an appointment without components")
		}
		// An instance alone, to which one was invited.
		return s.read(parts[0])
	}
	a, err := s.read(set.Master)
	if err != nil {
		return nil, err
	}
	s.readSeries(a, set)
	a.Zone = zone.InfoOf(a.Start.Location(), s.year(a))
	for _, ex := range a.Exceptions {
		if ex.Changed != nil {
			ex.Changed.Zone = a.Zone
		}
	}
	return a, nil
}

// year is the one whose rules describe the zone of an appointment: its own, and
// for a series the present one as far as the series reaches.
func (s Side) year(a *Appointment) int {
	year := a.Start.Year()
	if a.Recurrence != nil || a.Partial {
		year = max(year, s.Now.Year())
	}
	if a.Recurrence != nil && !a.Recurrence.Until.IsZero() {
		year = max(min(year, a.Recurrence.Until.Year()), a.Start.Year())
	}
	return year
}

// read reads one component by itself.
func (s Side) read(c *ical.Component) (*Appointment, error) {
	zones := s.Zones
	start, end, err := ical.Span(c, zones)
	if err != nil {
		return nil, err
	}
	a := &Appointment{
		UID: c.Text("UID"), Start: start.At, End: end.At, AllDay: start.Time.Date,
		Zone:    zone.InfoOf(start.At.Location(), start.At.Year()),
		Subject: c.Text("SUMMARY"), Location: c.Text("LOCATION"), Body: c.Text("DESCRIPTION"),
		Categories: c.List("CATEGORIES"), Reminder: -1,
		NoCounter: strings.EqualFold(c.Text("X-MICROSOFT-DISALLOW-COUNTER"), "TRUE"),
	}
	if stamp, err := c.Time("DTSTAMP"); err == nil && !stamp.IsZero() {
		a.Stamp, _ = zones.Instant(stamp)
	}
	a.Busy, a.Sensitive, a.Online = busy(c), sensitive(c), online(c)
	if t, err := c.Time("X-MICROSOFT-CDO-REPLYTIME"); err == nil && !t.IsZero() {
		a.Replied, _ = zones.Instant(t)
	}
	if before, ok := c.Reminder(); ok {
		a.Reminder = int(before / time.Minute)
	}
	s.readPeople(a, c)
	return a, nil
}

// online reads the links as Exchange, RFC 7986 and others write them.
func online(c *ical.Component) Online {
	o := Online{Conference: c.Text("X-MICROSOFT-ONLINEMEETINGCONFLINK")}
	for _, name := range []string{"X-MICROSOFT-ONLINEMEETINGEXTERNALLINK", "X-MICROSOFT-SKYPETEAMSMEETINGURL", "CONFERENCE", "X-GOOGLE-CONFERENCE"} {
		if v := strings.TrimSpace(c.Text(name)); strings.HasPrefix(v, "https:") || strings.HasPrefix(v, "http:") {
			o.Link = v
			break
		}
	}
	return o
}

var busyWords = []string{"FREE", "TENTATIVE", "BUSY", "OOF", "WORKINGELSEWHERE"}

func busy(c *ical.Component) int {
	if i := slices.Index(busyWords, strings.ToUpper(c.Text("X-MICROSOFT-CDO-BUSYSTATUS"))); i >= 0 {
		return i
	}
	switch {
	case strings.EqualFold(c.Text("TRANSP"), "TRANSPARENT"):
		return 0
	case strings.EqualFold(c.Text("STATUS"), "TENTATIVE"):
		return 1
	}
	return 2
}

func sensitive(c *ical.Component) int {
	switch strings.ToUpper(c.Text("CLASS")) {
	case "", "PUBLIC":
		return 0
	case "CONFIDENTIAL":
		return 3
	}
	return 2 // RFC 5545 section 3.8.1.3: what is not known is private
}

var statuses = []struct {
	status   int
	partstat string
}{{3, "ACCEPTED"}, {2, "TENTATIVE"}, {4, "DECLINED"}, {5, "NEEDS-ACTION"}}

func statusOf(partstat string) int {
	for _, s := range statuses {
		if s.partstat == partstat {
			return s.status
		}
	}
	return 5 // delegated, for example: no answer of one's own
}

func typeOf(who ical.Person) int {
	switch {
	case who.Type == "RESOURCE", who.Type == "ROOM":
		return 3
	case who.Role == "OPT-PARTICIPANT", who.Role == "NON-PARTICIPANT":
		return 2
	}
	return 1
}

func (s Side) proposal(p *ical.Property) (from, to time.Time, ok bool) {
	if s.Proposed == nil {
		return from, to, false
	}
	return s.Proposed(p)
}

func (s Side) readPeople(a *Appointment, c *ical.Component) {
	me := s.Me
	organizer, organized := c.Organizer()
	a.Organizer = Person{organizer.Name, organizer.Address}
	mine := !organized || strings.EqualFold(organizer.Address, me)
	for _, who := range c.Attendees() {
		if strings.EqualFold(who.Address, me) && !mine {
			a.Response = statusOf(who.Status)
			a.Respond = who.RSVP
		}
		if !strings.Contains(who.Address, "@") || strings.EqualFold(who.Address, organizer.Address) {
			continue // clients drop the first and show the second twice
		}
		a.Respond = a.Respond || mine && who.RSVP
		a.Attendees = append(a.Attendees, Attendee{Person{who.Name, who.Address}, statusOf(who.Status), typeOf(who)})
		if from, to, ok := s.proposal(c.Attendee(who.Address)); ok && mine {
			if a.Proposed == nil {
				a.Proposed = map[string]Proposal{}
			}
			a.Proposed[strings.ToLower(who.Address)] = Proposal{from, to}
		}
	}
	if len(a.Attendees) > 0 || organized && !mine {
		a.Meeting = 1
		if !mine {
			a.Meeting |= 2
		} else {
			a.Response = 1
		}
		if strings.EqualFold(c.Text("STATUS"), "CANCELLED") {
			a.Meeting |= 4
		}
	}
}

// readSeries reads rule, dates and overrides.
func (s Side) readSeries(a *Appointment, set *ical.Set) {
	c := set.Master
	rules := c.All("RRULE")
	a.Partial = len(rules) > 1 || len(c.All("RDATE"))+len(c.All("EXRULE")) > 0
	if len(rules) == 0 {
		return
	}
	if rule, err := recur.Parse(rules[0].Value); err == nil {
		if r, ok := fromRule(rule, wallOf(a.Start)); ok {
			r.Until = set.UntilOf(rule)
			a.Recurrence = &r
		}
	}
	if a.Recurrence == nil {
		a.Partial = true
		return
	}
	for _, at := range set.Excluded() {
		a.Exceptions = append(a.Exceptions, Exception{Original: at, Deleted: true})
	}
	for _, o := range set.Overrides() {
		changed, err := s.read(o.Component)
		if err != nil {
			a.Partial = true
			continue
		}
		a.Exceptions = append(a.Exceptions, Exception{Original: o.At, Changed: changed})
		a.Partial = a.Partial || o.Future
	}
	slices.SortStableFunc(a.Exceptions, func(x, y Exception) int { return x.Original.Compare(y.Original) })
}

func wallOf(t time.Time) time.Time { return zone.Wall(t, t.Location()) }
