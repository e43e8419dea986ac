package dav

import (
	"bytes"
	"context"
	"encoding/xml"
	"mime"
	"net/http"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/vcard"
	"waypost/store"
)

type nameOf = xml.Name

const prodID = "-//Waypost//Calendar//EN"

// incoming is an object as a client sent it, made canonical.
type incoming struct {
	text    []byte
	uid     string
	version string // of a card
}

// incoming reads what a client sent for an object.
func (r *resource) incoming(contentType string, sent []byte) (incoming, error) {
	media, _, _ := mime.ParseMediaType(contentType)
	if r.is(isCard) {
		return cardIn(media, sent)
	}
	return calendarIn(media, sent, r.folder.Class)
}

// calendarIn reads a calendar object: one calendar of parts of one kind and one
// UID (RFC 4791 section 4.1).
func calendarIn(media string, sent []byte, class store.Class) (in incoming, err error) {
	switch media {
	case "", "text/calendar", "application/octet-stream", "text/plain":
	default:
		return in, failed(http.StatusForbidden, calName("supported-calendar-data"), "not text/calendar")
	}
	invalid := func(format string, args ...any) (incoming, error) {
		return in, failed(http.StatusForbidden, calName("valid-calendar-data"), format, args...)
	}
	wrong := func(format string, args ...any) (incoming, error) {
		return in, failed(http.StatusForbidden, calName("valid-calendar-object-resource"), format, args...)
	}
	root, _, err := ical.Parse(sent, ical.Object)
	if err != nil {
		return in, failed(http.StatusForbidden, calName("max-resource-size"), "%v", err)
	}
	cals := root.Parts("VCALENDAR")
	if len(root.Children) == 0 || len(cals) == 0 {
		return invalid("not a calendar")
	}
	if len(cals) > 1 {
		return wrong("more than one calendar")
	}
	cal := cals[0]
	comp := ""
	for _, c := range cal.Children {
		if c.Is("VTIMEZONE") {
			continue
		}
		if !c.Is("VEVENT") && !c.Is("VTODO") && !c.Is("VJOURNAL") && !c.Is("VFREEBUSY") {
			continue // X-components and the like stay
		}
		if comp != "" && !c.Is(comp) {
			return wrong("parts of different kinds")
		}
		uid := strings.TrimSpace(c.Text("UID"))
		if comp != "" && uid != in.uid {
			return wrong("more than one UID")
		}
		comp, in.uid = strings.ToUpper(c.Name), uid
	}
	switch {
	case comp == "":
		return wrong("no event, task or journal entry")
	case comp != itemClasses[class]:
		return in, failed(http.StatusForbidden, calName("supported-calendar-component"), "this calendar holds %s", itemClasses[class])
	}
	// A method belongs to a message, not to what is kept (section 4.1). Programs
	// that store an invitation they got leave it in.
	cal.Remove("METHOD")
	describeZones(cal)
	in.text = cal.Append(nil)
	return in, nil
}

// calendarOut is the text for a reader: with every zone that it names described.
func calendarOut(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte(";TZID=")) {
		return text, nil
	}
	cal, err := parseCalendar(text)
	if err != nil || !describeZones(cal) {
		return text, err
	}
	return cal.Append(nil), nil
}

// parseCalendar reads a text of the store.
func parseCalendar(text []byte) (*ical.Component, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	if cals := root.Parts("VCALENDAR"); len(cals) > 0 {
		return cals[0], nil
	}
	return root, nil
}

// describeZones adds the zones that a calendar names and does not describe (RFC
// 4791 section 4.1); it tells whether any was missing.
func describeZones(cal *ical.Component) bool {
	have := map[string]bool{}
	for _, z := range cal.Parts("VTIMEZONE") {
		have[z.Text("TZID")] = true
	}
	var zones *ical.Zones
	var added []*ical.Component
	var walk func(c *ical.Component)
	walk = func(c *ical.Component) {
		for _, p := range c.Properties {
			tzid := p.ParamText("TZID")
			if tzid == "" || have[tzid] {
				continue
			}
			have[tzid] = true
			if zones == nil {
				zones = ical.ZonesOf(cal, nil)
			}
			l := zones.Location(tzid)
			t, err := ical.ParseTime(p)
			if l == nil || err != nil {
				continue
			}
			added = append(added, ical.TimeZone(l, tzid, t.Wall, t.Wall.AddDate(1, 0, 0)))
		}
		for _, child := range c.Children {
			if !child.Is("VTIMEZONE") {
				walk(child)
			}
		}
	}
	walk(cal)
	cal.Children = append(added, cal.Children...)
	return len(added) > 0
}

