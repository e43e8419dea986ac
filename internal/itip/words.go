package itip

import (
	"fmt"
	"html"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/recur"
)

// Subject is the mail's subject.
func (m *Message) Subject() string {
	c := m.first()
	title := strings.Join(strings.Fields(c.Text("SUMMARY")), " ")
	if title == "" {
		title = "(no title)"
	}
	switch m.Kind {
	case Update:
		return "Updated: " + title
	case Cancellation:
		return "Cancelled: " + title
	case Proposal:
		return "New time proposed: " + title
	case ProposalDeclined:
		return "Proposed time declined: " + title
	case Reply:
		switch m.status() {
		case Accepted:
			return "Accepted: " + title
		case Declined:
			return "Declined: " + title
		case Tentative:
			return "Tentative: " + title
		}
		return "Answer: " + title
	}
	return title
}

func (m *Message) first() *ical.Component { return m.Calendar.Parts(names...)[0] }

// status is the answer that a reply gives.
func (m *Message) status() string {
	for _, who := range m.first().Attendees() {
		return who.Status
	}
	return ""
}

func called(p Person) string {
	if p.Name != "" {
		return p.Name
	}
	return p.Address
}

// words are what a person reads.
func (m *Message) words() (plain, page string) {
	c := m.first()
	who := called(m.From)
	var say string
	switch m.Kind {
	case Invitation:
		say = who + " invites you."
	case Update:
		say = who + " has changed the meeting."
	case Cancellation:
		if cancelled(c) {
			say = who + " has cancelled the meeting."
		} else {
			say = who + " has taken you off the list of those invited."
		}
	case Proposal:
		say = who + " proposes another time."
	case ProposalDeclined:
		say = who + " keeps the time of the meeting."
	case Question:
		say = who + " asks for the newest version of the meeting."
	default:
		switch m.status() {
		case Accepted:
			say = who + " accepts."
		case Declined:
			say = who + " declines."
		case Tentative:
			say = who + " comes perhaps."
		case Delegated:
			say = who + " sends somebody else."
		default:
			say = who + " has answered."
		}
	}
	if m.Sender != "" {
		say += " (Sent by " + m.Sender + ".)"
	}
	type row struct{ name, value string }
	var rows []row
	add := func(name, value string) {
		if value = strings.TrimSpace(value); value != "" {
			rows = append(rows, row{name, value})
		}
	}
	add("What", c.Text("SUMMARY"))
	zones := ical.ZonesOf(m.Calendar, nil)
	for i, one := range m.Calendar.Parts(names...) {
		if i == 0 || one.Prop("RECURRENCE-ID") != nil && c.Prop("RECURRENCE-ID") != nil && i < 20 {
			add("When", when(one, zones))
		}
	}
	add("Where", c.Text("LOCATION"))
	if m.Kind == Invitation || m.Kind == Update {
		var names []string
		for _, p := range c.Attendees() {
			if len(names) == 30 {
				names = append(names, "…")
				break
			}
			names = append(names, called(Person{p.Address, p.Name}))
		}
		add("Who", strings.Join(names, ", "))
	}
	var b, h strings.Builder
	b.WriteString(say + "\n\n")
	h.WriteString("<html><body><p>" + html.EscapeString(say) + "</p><table>")
	if m.Comment != "" {
		b.WriteString(m.Comment + "\n\n")
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "%s: %s\n", r.name, strings.ReplaceAll(r.value, "\n", "\n  "))
		fmt.Fprintf(&h, "<tr><td>%s:</td><td>%s</td></tr>", r.name, lines(r.value))
	}
	h.WriteString("</table>")
	if m.Comment != "" {
		h.WriteString("<p>" + lines(m.Comment) + "</p>")
	}
	if m.Kind == Invitation || m.Kind == Update {
		if text := strings.TrimSpace(c.Text("DESCRIPTION")); text != "" {
			b.WriteString("\n" + text + "\n")
			h.WriteString("<p>" + lines(text) + "</p>")
		}
	}
	h.WriteString("</body></html>\n")
	return b.String(), h.String()
}

func lines(text string) string {
	return strings.ReplaceAll(html.EscapeString(text), "\n", "<br>")
}

const (
	dayForm   = "Monday, 2 January 2006"
	clockForm = "15:04"
)

// when says when a component is, in its own zone.
func when(c *ical.Component, zones *ical.Zones) string {
	start, end, err := ical.Span(c, zones)
	if err != nil {
		return ""
	}
	from, to := start.Time.Wall, end.Time.Wall
	var text string
	switch {
	case start.Time.Date:
		text = from.Format(dayForm)
		if last := to.AddDate(0, 0, -1); last.After(from) {
			text += " to " + last.Format(dayForm)
		}
		text += " (all day)"
	default:
		text = from.Format(dayForm + ", " + clockForm)
		switch {
		case to.Equal(from):
		case to.Truncate(24 * time.Hour).Equal(from.Truncate(24 * time.Hour)):
			text += " to " + to.Format(clockForm)
		default:
			text += " to " + to.Format(dayForm+", "+clockForm)
		}
		switch {
		case start.Time.UTC:
			text += " (UTC)"
		case start.Time.TZID != "":
			text += " (" + start.At.Location().String() + ")"
		}
	}
	if p := c.Prop("RRULE"); p != nil {
		text += ", " + repeats(p.Value)
	}
	return text
}

var every = map[recur.Freq][2]string{
	recur.Yearly: {"year", "years"}, recur.Monthly: {"month", "months"}, recur.Weekly: {"week", "weeks"}, recur.Daily: {"day", "days"},
}

// repeats says a rule in a few words; what needs many is in the calendar.
func repeats(value string) string {
	rule, err := recur.Parse(value)
	if err != nil || every[rule.Freq][0] == "" {
		return "repeating"
	}
	text := "every " + every[rule.Freq][0]
	if rule.Interval > 1 {
		text = fmt.Sprintf("every %d %s", rule.Interval, every[rule.Freq][1])
	}
	if rule.Freq == recur.Weekly && len(rule.ByDay) > 0 {
		var days []string
		for _, d := range rule.ByDay {
			days = append(days, d.Weekday.String())
		}
		text += " on " + strings.Join(days, ", ")
	}
	switch {
	case rule.Count > 0:
		text += fmt.Sprintf(", %d times", rule.Count)
	case !rule.Until.Wall.IsZero():
		text += " until " + rule.Until.Wall.Format("2 January 2006")
	}
	return text
}
