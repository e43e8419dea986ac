package ical

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"waypost/internal/contentline"
	"waypost/internal/recur"
)

// upgrade makes iCalendar of vCalendar 1.0 (versit, 18 September 1996), as far
// as old telephones and organizers write it. Quoted-printable and charsets are
// decoded by internal/contentline already.
func upgrade(c *Component) {
	version := c.Prop("VERSION")
	if !c.Is("VCALENDAR") || version == nil || strings.TrimSpace(version.Value) != "1.0" {
		return
	}
	version.Value = "2.0"
	for _, child := range c.Children {
		upgradePart(child)
	}
}

func upgradePart(c *Component) {
	props := c.Properties
	c.Properties = nil
	for _, p := range props {
		upgradeParams(p)
		switch strings.ToUpper(p.Name) {
		case "AALARM", "DALARM", "MALARM", "PALARM":
			if alarm := oldAlarm(p); alarm != nil {
				c.Children = append(c.Children, alarm)
				continue
			}
		case "RRULE", "EXRULE":
			rules, ok := oldRule(p.Value)
			if ok {
				for _, rule := range rules {
					c.Properties = append(c.Properties, &Property{Name: p.Name, Params: p.Params, Value: rule})
				}
				continue
			}
		case "EXDATE", "RDATE", "CATEGORIES", "RESOURCES":
			p.Value = strings.Join(contentline.Split(strings.TrimRight(p.Value, "; "), ';'), ",")
		case "DCREATED":
			p.Name = "CREATED"
		case "TRANSP":
			// A number: how many others may be at that time.
			switch strings.TrimSpace(p.Value) {
			case "0":
				p.Value = "OPAQUE"
			default:
				if _, err := strconv.Atoi(strings.TrimSpace(p.Value)); err == nil {
					p.Value = "TRANSPARENT"
				}
			}
		case "STATUS":
			p.Value = strings.ReplaceAll(strings.ToUpper(strings.TrimSpace(p.Value)), " ", "-")
		case "ATTENDEE", "ORGANIZER":
			oldPerson(p)
		}
		c.Properties = append(c.Properties, p)
	}
	for _, child := range c.Children {
		if !child.Is("VALARM") {
			upgradePart(child)
		}
	}
}

// upgradeParams names the values that stand without a name.
func upgradeParams(p *Property) {
	for i, param := range p.Params {
		if !param.Bare {
			continue
		}
		name := "TYPE"
		switch strings.ToUpper(param.Name) {
		case "BASE64":
			name = "ENCODING"
		case "INLINE", "URL", "CID", "CONTENT-ID":
			name = "VALUE"
		}
		p.Params[i] = Param{Name: name, Values: strings.Split(param.Name, ",")}
	}
	if strings.EqualFold(p.ParamText("ENCODING"), "BASE64") {
		p.SetParam("VALUE", "BINARY")
	}
}

// oldPerson turns "Name <address>" into an address with a name.
func oldPerson(p *Property) {
	value := contentline.Unescape(strings.TrimSpace(p.Value))
	name, rest, found := strings.Cut(value, "<")
	mail, _, closed := strings.Cut(rest, ">")
	if found && closed {
		if name = strings.Trim(strings.TrimSpace(name), `"`); name != "" && p.Param("CN") == nil {
			p.SetParam("CN", name)
		}
		value = mail
	}
	p.Value = uri(value)
	if status := p.ParamText("STATUS"); status != "" {
		status = strings.ReplaceAll(strings.ToUpper(status), " ", "-")
		if status == "CONFIRMED" {
			status = "ACCEPTED"
		}
		p.SetParam("STATUS")
		p.SetParam("PARTSTAT", status)
	}
	switch strings.ToUpper(p.ParamText("RSVP")) {
	case "YES":
		p.SetParam("RSVP", "TRUE")
	case "NO":
		p.SetParam("RSVP", "FALSE")
	}
}

