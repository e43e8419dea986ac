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
	t := tongueOf(m.Language)
	title := strings.Join(strings.Fields(m.first().Text("SUMMARY")), " ")
	if title == "" {
		title = t.untitled
	}
	if m.Kind == Reply {
		return strings.Replace(byStatus(t.answers, m.status()), "{title}", title, 1)
	}
	return strings.Replace(t.subjects[m.Kind], "{title}", title, 1)
}

// byStatus gives an answer's text, the one for all others where it has none.
func byStatus(texts map[string]string, status string) string {
	if text, ok := texts[status]; ok {
		return text
	}
	return texts[""]
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
	t := tongueOf(m.Language)
	c := m.first()
	say := t.says[m.Kind]
	switch {
	case m.Kind == Reply:
		say = byStatus(t.replies, m.status())
	case m.Kind == Cancellation && !cancelled(c):
		say = t.taken
	}
	say = strings.Replace(say, "{who}", called(m.From), 1)
	if m.Sender != "" {
		say += strings.Replace(t.sentBy, "{who}", m.Sender, 1)
	}
	type row struct{ name, value string }
	var rows []row
	add := func(name, value string) {
		if value = strings.TrimSpace(value); value != "" {
			rows = append(rows, row{name, value})
		}
	}
	add(t.what, c.Text("SUMMARY"))
	zones := ical.ZonesOf(m.Calendar, nil)
	for i, one := range m.Calendar.Parts(names...) {
		if i == 0 || one.Prop("RECURRENCE-ID") != nil && c.Prop("RECURRENCE-ID") != nil && i < 20 {
			add(t.when, t.span(one, zones))
		}
	}
	add(t.where, c.Text("LOCATION"))
	if m.Kind == Invitation || m.Kind == Update {
		var names []string
		for _, p := range c.Attendees() {
			if len(names) == 30 {
				names = append(names, "…")
				break
			}
			names = append(names, called(Person{p.Address, p.Name}))
		}
		add(t.who, strings.Join(names, t.comma))
	}
	var b, h strings.Builder
	b.WriteString(say + "\n\n")
	body := "<body>"
	if t.rightToLeft {
		body = `<body dir="rtl">`
	}
	h.WriteString("<html>" + body + "<p>" + html.EscapeString(say) + "</p><table>")
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

const clockForm = "15:04"

// span says when a component is, in its own zone.
func (t *tongue) span(c *ical.Component, zones *ical.Zones) string {
	start, end, err := ical.Span(c, zones)
	if err != nil {
		return ""
	}
	from, to := start.Time.Wall, end.Time.Wall
	between := func(a, b string) string { return fill(t.to, "{from}", a, "{to}", b) }
	var text string
	switch {
	case start.Time.Date:
		text = t.on(t.day, from)
		if last := to.AddDate(0, 0, -1); last.After(from) {
			text = between(text, t.on(t.day, last))
		}
		text = fill(t.allDay, "{days}", text)
	default:
		text = t.on(t.day, from) + t.comma + from.Format(clockForm)
		switch {
		case to.Equal(from):
		case to.Truncate(24 * time.Hour).Equal(from.Truncate(24 * time.Hour)):
			text = between(text, to.Format(clockForm))
		default:
			text = between(text, t.on(t.day, to)+t.comma+to.Format(clockForm))
		}
		switch {
		case start.Time.UTC:
			text += " (UTC)"
		case start.Time.TZID != "":
			text += " (" + start.At.Location().String() + ")"
		}
	}
	if p := c.Prop("RRULE"); p != nil {
		text += t.comma + t.repeats(p.Value)
	}
	return text
}

// repeats says a rule in a few words; what needs many is in the calendar.
func (t *tongue) repeats(value string) string {
	rule, err := recur.Parse(value)
	if err != nil || t.each[rule.Freq][0] == "" {
		return t.repeating
	}
	text := t.each[rule.Freq][0]
	if rule.Interval > 1 {
		text = fill(t.each[rule.Freq][1], "{n}", fmt.Sprint(rule.Interval))
	}
	if rule.Freq == recur.Weekly && len(rule.ByDay) > 0 {
		var days []string
		for _, d := range rule.ByDay {
			days = append(days, t.weekdays[d.Weekday])
		}
		text += fill(t.onDays, "{days}", strings.Join(days, t.comma))
	}
	switch {
	case rule.Count > 0:
		text += fill(t.times, "{n}", fmt.Sprint(rule.Count))
	case !rule.Until.Wall.IsZero():
		text += fill(t.untilDay, "{day}", t.on(t.date, rule.Until.Wall))
	}
	return text
}