// cardIn reads a card and makes it the 4.0 that is kept (RFC 6352 section 5.1).
func cardIn(media string, sent []byte) (in incoming, err error) {
	switch media {
	case "", "text/vcard", "text/x-vcard", "text/directory", "application/octet-stream", "text/plain":
	default:
		return in, failed(http.StatusForbidden, cardName("supported-address-data"), "not text/vcard")
	}
	if !strings.Contains(strings.ToUpper(string(sent[:min(len(sent), 1024)])), "BEGIN:VCARD") {
		return in, failed(http.StatusForbidden, cardName("valid-address-data"), "not a card")
	}
	cards, _, err := vcard.Parse(sent, vcard.Object)
	if err != nil {
		return in, failed(http.StatusForbidden, cardName("max-resource-size"), "%v", err)
	}
	if len(cards) != 1 {
		return in, failed(http.StatusForbidden, cardName("valid-address-data"), "not one card")
	}
	in.version = cards[0].Version()
	card := cards[0].To("4.0")
	in.uid = strings.TrimSpace(card.Text("UID"))
	in.text = card.Append(nil)
	return in, nil
}

// cardOut is a card in the version that the reader wants.
func cardOut(text []byte, version string) ([]byte, error) {
	cards, _, err := vcard.Parse(text, vcard.Object)
	if err != nil || len(cards) == 0 {
		return text, err
	}
	if cards[0].Version() == version {
		return text, nil
	}
	return cards[0].To(version).Append(nil), nil
}

// cardVersion is the version that the Accept header asks for (RFC 6352 section
// 5.1); 3.0 otherwise, which every client reads.
func (r *request) cardVersion() string {
	for _, line := range r.http.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err == nil && media == "text/vcard" && params["version"] == "4.0" {
				return "4.0"
			}
		}
	}
	return "3.0"
}

// personCard is the card of somebody in the address list.
func (r *request) personCard(ctx context.Context, u *directory.User, version string) ([]byte, error) {
	c := &vcard.Card{}
	c.SetValue("VERSION", "4.0")
	c.SetValue("UID", "urn:uuid:"+u.GUID)
	if u.GUID == "" {
		c.SetText("UID", u.Address)
	}
	c.SetText("FN", nonEmpty(u.Name, u.Address))
	if u.Kind == directory.KindGroup {
		c.SetValue("KIND", "group")
	} else {
		c.SetName(vcard.Name{Family: u.Surname, Given: u.Given})
	}
	add := func(name, value string, types ...string) {
		if value == "" {
			return
		}
		p := &vcard.Property{Name: name, Value: contentline.Escape(value)}
		if len(types) > 0 {
			p.SetParam("TYPE", types...)
		}
		c.Properties = append(c.Properties, p)
	}
	for _, a := range addressesOf(*u) {
		add("EMAIL", a, "work")
	}
	add("TEL", u.Phone, "work", "voice")
	add("TEL", u.Mobile, "cell")
	add("TEL", u.HomePhone, "home", "voice")
	add("TITLE", u.Title)
	if u.Company != "" || u.Department != "" {
		c.SetValue("ORG", contentline.JoinFields(trimEmpty([]string{u.Company, u.Department})))
	}
	if u.Office != "" {
		p := &vcard.Property{Name: "ADR", Value: vcard.Address{Extended: u.Office}.Value()}
		p.SetParam("TYPE", "work")
		c.Properties = append(c.Properties, p)
	}
	if r.data == nil || r.data.wants("PHOTO") {
		photo, err := r.server.people.Photo(ctx, r.who, u.ID)
		if err == nil && len(photo) > 0 {
			c.SetPhoto(photo, "image/jpeg")
		}
	}
	return c.To(version).Append(nil), nil
}

func trimEmpty(list []string) []string {
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

func nonEmpty(list ...string) string {
	i := slices.IndexFunc(list, func(s string) bool { return s != "" })
	if i < 0 {
		return ""
	}
	return list[i]
}