// oldAlarm reads "when;snooze;repeat;what".
func oldAlarm(p *Property) *Component {
	fields := contentline.Split(p.Value, ';')
	at, err := parseTime(fields[0], "")
	if err != nil || at.Date {
		return nil
	}
	field := func(i int) string {
		if i < len(fields) {
			return strings.TrimSpace(fields[i])
		}
		return ""
	}
	actions := map[string]string{"AALARM": "AUDIO", "DALARM": "DISPLAY", "MALARM": "EMAIL", "PALARM": "PROCEDURE"}
	c := &Component{Name: "VALARM", Properties: []*Property{{Name: "ACTION", Value: actions[strings.ToUpper(p.Name)]}}}
	trigger := &Property{Name: "TRIGGER", Value: at.Value()}
	trigger.SetParam("VALUE", "DATE-TIME")
	c.Properties = append(c.Properties, trigger)
	if snooze, err := ParseDuration(field(1)); err == nil && field(2) != "" {
		c.Properties = append(c.Properties, &Property{Name: "DURATION", Value: snooze.String()}, &Property{Name: "REPEAT", Value: field(2)})
	}
	if what := field(3); what != "" {
		switch {
		case p.Is("DALARM"):
			c.Properties = append(c.Properties, &Property{Name: "DESCRIPTION", Value: what})
		default:
			c.Properties = append(c.Properties, &Property{Name: "ATTACH", Params: p.Params, Value: what})
		}
	} else if p.Is("DALARM") {
		c.Properties = append(c.Properties, &Property{Name: "DESCRIPTION"})
	}
	if b := c.Prop("ATTACH"); b != nil && b.ParamText("VALUE") == "BINARY" {
		if _, err := base64.StdEncoding.DecodeString(b.Value); err != nil {
			b.SetParam("VALUE")
			b.SetParam("ENCODING")
		}
	}
	return c
}

// oldRule reads the grammar of vCalendar 1.0 section 2.1.9, such as "W2 MO TU
// #10" or "MP1 1+ 2- FR 19991231T000000Z".
func oldRule(value string) (rules []string, ok bool) {
	words := strings.Fields(strings.ToUpper(strings.ReplaceAll(value, "$", "")))
	if len(words) == 0 || strings.Contains(value, "=") {
		return nil, false
	}
	rule := recur.Rule{Interval: 1, WeekStart: time.Monday}
	kind := strings.TrimRight(words[0], "0123456789")
	if n, err := strconv.Atoi(words[0][len(kind):]); err == nil && n > 0 && n < 1<<31 {
		rule.Interval = n
	}
	frequency, known := map[string]recur.Freq{
		"D": recur.Daily, "W": recur.Weekly, "MP": recur.Monthly, "MD": recur.Monthly,
		"YM": recur.Yearly, "YD": recur.Yearly, "M": recur.Minutely,
	}[kind]
	if !known {
		return nil, false
	}
	rule.Freq = frequency
	count := 2 // without an end it happens twice
	var places []int
	for _, word := range words[1:] {
		if n, found := strings.CutPrefix(word, "#"); found {
			c, err := strconv.Atoi(n)
			if err != nil || c < 0 {
				return nil, false
			}
			count = c
			continue
		}
		if t, err := parseTime(word, ""); err == nil {
			rule.Until = recur.Until{Wall: t.Wall, Date: t.Date, UTC: t.UTC}
			count = 0
			continue
		}
		sign := 1
		if word == "LD" {
			word = "1-"
		}
		digits := strings.TrimSuffix(word, "+")
		if strings.HasSuffix(word, "-") {
			digits, sign = strings.TrimSuffix(word, "-"), -1
		}
		n, err := strconv.Atoi(digits)
		switch {
		case err != nil && (kind == "W" || kind == "MP"):
			day, ok := weekdayOf(word)
			if !ok {
				return nil, false
			}
			if kind == "W" || len(places) == 0 {
				rule.ByDay = append(rule.ByDay, recur.Day{Weekday: day})
			}
			for _, place := range places {
				rule.ByDay = append(rule.ByDay, recur.Day{N: place, Weekday: day})
			}
			continue
		case err != nil || n == 0:
			// An hour of the day (sub rules) has no counterpart worth the trouble.
			return nil, false
		}
		switch kind {
		case "MP":
			if len(rule.ByDay) > 0 {
				places = nil
			}
			places = append(places, sign*n)
		case "MD":
			rule.ByMonthDay = append(rule.ByMonthDay, sign*n)
		case "YM":
			rule.ByMonth = append(rule.ByMonth, n)
		case "YD":
			rule.ByYearDay = append(rule.ByYearDay, sign*n)
		default:
			return nil, false
		}
	}
	rule.Count = count
	text := rule.String()
	if _, err := recur.Parse(text); err != nil {
		return nil, false
	}
	return []string{text}, true
}

func weekdayOf(word string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if (recur.Day{Weekday: d}).String() == word {
			return d, true
		}
	}
	return 0, false
}
